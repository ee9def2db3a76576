"""Data for a network: features with labels, scalers, mini-batches. Splitting is in `splits`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from nn.arrays import Array, Arrays
from nn.registry import Registry, Settings
from nn.splits import split_indices

__all__ = ["SCALERS", "Data", "Scaler", "minibatches", "split_indices"]

CHUNK = 1 << 20  # bytes of features gathered at once


@dataclass(frozen=True)
class Data:
    """features float32 (n, ...) and labels: int64 (n,) for classes, or float32 (n, outputs) for numbers.

    Whole numbers (n,) are taken as classes and others as targets; a column of targets may be given as (n,).
    """

    features: Array
    labels: Array

    def __post_init__(self) -> None:
        features = np.ascontiguousarray(self.features, dtype=np.float32)
        labels = np.asarray(self.labels)
        if labels.dtype.kind in "iub" and labels.ndim == 1:
            labels = labels.astype(np.int64, copy=False)
        else:
            labels = np.asarray(labels, dtype=np.float32).reshape(len(labels), -1)
        if features.ndim < 2 or len(features) != len(labels):
            raise ValueError(f"features are (n, ...) with n labels; these are {features.shape} and {labels.shape}")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", np.ascontiguousarray(labels))

    def __len__(self) -> int:
        return len(self.features)

    def take(self, indices: Array) -> Data:
        return Data(self.features[indices], self.labels[indices])


def minibatches(
    features: Array, targets: Array, order: Array, batch_size: int, start: int = 0
) -> Iterator[tuple[Array, Array]]:
    """Batches of the samples in `order` from its place `start` (a whole number of batches); the last may be smaller.

    Many batches are gathered at once, since one large gather costs a small part of as many small ones, yet not so many
    that memory grows with the data or the rows have left the cache before they are used.
    """
    row_bytes = max(1, features.nbytes // max(1, len(features)))
    rows = max(1, CHUNK // (row_bytes * batch_size)) * batch_size
    for first in range(start, len(order), rows):
        chosen = order[first : first + rows]
        x, y = features.take(chosen, axis=0), targets.take(chosen, axis=0)
        for begin in range(0, len(chosen), batch_size):
            yield x[begin : begin + batch_size], y[begin : begin + batch_size]


@dataclass(frozen=True)
class Scaler(Settings):
    """`fit` on the training split gives the arrays that `apply` needs; they are saved with the run."""

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
    """The features as they are."""

    def fit(self, features: Array) -> dict[str, Array]:
        return {}

    def apply(self, features: Array, arrays: Arrays) -> Array:
        return np.asarray(features, np.float32)


def _arrays(shift: Array, scale: Array) -> dict[str, Array]:
    scale = np.asarray(scale, np.float32)
    return {"shift": np.asarray(shift, np.float32), "scale": np.where(scale > 0, scale, np.float32(1))}
