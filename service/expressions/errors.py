"""What is wrong with an expression, with a mark under the place."""

from __future__ import annotations

from service.errors import InputError

WIDTH = 72  # characters shown of a long expression, around the place that is wrong


class ExpressionError(InputError):
    """An expression cannot be understood. `column` counts from 1."""

    def __init__(self, text: str, start: int, end: int, sentence: str) -> None:
        self.sentence, self.column = sentence, start + 1
        super().__init__(f"column {self.column}: {sentence}", *(_marked(text, start, end) if text.strip() else ()))


def _marked(text: str, start: int, end: int) -> tuple[str, str]:
    """The expression in one line, and a line with carets below the part from `start` to `end`."""
    first = max(0, min(start - WIDTH // 2, len(text) - WIDTH))
    shown = "".join(letter if letter.isprintable() else " " for letter in text[first : first + WIDTH])
    before = "…" if first else ""
    after = "…" if first + WIDTH < len(text) else ""
    carets = "^" * max(1, min(end, first + WIDTH) - start)
    return f"  {before}{shown}{after}", f"  {' ' * (len(before) + start - first)}{carets}"
