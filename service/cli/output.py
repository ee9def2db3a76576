"""What commands print: tables of at most 80 columns, JSON for scripts, hints for people on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
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
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(columns))
    for column in columns or ("", ""):
        justify: Literal["right", "left"] = "right" if column.startswith(">") else "left"
        table.add_column(column.lstrip(">~"), justify=justify, no_wrap=not column.startswith("~"), overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell), style=COLOURS.get(str(cell), "")) for cell in row))
    target = console()
    if target.is_terminal:
        target.print(table)
        return
    target.width = 1000
    with target.capture() as text:
        target.print(table, crop=False)
    print("\n".join(line.rstrip() for line in text.get().splitlines()))
