"""Columns that say something about the rows instead of being learned from: weights, groups, parts of the split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from service.datasets.tables import Table, WrongKey, empty_cells, numbers, refuse_empty
from service.errors import DataError
from service.wording import did_you_mean, listed, shown

if TYPE_CHECKING:
    from service.spec import Spec

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Roles:
    """What the spec names for each role: a column of a table, or an array of an .npz file."""

    weights: str | None = None
    group: str | None = None
    part: str | None = None

    @classmethod
    def of(cls, spec: Spec) -> Roles:
        return cls(spec.data.weights, spec.data.split.group, spec.data.split.column)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """The name of each column with a role, and the key of the spec that says so."""
        named = ((self.weights, "weights"), (self.group, "split.group"), (self.part, "split.column"))
        return ((name, key) for name, key in named if name is not None)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self)

    def refuse(self, name: str, reason: str) -> None:
        """Raise WrongKey if any is asked of data that cannot have them."""
        for column, key in self:
            raise WrongKey(key, f"{name} has no column '{column}': {reason}")


def from_table(table: Table, roles: Roles) -> dict[str, Any]:
    """The arrays of a Dataset that the roles name. Raises WrongKey or DataError with the line of what is wrong."""
    found: dict[str, Any] = {}
    if roles.weights is not None:
        found["weights"] = _weights(numbers(table, roles.weights, "weights"), roles.weights, table.place)
    if roles.group is not None:
        found["groups"] = _codes(_words(table, roles.group, "split.group"))
    if roles.part is not None:
        found["parts"] = _parts(_words(table, roles.part, "split.column"), roles.part, table.place)
    return found


def from_arrays(arrays: Mapping[str, np.ndarray], roles: Roles, rows: int, file: str) -> dict[str, Any]:
    """The same from the arrays of an .npz file, one value for each row."""
    found: dict[str, Any] = {}
    for name, key in roles:
        if name not in arrays:
            known = f"{did_you_mean(name, arrays)} (its arrays: {listed(arrays)})"
            raise WrongKey(key, f"{file} has no array '{name}'{known}")
        if arrays[name].shape != (rows,) or arrays[name].dtype.kind not in ("buif" if key == "weights" else "buiU"):
            what = f"{arrays[name].dtype} of shape {arrays[name].shape}"
            raise WrongKey(key, f"{file}: the array '{name}' must hold a value for each of {rows} rows, got {what}")

    def place(row: int) -> str:
        return f"{file}: row {row + 1}"

    if roles.weights is not None:
        found["weights"] = _weights(arrays[roles.weights].astype(np.float32), roles.weights, place)
    if roles.group is not None:
        found["groups"] = _codes(arrays[roles.group])
    if roles.part is not None:
        found["parts"] = _parts(arrays[roles.part].astype(str), roles.part, place)
    return found


def _words(table: Table, column: str, key: str) -> np.ndarray:
    import polars as pl

    series = table.series(column, key)
    refuse_empty(table, column, empty_cells(series), key)
    if series.dtype.is_nested():
        raise WrongKey(key, f"{table.name}: column '{column}' holds {str(series.dtype).lower()} values, not words")
    return series.cast(pl.String).str.strip_chars().to_numpy().astype(str)


def _codes(words: np.ndarray) -> np.ndarray:
    return np.unique(words, return_inverse=True)[1].astype(np.int64)


def _parts(words: np.ndarray, column: str, place: Any) -> np.ndarray:
    codes = np.full(len(words), -1, np.int64)
    for code, part in enumerate(PARTS):
        codes[words == part] = code
    for row in np.flatnonzero(codes < 0)[:1].tolist():
        word = str(words[row])
        sentence = f"column '{column}': {shown(word)} is none of {listed(PARTS)}{did_you_mean(word, PARTS)}"
        raise DataError(f"{place(row)}: {sentence}")
    if not (codes == 0).any():
        raise WrongKey("split.column", f"column '{column}' says 'train' in no row; there is nothing to train on")
    return codes


def _weights(values: np.ndarray, column: str, place: Any) -> np.ndarray:
    wrong = ~(np.isfinite(values) & (values >= 0))
    for row in np.flatnonzero(wrong)[:1].tolist():
        raise DataError(f"{place(row)}: column '{column}': a weight is a number from 0 up, got {values[row]:g}")
    if not values.any():
        raise WrongKey("weights", f"column '{column}': all weights are 0; there is nothing to learn from")
    return values
