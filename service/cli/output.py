"""What commands print: tables of at most 80 columns, JSON for scripts, hints for people on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from service.files import write_file as write_file

if TYPE_CHECKING:
    from rich.console import Console

COLOURS = {
    "completed": "green", "running": "cyan", "failed": "red", "cancelled": "yellow", "queued": "blue",
    "paused": "yellow", "set aside": "red",
    "ready": "green", "draining": "yellow", "gone": "red", "stopped": "dim", "lost": "red", "interrupted": "yellow",
    "up": "green", "down": "dim", "ok": "green", "warning": "yellow", "wrong": "red",
}  # fmt: skip
GAP = "  "
WIDEST = 1000  # columns of a table in a pipe
_NARROW = str.maketrans(dict.fromkeys("…×→·µ", "x"))  # as wide as letters of ASCII


def console(*, stderr: bool = False) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def hint(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def print_facts(facts: Iterable[tuple[str, Any]]) -> None:
    """Two columns without a header."""
    print_table((), facts)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table without lines; a column whose name begins with `>` stands right, one with `~` may wrap. Pipes get it at
    its full width."""
    cells = [[str(cell) for cell in row] for row in rows]
    lines = None if sys.stdout.isatty() or "FORCE_COLOR" in os.environ else plain_table(columns, cells)
    if lines is None:
        rich_table(columns, cells)
    else:
        print("\n".join(lines))


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str] | None:
    """The lines of a table of plain words as rich would make them for a pipe; None: only rich knows how wide they are.

    Loading rich takes longer than most questions to the history.
    """
    names = [column.lstrip(">~") for column in columns]
    table = [names, *rows] if columns else list(rows)
    if not rows or not all(map(_is_plain, chain.from_iterable(table))):
        return None
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if sum(widths) + len(GAP) * len(widths) > WIDEST:
        return None
    aligns = [str.rjust if column.startswith(">") else str.ljust for column in columns or [""] * len(widths)]
    return [
        GAP.join(align(cell, width) for align, cell, width in zip(aligns, row, widths, strict=True)).rstrip()
        for row in table
    ]


def _is_plain(text: str) -> bool:
    """Whether it is one line whose every letter takes one column; rich takes blanks at the end away here and there."""
    return text == text.rstrip() and text.isprintable() and (text.isascii() or text.translate(_NARROW).isascii())


def rich_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    from rich.table import Table
    from rich.text import Text

    padding = (0, len(GAP), 0, 0)
    table = Table(box=None, pad_edge=False, padding=padding, header_style="bold", show_header=bool(columns))
    for column in columns or ("", ""):
        justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        table.add_column(column.lstrip(">~"), justify=justify, no_wrap=not column.startswith("~"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))
    target = console()
    if target.is_terminal:
        target.print(table)
        return
    target.width = WIDEST
    with target.capture() as text:
        target.print(table, crop=False)
    print("\n".join(line.rstrip() for line in text.get().splitlines()))
