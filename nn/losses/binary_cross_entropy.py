"""Cross-entropy of yes or no, its sigmoid included: two classes with one output, or several labels at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.losses.base import LOSSES, Loss, Shares, by_row
from nn.losses.classes import check_class_labels, check_columns


@LOSSES.register("binary_cross_entropy")
@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """-t log σ(z) - (1 - t) log(1 - σ(z)), the mean over outputs and batch. The sigmoid σ is inside: z are logits.

    outputs z and targets t of 0 and 1 (..., batch, outputs). Two classes need one output, the logit of the second;
    several labels at once (multilabel) need one each. Bishop (2006), eq. 4.90, in the form max(z, 0) - z t +
    log(1 + exp(-|z|)), where no exp can overflow; the gradient is σ(z) - t. The outputs must be linear: a sigmoid below
    it would be taken twice.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel"})
    probabilistic: ClassVar[bool] = True

    def targets(self, labels: Array, outputs: int) -> Array:
        if labels.ndim == 1:
            if outputs != 1:
                raise ValueError(f"two classes need one output with binary_cross_entropy; the network has {outputs}")
            check_class_labels(labels, 2)
            return labels.astype(np.float32)[:, None]
        check_columns(labels, outputs)
        if not np.isin(labels, (0, 1)).all():
            raise ValueError("binary_cross_entropy takes labels that are all 0 or 1; for other numbers use mse")
        return labels.astype(np.float32, copy=False)

    def units(self, classes: int, targets: int) -> int:
        if classes > 2:
            sentence = f"binary_cross_entropy tells two classes apart, and there are {classes}"
            raise ValueError(f"{sentence}; use cross_entropy, which takes any number")
        return 1 if classes else targets

    def scores(self, outputs: Array) -> Array:
        return logistic(outputs)

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, ...]:
        """The losses; σ(outputs) - targets."""
        shape, dtype = outputs.shape, outputs.dtype
        small = np.abs(outputs, out=buffers.array("small", shape, dtype))
        np.negative(small, out=small)
        np.exp(small, out=small)  # exp(-|z|), from 0 to 1
        each = np.maximum(outputs, 0, out=buffers.array("each", shape, dtype))
        work = np.multiply(outputs, targets, out=buffers.array("gradient", shape, dtype))
        each -= work
        each += np.log1p(small, out=work)
        losses = np.add.reduce(each, axis=-1, out=buffers.array("losses", shape[:-1], dtype))
        losses /= shape[-1]
        np.exp(np.minimum(outputs, 0, out=each), out=each)
        small += 1
        np.divide(each, small, out=work)  # σ(z) = exp(min(z, 0)) / (1 + exp(-|z|))
        work -= targets
        return losses, work

    def _gradient(self, kept: tuple[Array, ...], shares: Shares) -> Array:
        gradient = kept[1]
        gradient *= by_row(shares, 1 / gradient.shape[-1])
        return gradient


def logistic(logits: Array) -> Array:
    """σ(z) = 1 / (1 + exp(-z)), in the logits' type and to its last digits at either end."""
    scores: Array = np.exp(np.minimum(logits, 0))
    scores /= 1 + np.exp(-np.abs(logits))
    return scores
