"""The hinge loss of a support vector machine, for any number of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.losses.base import LOSSES, Loss, Shares, by_row
from nn.losses.classes import check_class_labels, label_places
from nn.registry import setting


@LOSSES.register("hinge")
@dataclass(frozen=True)
class Hinge(Loss):
    """Σ over the wrong classes j of max(0, margin - z_label + z_j) / classes, the mean over the batch.

    outputs z (..., batch, classes), targets int64 (..., batch). Weston & Watkins (1999) sum over all wrong classes; as
    in PyTorch (MultiMarginLoss) the sum is divided by the number of classes. Crammer & Singer (2001) take the largest
    term alone. A sample whose class leads by the margin has no gradient. The outputs are scores without bounds, so they
    must be linear, and they are no probabilities.
    """

    margin: float = setting(1.0, above=0, doc="by how much the right class must lead")

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def targets(self, labels: Array, outputs: int) -> Array:
        check_class_labels(labels, outputs)
        return labels

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, ...]:
        """The losses, by how much each wrong class comes too near, and where the labels' entries are."""
        rows, classes = outputs.shape[:-1], outputs.shape[-1]
        places = label_places(targets, classes, buffers)
        losses = buffers.array("losses", rows, outputs.dtype)
        excess = buffers.array("gradient", outputs.shape, outputs.dtype)
        np.copyto(excess, outputs)
        flat = excess.reshape(-1)
        flat.take(places, out=losses, mode="clip")  # "clip" writes to out without a copy
        excess -= losses[..., None]
        excess += self.margin
        flat[places] = 0
        np.maximum(excess, 0, out=excess)
        np.add.reduce(excess, axis=-1, out=losses)
        losses /= classes
        return losses, excess, places

    def _gradient(self, kept: tuple[Array, ...], shares: Shares) -> Array:
        _, excess, places = kept
        np.sign(excess, out=excess)  # 1 for each class that comes too near
        excess.reshape(-1)[places] = -np.add.reduce(excess, axis=-1)
        excess *= by_row(shares, 1 / excess.shape[-1])
        return excess
