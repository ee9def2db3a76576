"""Losses that grow in proportion to a large difference, so that a few wild targets do not rule the training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.losses.base import LOSSES, Loss, Shares, by_row
from nn.losses.classes import check_columns
from nn.losses.squared import ACTIVATIONS
from nn.registry import setting


@dataclass(frozen=True)
class BoundedSlope(Loss):
    """What `mae` and `huber` share: numbers as targets, and a slope for each difference that is kept for backward."""

    output_activations: ClassVar[frozenset[str]] = ACTIVATIONS
    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})

    def targets(self, labels: Array, outputs: int) -> Array:
        if labels.ndim == 1:
            raise ValueError(f"{self.kind} compares with numbers (n, outputs); these are classes; use cross_entropy")
        check_columns(labels, outputs)
        return labels

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, ...]:
        """The losses, and the slopes (..., batch, outputs)."""
        difference = buffers.array("difference", outputs.shape, outputs.dtype)
        np.subtract(outputs, targets, out=difference)
        slopes = buffers.array("gradient", outputs.shape, outputs.dtype)
        self._split(difference, slopes)
        losses = buffers.array("losses", outputs.shape[:-1], outputs.dtype)
        np.add.reduce(difference, axis=-1, out=losses)
        losses /= outputs.shape[-1]
        return losses, slopes

    def _split(self, difference: Array, slopes: Array) -> None:
        """Write each difference's slope to slopes, and its loss over the difference."""
        raise NotImplementedError

    def _gradient(self, kept: tuple[Array, ...], shares: Shares) -> Array:
        slopes = kept[1]
        slopes *= by_row(shares, 1 / slopes.shape[-1])
        return slopes


@LOSSES.register("mae")
@dataclass(frozen=True)
class MeanAbsoluteError(BoundedSlope):
    """The mean over the batch of the mean over the outputs of |output - target|.

    outputs and targets (..., batch, outputs). Its best constant is the median, where that of mse is the mean. The slope
    is the sign of the difference, taken as 0 at 0: it does not shrink near the target, so let the learning rate fall.
    """

    def _split(self, difference: Array, slopes: Array) -> None:
        np.sign(difference, out=slopes)
        np.abs(difference, out=difference)


@LOSSES.register("huber")
@dataclass(frozen=True)
class Huber(BoundedSlope):
    """½ d² for a difference |d| up to delta and delta (|d| - ½ delta) beyond, the mean over outputs and batch.

    outputs and targets (..., batch, outputs). Huber (1964), as in PyTorch: like mse near the target and like
    mae far from it. With c = d clipped to ±delta it is c (d - c / 2), and its slope is c.
    """

    delta: float = setting(1.0, above=0, doc="up to here a difference counts squared, beyond it in proportion")

    def _split(self, difference: Array, slopes: Array) -> None:
        np.minimum(difference, self.delta, out=slopes)
        np.maximum(slopes, -self.delta, out=slopes)
        difference *= 2
        difference -= slopes
        difference *= slopes
        difference *= 0.5
