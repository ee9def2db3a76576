"""Labels: which task they are for, and their classes or numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from service.datasets.dataset import Task
from service.datasets.tables import Table, WrongKey, numbers
from service.errors import DataError
from service.spec.errors import listed, shown

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["text", "whole", "fraction"]
MOST_CLASSES = 10_000


@dataclass(frozen=True)
class Wanted:
    """What the spec asks of the labels: the task if it says so, and the loss with the tasks it can do, if given."""

    task: Task | None = None
    loss: str | None = None
    tasks: Collection[str] = ("classification", "regression")

    def decide(self, kind: Kind, several: bool, place: str) -> Task:
        """The task for labels of this kind. A stated task decides, then the loss, then the labels.

        Raises WrongKey where they contradict each other.
        """
        if self.task and self.task not in self.tasks:
            raise WrongKey("task", f"{self.loss} is not a loss for {self.task}")
        able = [self.task] if self.task else list(self.tasks)
        if several and "regression" not in able:
            raise WrongKey("target", f"{self._reason()} needs one label column, and several are named")
        if kind == "text" and "classification" not in able:
            raise WrongKey("target", f"{place} holds text, and {self._reason()} needs numbers")
        if len(able) == 1:
            return able[0]  # type: ignore[return-value]
        if several or kind == "fraction":
            return "regression"
        # A loss that can do both says that the labels are quantities; without one, whole numbers count classes.
        return "regression" if self.loss and kind == "whole" else "classification"

    def _reason(self) -> str:
        return f"data.task: {self.task}" if self.task else f"the loss {self.loss}"


def from_table(table: Table, targets: Sequence[str], wanted: Wanted) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels int64 (n,) with the names of their classes, or float32 (n, targets) with no names."""
    columns = [table.series(target, "target") for target in targets]
    for target, column in zip(targets, columns, strict=True):
        _refuse_empty(table, target, column)
    kinds = [_kind(column) for column in columns]
    kind: Kind = "text" if "text" in kinds else "fraction" if "fraction" in kinds else "whole"
    place = f"{table.name}: column '{targets[kinds.index(kind)]}'"
    if wanted.decide(kind, len(targets) > 1, place) == "regression":
        return np.column_stack([numbers(table, target, "target") for target in targets]), ()
    return classes_of(_texts(columns[0], kind, place), place)


def classes_of(texts: np.ndarray, place: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Codes int64 (n,) and the names of the classes, sorted: whole numbers by size, others as text.

    Raises DataError if there is only one, or almost one for each row.
    """
    names, codes = np.unique(texts, return_inverse=True)
    if len(names) == 1:
        raise DataError(f"{place}: every row is of the same class, {shown(str(names[0]))}; there is nothing to learn")
    if len(names) > MOST_CLASSES or (len(names) == len(texts) and len(names) > 2):
        raise WrongKey(
            "target", f"{place} has {len(names)} different values in {len(texts)} rows; these are no classes"
        )
    words = [str(name) for name in names]
    order = sorted(range(len(words)), key=lambda index: _by_size(words[index]))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank[codes], tuple(words[index] for index in order)


def _by_size(word: str) -> tuple[int, int, str]:
    whole = word.lstrip("+-").isdecimal() and len(word) < 20
    return (0, int(word), word) if whole else (1, 0, word)


def _refuse_empty(table: Table, target: str, column: pl.Series) -> None:
    import polars as pl

    empty = column.is_null() | (column.str.strip_chars() == "") if column.dtype == pl.String else column.is_null()
    if rows := empty.arg_true().to_list():
        where = table.place(rows[0])
        raise DataError(
            f"{where}: column '{target}' is empty: a row needs its label; fill in or drop {table.places(rows)}"
        )


def _kind(column: pl.Series) -> Kind:
    import polars as pl

    if column.dtype.is_integer():
        return "whole"
    if column.dtype.is_float() or column.dtype.is_decimal():
        return "fraction"
    if column.dtype != pl.String:
        return "text"
    text = column.str.strip_chars()
    if text.str.contains(r"^[-+]?\d+$").all():
        return "whole"
    return "text" if text.cast(pl.Float64, strict=False).null_count() else "fraction"


def _texts(column: pl.Series, kind: Kind, place: str) -> np.ndarray:
    """The cells as class names, the same from CSV and from Parquet."""
    import polars as pl

    if kind == "fraction":
        values = column.str.strip_chars().cast(pl.Float64) if column.dtype == pl.String else column.cast(pl.Float64)
        rounded = values.to_numpy()
        if not np.isfinite(rounded).all() or (rounded != np.round(rounded)).any():
            wrong = rounded[~np.isfinite(rounded) | (rounded != np.round(rounded))][0]
            raise WrongKey(
                "target", f"{place} holds fractions ({wrong:g}), which are no classes; for numbers use loss: mse"
            )
        column = values.cast(pl.Int64, strict=False)
    elif kind == "whole" and column.dtype == pl.String:
        column = column.str.strip_chars().cast(pl.Int64, strict=False)
    if column.null_count():
        raise DataError(f"{place} holds a number that is too large to name a class")
    if not (column.dtype.is_integer() or column.dtype in (pl.String, pl.Boolean, pl.Categorical)):
        raise WrongKey("target", f"{place} holds {listed([str(column.dtype).lower()])} values, which are no labels")
    return column.cast(pl.String).str.strip_chars().to_numpy().astype(str)
