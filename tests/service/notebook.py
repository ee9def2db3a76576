"""A document as a notebook: its Python blocks are run in order in one namespace, and what each prints is compared with
the `text` block right below it.

    python -m tests.service.notebook docs/how-to/use-from-python.md

runs a document in a yard of one slot and writes what was printed below its blocks.
"""

from __future__ import annotations

import io
import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from service import Client
from tests.yard import ROOT, yard

CELL = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?", re.MULTILINE | re.DOTALL)
FRAME = str.maketrans(dict.fromkeys("│┆┌┐└┘╞╡┬┴╪─═—", " "))  # of a table
ANYTHING = "…"  # a line of it stands for any lines


@dataclass(frozen=True)
class Cell:
    code: str
    expected: str
    printed: str


def run(text: str) -> Iterator[Cell]:
    """Run the blocks of a document."""
    namespace: dict[str, Any] = {}
    for found in CELL.finditer(text):
        line = text[: found.start("code")].count("\n")
        with redirect_stdout(io.StringIO()) as printed:
            exec(compile("\n" * line + found["code"], "the document", "exec"), namespace)  # noqa: S102 - our own
        yield Cell(found["code"], found["output"] or "", printed.getvalue())
    for value in namespace.values():
        if isinstance(value, Client):
            value.close()


def alike(expected: str, printed: str) -> bool:
    """Whether two outputs say the same: every word, and numbers up to what another machine computes otherwise."""
    pattern, words = _words(expected), _words(printed)
    if ANYTHING in pattern:
        gap = pattern.index(ANYTHING)
        rest = len(pattern) - gap - 1
        return len(words) >= gap + rest and _same(pattern[:gap], words[:gap]) and _same(
            pattern[gap + 1 :], words[len(words) - rest :]
        )  # fmt: skip
    return _same(pattern, words)


def _words(text: str) -> list[str]:
    """Numbers and words; the frame of a table is as wide as its numbers are long."""
    return re.findall(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?|[^\s\d+-]+|[+-]", text.translate(FRAME))


def _same(expected: list[str], found: list[str]) -> bool:
    return len(expected) == len(found) and all(map(_fits, expected, found))


def _fits(expected: str, found: str) -> bool:
    """Whole numbers count something and must be equal; others come of training, and rounding depends on the CPU."""
    try:
        one, other = float(expected), float(found)
    except ValueError:
        return expected == found
    return expected == found or ("." in expected + found and math.isclose(one, other, rel_tol=0.2, abs_tol=0.02))


@contextmanager
def surroundings() -> Iterator[None]:
    """What a notebook in the top folder finds that is started beside a yard."""
    before = Path.cwd()
    with yard() as there, patch.dict(os.environ, there.environment, clear=True):
        there.up(slots=1)
        os.chdir(ROOT)
        try:
            yield
        finally:
            os.chdir(before)


def write(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    with surroundings():
        cells = iter(list(run(text)))

    def written(found: re.Match[str]) -> str:
        cell = next(cells)
        kept = cell.expected if ANYTHING in cell.expected else cell.printed
        return f"```python\n{cell.code}```\n" + (f"\n```text\n{kept}```\n" if kept else "")

    file.write_text(CELL.sub(written, text), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
