"""From the columns of a table to the inputs of a network: gaps filled, categories spread, numbers scaled.

All of it is measured on the training rows alone and saved with the network, so that new rows are treated alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Arrays, Shape
from nn.registry import Registry, Settings, setting


@dataclass(frozen=True)
class Scaler(Settings):
    """`fit` on the training split gives the `arrays` that `apply` needs; they are saved with the run."""

    arrays: ClassVar[tuple[str, ...]] = ("shift", "scale")

    def fit(self, features: Array) -> dict[str, Array]:
        """Statistics of each feature over the samples (n, ...) -> float32 (...)"""
        raise NotImplementedError

    def apply(self, features: Array, arrays: Arrays) -> Array:
        """(features - arrays["shift"]) / arrays["scale"], float32."""
        scaled: Array = np.subtract(features, arrays["shift"], dtype=np.float32)
        scaled /= arrays["scale"]
        return scaled


SCALERS: Registry[type[Scaler]] = Registry("scaler")


@SCALERS.register("standard")
@dataclass(frozen=True)
class StandardScaler(Scaler):
    """Mean 0 and standard deviation 1 for each feature; a constant feature becomes 0."""

    def fit(self, features: Array) -> dict[str, Array]:
        mean = features.mean(axis=0, dtype=np.float64)
        squares = np.zeros_like(mean)
        for start in range(0, len(features), 1024):  # piecewise: no float64 copy of everything
            squares += np.square(features[start : start + 1024] - mean).sum(axis=0)
        spread = np.where(np.ptp(features, axis=0) > 0, np.sqrt(squares / len(features)), 0)
        return _arrays(mean, spread)


@SCALERS.register("minmax")
@dataclass(frozen=True)
class MinMaxScaler(Scaler):
    """Smallest 0 and largest 1 for each feature; a constant feature becomes 0."""

    def fit(self, features: Array) -> dict[str, Array]:
        low, high = features.min(axis=0), features.max(axis=0)
        return _arrays(low, high.astype(np.float64) - low)


@SCALERS.register("none")
@dataclass(frozen=True)
class NoScaler(Scaler):
    """The features as they are, except that images of bytes (0 to 255) become 0 to 1."""

    arrays: ClassVar[tuple[str, ...]] = ()

    def fit(self, features: Array) -> dict[str, Array]:
        return {}

    def apply(self, features: Array, arrays: Arrays) -> Array:
        return np.asarray(features, np.float32)


@dataclass(frozen=True)
class ByteScaler(Scaler):
    """0 to 1 for bytes, 0 to 255, whatever the training rows hold."""

    def fit(self, features: Array) -> dict[str, Array]:
        return _arrays(np.zeros(features.shape[1:]), np.full(features.shape[1:], 255))


def _arrays(shift: Array, scale: Array) -> dict[str, Array]:
    scale = np.asarray(scale, np.float32)
    return {"shift": np.asarray(shift, np.float32), "scale": np.where(scale > 0, scale, np.float32(1))}


FILLS: Registry[Callable[[Array], float]] = Registry("fill")


@FILLS.register("mean")
def mean(values: Array) -> float:
    """The mean of the known values."""
    return float(values.mean(dtype=np.float64))


@FILLS.register("median")
def median(values: Array) -> float:
    """The middle one of the known values, or the mean of the middle two."""
    return float(np.median(values))


@FILLS.register("most_frequent")
def most_frequent(values: Array) -> float:
    """The value that occurs most often; the smallest of several."""
    known, counts = np.unique(values, return_counts=True)
    return float(known[counts.argmax()])


@dataclass(frozen=True)
class Missing(Settings):
    """What is done about empty cells of the features. Little & Rubin (2019), section 4.2. Labels are never filled in.

    A column of categories is filled with the most frequent one, whatever is filled into numbers.
    """

    fill: str = setting(
        "error",
        choices=("error", *FILLS),
        doc="what stands in for an empty cell, by the training rows; error: an empty cell is refused",
    )
    indicator: bool = setting(
        False, doc="an extra 0/1 input for each column with an empty cell in the training rows: 1 where it was empty"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.indicator and self.fill == "error":
            raise ValueError("Missing: an indicator needs a fill: mean, median or most_frequent")


@dataclass(frozen=True)
class Preparation:
    """Rows (n, columns), NaN where a cell is empty -> inputs float32 (n, width); `fit` gives the arrays for `apply`.

    A column of numbers is one input, (value - shift) / scale. A column with k categories holds their codes 0 … k - 1
    and is k inputs in its place, 1 for its category and 0 for the others (one-hot). At the end an input for each
    column in `indicated` is 1 where its cell was empty. Only numbers are scaled.
    """

    scaler: Scaler
    columns: int
    categories: tuple[int, ...] = ()  # how many each column has, 0 for a column of numbers; () for numbers alone
    fill: str = "error"
    indicated: tuple[int, ...] = ()

    @property
    def width(self) -> int:
        """How many inputs a row becomes."""
        return self.columns + sum(size - 1 for size in self.categories if size) + len(self.indicated)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The arrays that `fit` gives, by name."""
        shapes: dict[str, Shape] = dict.fromkeys(self.scaler.arrays, (self.width,))
        shapes |= {"fill": (self.columns,)} if self.fill != "error" else {}
        return shapes | ({"indicated": (len(self.indicated),)} if self.indicated else {})

    def fit(self, features: Array) -> dict[str, Array]:
        """Statistics of the training rows. ValueError if a column has no value at all to fill its gaps with."""
        arrays: dict[str, Array] = {}
        if self.fill != "error":
            arrays["fill"] = self._fills(features)
            features = self.filled(features, arrays)
        if self.indicated:
            arrays["indicated"] = np.array(self.indicated, np.int64)
        if self._plain:
            return arrays | self.scaler.fit(features)
        # Everything but numbers stays as it is: (x - 0) / 1.
        arrays |= {name: np.full(self.width, name == "scale", np.float32) for name in self.scaler.arrays}
        numbers = {column: place for column, place, _ in self._columns() if not self._categories(column)}
        for name, values in self.scaler.fit(features[:, list(numbers)]).items() if numbers else ():
            arrays[name][list(numbers.values())] = values
        return arrays

    def apply(self, features: Array, arrays: Arrays) -> Array:
        """The inputs float32 (n, width), a new array unless there is nothing to do."""
        empty = np.isnan(features) if self.indicated else None
        features = self.filled(features, arrays)
        if not self._plain:
            features = self._spread(features, empty)
        return self.scaler.apply(features, arrays)

    def filled(self, features: Array, arrays: Arrays) -> Array:
        """The columns as they are, but without gaps."""
        return features if self.fill == "error" else np.where(np.isnan(features), arrays["fill"], features)

    @property
    def _plain(self) -> bool:
        """Whether each column is one input."""
        return not any(self.categories) and not self.indicated

    def _categories(self, column: int) -> int:
        return self.categories[column] if self.categories else 0

    def _columns(self) -> Iterator[tuple[int, int, int]]:
        """Each column with the place of its first input and the number of its inputs."""
        place = 0
        for column in range(self.columns):
            size = self._categories(column) or 1
            yield column, place, size
            place += size

    def _fills(self, features: Array) -> Array:
        fills = np.empty(self.columns, np.float32)
        for column in range(self.columns):
            known = features[:, column][~np.isnan(features[:, column])]
            if not len(known):
                raise ValueError(f"column {column + 1} is empty in every training row")
            fills[column] = FILLS["most_frequent" if self._categories(column) else self.fill](known)
        return fills

    def _spread(self, features: Array, empty: Array | None) -> Array:
        rows, inputs = np.arange(len(features)), np.zeros((len(features), self.width), np.float32)
        for column, place, _ in self._columns():
            if self._categories(column):
                inputs[rows, place + features[:, column].astype(np.int64)] = 1
            else:
                inputs[:, place] = features[:, column]
        if empty is not None:
            inputs[:, self.width - len(self.indicated) :] = empty[:, list(self.indicated)]
        return inputs
