"""`trainyard evaluate`: metrics, a table per class, and what is taken for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import context
from service.cli.context import JsonOption, RunArgument
from service.cli.output import hint, print_facts, print_json, print_table
from service.display import number, shortened

if TYPE_CHECKING:
    from service.evaluation import Evaluation

WIDTH = 80  # columns of a terminal
NAME = 20  # of a class at most
MATRIX = 10  # classes at most; with more the most frequent mistakes are listed
LISTED = 20  # classes or mistakes at most


def evaluate(
    run: RunArgument,
    split: Annotated[
        str | None, typer.Option(help="train, validation or test; unless told, test if there is one.")
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The last weights instead of the best.")] = False,
    json: JsonOption = False,
) -> None:
    """Judge the weights of a run by every metric that fits, class by class.

    Example: trainyard evaluate 1 --split validation
    """
    found = context.client().evaluate(run, split=split, last=last)
    which = "last" if last else "best"
    if json:
        print_json({"run": run, "weights": which, **found.document()})
        return
    print(f"run {run}, its {which} weights on {found.rows:,} {found.split} rows")
    print()
    show(found)


def show(found: Evaluation) -> None:
    print_facts((name, number(value)) for name, value in found.metrics.items())
    if found.per_class is not None:
        print()
        _show_classes(found)
    if found.confusion is not None:
        print()
        show_confusion(found)


def _show_classes(found: Evaluation) -> None:
    assert found.per_class is not None
    rows = list(zip(found.classes, *(column.tolist() for column in found.per_class), strict=True))
    if len(rows) > LISTED:
        rows = sorted(rows, key=lambda row: float(row[3]))[:LISTED]
        hint(f"the {LISTED} of {len(found.classes)} classes with the lowest F1; --json has all")
    print_table(
        ["<CLASS", ">PRECISION", ">RECALL", ">F1", ">SUPPORT"],
        [(shortened(name, NAME), f"{p:.3f}", f"{r:.3f}", f"{f:.3f}", support) for name, p, r, f, support in rows],
    )


def show_confusion(found: Evaluation) -> None:
    """The matrix where it fits, and otherwise the most frequent mistakes."""
    assert found.confusion is not None
    first = max(len("TRUE \\ TOLD"), *(min(NAME, len(name)) for name in found.classes))
    cell = (WIDTH - first - 2) // len(found.classes) - 2
    if len(found.classes) <= MATRIX and cell >= max(3, len(str(found.confusion.max()))):
        head = ["TRUE \\ TOLD", *(f">{shortened(name, cell)}" for name in found.classes)]
        print_table(head, [_row(*row) for row in zip(found.classes, found.confusion.tolist(), strict=True)])
        return
    mistakes = found.confused()
    for true, told, count in mistakes[:LISTED]:
        print(f"{shortened(true, 2 * NAME)} → {shortened(told, 2 * NAME)}: {count:,}")
    if not mistakes:
        print("no row was taken for another class")
    if len(mistakes) > LISTED:
        hint(f"the {LISTED} most frequent of {len(mistakes)} confusions; --json has the whole matrix")


def _row(name: str, counts: list[int]) -> tuple[Any, ...]:
    return shortened(name, NAME), *counts
