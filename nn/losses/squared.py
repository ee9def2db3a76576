"""Squared differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.losses.base import LOSSES, Loss, Shares, by_row
from nn.losses.classes import check_columns, one_hot

ACTIVATIONS = frozenset({"linear", "sigmoid", "tanh", "softmax", "relu", "softplus"})
"""Linear for any number; the others where the targets lie in their range: 0 to 1, -1 to 1, shares of one, no less
than 0."""


@dataclass(frozen=True)
class SquaredDifference(Loss):
    """What `mse` and `quadratic` share: a factor times the sum over the outputs of (output - target)²."""

    output_activations: ClassVar[frozenset[str]] = ACTIVATIONS
    tasks: ClassVar[frozenset[str]] = frozenset({"regression", "classification"})

    def targets(self, labels: Array, outputs: int) -> Array:
        if labels.ndim == 1:
            return one_hot(labels, outputs)
        check_columns(labels, outputs)
        return labels

    def _factor(self, outputs: int) -> float:
        raise NotImplementedError

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, ...]:
        """The differences. Their squares have no array of their own: a dot product sums them on the way."""
        return (np.subtract(outputs, targets, out=buffers.array("gradient", outputs.shape, outputs.dtype)),)

    def _losses(self, kept: tuple[Array, ...]) -> Array:
        (difference,) = kept
        return np.asarray(np.vecdot(difference, difference) * self._factor(difference.shape[-1]))

    def _mean(self, kept: tuple[Array, ...]) -> Array:
        (difference,) = kept
        batch, outputs = difference.shape[-2:]
        factor = self._factor(outputs) / batch
        # One axis for batch and outputs, so that a member of a stack is summed in the same order as alone.
        if difference.ndim == 2:
            row = difference.reshape(-1)
            return np.asarray(row.dot(row) * factor)
        row = difference.reshape(*difference.shape[:-2], batch * outputs)
        return np.asarray(np.vecdot(row, row) * factor)

    def _gradient(self, kept: tuple[Array, ...], shares: Shares) -> Array:
        (difference,) = kept
        difference *= by_row(shares, 2 * self._factor(difference.shape[-1]))
        return difference


@LOSSES.register("mse")
@dataclass(frozen=True)
class MeanSquaredError(SquaredDifference):
    """The mean over the batch of the mean over the outputs of (output - target)², as in Keras.

    outputs and targets (..., batch, outputs). For classification the targets are one-hot. The gradient is
    2 (output - target) / (batch × outputs).
    """

    def _factor(self, outputs: int) -> float:
        return 1 / outputs


@LOSSES.register("quadratic")
@dataclass(frozen=True)
class Quadratic(SquaredDifference):
    """½ Σ over the outputs of (output - target)², the mean over the batch: the quadratic cost of a first course.

    outputs and targets (..., batch, outputs). For classification the targets are one-hot. Nielsen (2015), chapter 1,
    eq. 6. It is mse times half the number of outputs, so its gradient is (output - target) / batch.
    """

    def _factor(self, outputs: int) -> float:
        return 0.5
