"""What commands print: tables that fit the terminal, JSON for scripts, hints for people on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from service.files import write_file as write_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLOURS = {
    "completed": "green", "running": "cyan", "failed": "red", "cancelled": "yellow", "queued": "blue",
    "paused": "yellow", "set aside": "red",
    "ready": "green", "draining": "yellow", "gone": "red", "stopped": "dim", "lost": "red", "interrupted": "yellow",
    "up": "green", "down": "dim", "ok": "green", "warning": "yellow", "wrong": "red",
}  # fmt: skip
GAP = "  "
WIDEST = 1000  # columns of a table in a pipe
MARKS = ">~<"
LEAST = {"<": 10, "~": 16}  # characters that are left at least of what may be shortened, and of what may wrap
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
    """A table without lines; a column whose name begins with `>` stands right, one with `~` may wrap, one with `<` may
    be shortened. Pipes get it at its full width."""
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
    names = [column.lstrip(MARKS) for column in columns]
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
    rows = list(rows)
    target = console()
    if target.is_terminal:
        for at, block in enumerate(fitting(columns or ("", "~"), rows, target.width)):
            if at:
                print()
            target.print(_terminal_table(columns, rows, block))
        return
    table = _table(show_header=bool(columns))
    for column in columns or ("", ""):
        _add_column(table, column, column.lstrip(MARKS), no_wrap=not column.startswith("~"), overflow="fold")
    _add_rows(table, rows)
    target.width = WIDEST
    with target.capture() as text:
        target.print(table, crop=False)
    print("\n".join(line.rstrip() for line in text.get().splitlines()))


def _terminal_table(columns: Sequence[str], rows: Sequence[Sequence[str]], block: dict[int, int]) -> Table:
    """Some columns of a table, by place and width: what may not be shortened is whole, if need be in several lines."""
    table = _table(show_header=bool(columns))
    for place, width in block.items():
        column = columns[place] if columns else ""
        short = column.startswith("<")
        heading = "\n".join(_folded(column.lstrip(MARKS), width))
        _add_column(table, column, heading, width=width, no_wrap=short, overflow="ellipsis" if short else "fold")
    _add_rows(table, [[row[place] for place in block] for row in rows])
    return table


def _table(**options: Any) -> Table:
    from rich.table import Table

    return Table(box=None, pad_edge=False, padding=(0, len(GAP), 0, 0), header_style="bold", **options)


def _add_column(table: Table, column: str, heading: str, **options: Any) -> None:
    justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
    table.add_column(heading, justify=justify, **options)


def _add_rows(table: Table, rows: Iterable[Sequence[str]]) -> None:
    from rich.text import Text

    for row in rows:
        table.add_row(*(Text(cell, style=COLOURS.get(cell, "")) for cell in row))


def fitting(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[dict[int, int]]:
    """The columns that stand beside each other in a terminal, by place and width, one block after the other.

    Free text is shortened and headings are folded before columns go below; the first column begins every block.
    """
    from rich.cells import cell_len

    wanted, least = [], []
    for place, column in enumerate(columns):
        heading = column.lstrip(MARKS)
        cells = max((cell_len(line) for row in rows for line in row[place].expandtabs(8).splitlines()), default=0)
        wanted.append(max(cells, len(heading)))
        least.append(max(min(cells, LEAST.get(column[:1], cells)), *map(len, _parts(heading)), 1))
    least[0] = min(least[0], width // 2)
    room = width - least[0] - len(GAP)
    least[1:] = [min(each, room) for each in least[1:]]
    for block in blocks(least[1:], room) if len(columns) > 1 else [range(0)]:
        places = [0, *(place + 1 for place in block)]
        yield _widened({place: least[place] for place in places}, wanted, width - len(GAP) * (len(places) - 1))


def _widened(widths: dict[int, int], wanted: Sequence[int], room: int) -> dict[int, int]:
    """The widths with the room that is left, the narrowest first."""
    for _ in range(room - sum(widths.values())):
        short = [place for place, width in widths.items() if width < wanted[place]]
        if not short:
            break
        widths[min(short, key=lambda place: widths[place])] += 1
    return widths


def blocks(widths: Sequence[int], room: int) -> Iterator[range]:
    """The places of columns in groups that are no wider than the room, gaps included, each as full as it can be."""
    first = used = 0
    for place, width in enumerate(widths):
        if place > first and used + width > room:
            yield range(first, place)
            first, used = place, 0
        used += width + len(GAP)
    if widths:
        yield range(first, len(widths))


def _parts(heading: str) -> list[str]:
    """What a heading may be folded into: behind dots, underscores and blanks, and before brackets."""
    return re.findall(r"\(?[^._( ]*[._ ]*", heading)  # the last is empty


def _folded(heading: str, width: int) -> list[str]:
    lines = [""]
    for part in _parts(heading):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [line.rstrip() for line in lines]
