"""How far numbers are from their targets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.metrics.base import METRICS, Direction, Metric

HALF = ~((1 << 29) - 1)
"""A mask for the first 24 of a float64's 53 bits, as many as a float32 has."""


@METRICS.register("mae")
@dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """The mean over samples of the mean over outputs of |output - target|."""

    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})
    usual: ClassVar[bool] = True

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        error = np.subtract(outputs, labels, out=buffers.array("error", outputs.shape, np.float64), dtype=np.float64)
        np.abs(error, out=error)
        row = error.reshape(*outputs.shape[:-2], -1)
        return np.asarray(np.add.reduce(row, axis=-1, keepdims=True) / outputs.shape[-1])


@METRICS.register("rmse")
@dataclass(frozen=True)
class RootMeanSquaredError(Metric):
    """The root of the mean over samples of (output - target)², in the targets' unit; the mean over outputs."""

    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        error = columns(outputs, buffers, "error")
        error -= labels.mT
        np.square(error, out=error)
        return np.asarray(np.add.reduce(error, axis=-1))

    def value(self, statistics: Array, samples: int) -> float:
        return float(np.sqrt(statistics / samples).mean())


@METRICS.register("r2")
@dataclass(frozen=True)
class R2(Metric):
    """1 - Σ (output - target)² / Σ (target - mean)²: the share of the targets' variance that is explained.

    1 is perfect, 0 as good as always answering the mean. Of several outputs it is the mean. As in scikit-learn, targets
    that are all the same give 1 if every output is right and 0 otherwise.

    The variance is Σ y² - (Σ y)² / n, which would lose every digit for targets far from 0. So each y² is summed in two
    halves of 24 bits: such sums are exact in float64 up to 2²⁹ targets of like size, and `value` subtracts exactly.
    """

    direction: ClassVar[Direction] = "higher"
    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        targets = columns(labels, buffers, "targets")
        error = columns(outputs, buffers, "error")
        error -= targets
        np.square(error, out=error)
        squares = np.multiply(targets, targets, out=buffers.array("squares", targets.shape, np.float64))
        high = buffers.array("high", targets.shape, np.int64)
        upper = np.bitwise_and(squares.view(np.int64), HALF, out=high).view(np.float64)
        squares -= upper
        return np.concatenate([np.add.reduce(part, axis=-1) for part in (error, targets, upper, squares)], axis=-1)

    def value(self, statistics: Array, samples: int) -> float:
        shares = [explained(sums, samples) for sums in statistics.reshape(4, -1).T.tolist()]
        return math.fsum(shares) / len(shares)


def explained(sums: list[float], samples: int) -> float:
    """1 - error / Σ (target - mean)² of one output, from its four sums. Sums that are not finite give nan."""
    if not all(map(math.isfinite, sums)):
        return math.nan
    error, targets, upper, lower = sums
    spread = Fraction(upper) + Fraction(lower) - Fraction(targets) ** 2 / samples
    if spread <= 0:
        return 1.0 if error == 0 else 0.0
    return float(1 - Fraction(error) / spread)


def columns(values: Array, buffers: Buffers, name: str) -> Array:
    """float64 (..., outputs, batch) of values (..., batch, outputs): sums over the last axis have one order in a stack
    and alone."""
    array = buffers.array(name, values.mT.shape, np.float64)
    np.copyto(array, values.mT)
    return array
