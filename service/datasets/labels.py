"""Labels: which task they are for, and their classes or numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nn import LOSSES
from service.datasets.columns import Kind, coded, kind_of, texts
from service.datasets.dataset import Task
from service.datasets.tables import Table, WrongKey, empty_cells, numbers
from service.errors import DataError
from service.wording import listed, shown

MOST_CLASSES = 10_000
_YES_OR_NO = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1}


class Labels(NamedTuple):
    """int64 (n,) with the names of their classes, or float32 (n, targets) without names."""

    values: np.ndarray
    classes: tuple[str, ...]
    task: Task


@dataclass(frozen=True)
class Wanted:
    """What the spec asks of the labels: the task if it says so, and the loss with the tasks it can do, if given."""

    task: Task | None = None
    loss: str | None = None
    tasks: Collection[Task] = ("classification", "regression")

    def decide(self, kind: Kind, several: bool, place: str, binary: bool = False) -> Task:
        """The task for labels of this kind; `binary` if all are 0 or 1. A stated task decides, then the loss.

        Raises WrongKey where they contradict each other.
        """
        if self.loss and self.task and self.task not in self.tasks:
            usable = [name for name, loss in LOSSES.items() if self.task in loss.tasks]
            raise WrongKey("task", f"{self.loss} is not a loss for {self.task}; use {listed(usable, 'or')}")
        able: list[Task] = [self.task] if self.task else sorted(self.tasks)
        if several and able == ["classification"]:
            raise WrongKey("target", f"{self._reason()} needs one label column, and several are named")
        if kind == "text" and not binary and "classification" not in able:
            raise WrongKey("target", f"{place} holds text, and {self._reason()} needs numbers")
        if len(able) == 1:
            return able[0]
        yes_or_no = "multilabel" in able and self.loss is not None  # a loss that can do this is for nothing else
        if several:
            return "multilabel" if yes_or_no and (binary or "regression" not in able) else "regression"
        if kind == "fraction" and "regression" in able:
            return "regression"
        # A loss that can do both says that the labels are quantities; without one, whole numbers count classes.
        quantities = self.loss and kind == "whole" and "regression" in able and not (yes_or_no and binary)
        return "regression" if quantities else "classification"

    def _reason(self) -> str:
        return f"data.task: {self.task}" if self.task else f"the loss {self.loss}"


def from_table(table: Table, targets: Sequence[str], wanted: Wanted) -> Labels:
    """The labels in these columns. Raises WrongKey or DataError with the place of what does not fit."""
    columns = [table.series(target, "target") for target in targets]
    for target in targets:
        _refuse_empty(table, target)
    kinds = [kind_of(column) for column in columns]
    kind: Kind = "text" if "text" in kinds else "fraction" if "fraction" in kinds else "whole"
    place = f"{table.name}: column '{targets[kinds.index(kind)]}'"
    truths = [_truths(table, target) for target in targets]
    task = wanted.decide(kind, len(targets) > 1, place, all(column is not None for column in truths))
    if task == "classification":
        codes, classes = classes_of(texts(columns[0], kind, place, "target"), place)
        return Labels(codes, classes, task)
    if task == "regression":
        return Labels(np.column_stack([numbers(table, target, "target") for target in targets]), (), task)
    for target, column in zip(targets, truths, strict=True):
        if column is None:
            raise WrongKey("target", f"{table.name}: column '{target}' {NOT_BINARY}")
    return Labels(np.column_stack([column for column in truths if column is not None]), (), task)


NOT_BINARY = "holds more than 0 and 1 (or true and false), and each of several labels is a yes or a no"


def classes_of(words: np.ndarray, place: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes int64 (n,) and the names of the classes, sorted: whole numbers by size, others as text.

    Raises DataError if there is only one, or almost one for each row.
    """
    codes, names = coded(words)
    if len(names) == 1:
        raise DataError(f"{place}: every row is of the same class, {shown(names[0])}; there is nothing to learn")
    if len(names) > MOST_CLASSES or (len(names) == len(words) and len(names) > 2):
        raise WrongKey(
            "target",
            f"{place} has {len(names)} different values in {len(words)} rows; these are no classes; for numbers "
            "use data.task: regression",
        )
    return codes, names


def _refuse_empty(table: Table, target: str) -> None:
    if rows := empty_cells(table.series(target, "target")).arg_true().to_list():
        where = table.place(rows[0])
        raise DataError(
            f"{where}: column '{target}' is empty: a row needs its label; fill in or drop {table.places(rows)}"
        )


def _truths(table: Table, target: str) -> np.ndarray | None:
    """The column as 0 and 1, float32 (n,), or None if anything else is in it."""
    import polars as pl

    column = table.series(target, "target")
    if column.dtype.is_nested():
        return None
    words = column.cast(pl.String).str.strip_chars().str.to_lowercase()
    codes = words.replace_strict(_YES_OR_NO, default=None, return_dtype=pl.Float32)
    return None if codes.null_count() else codes.to_numpy().astype(np.float32)
