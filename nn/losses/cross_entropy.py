"""Cross-entropy of classes, its softmax included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers, ones
from nn.losses.base import LOSSES, Loss, Shares, by_row
from nn.losses.classes import check_class_labels, label_places
from nn.registry import setting

SHORT = 32  # rows of fewer numbers


@LOSSES.register("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-log softmax(outputs)[label], the mean over the batch. The softmax is inside: the outputs are logits.

    outputs (..., batch, classes), targets int64 (..., batch). The largest logit is subtracted first, so that exp never
    overflows; softmax and logarithm together have the gradient softmax - onehot. Goodfellow et al. (2016), 6.2.2.3.
    The outputs must be linear: a softmax below it would be taken twice, and learn slowly without an error.

    With label_smoothing ε the target is (1 - ε) onehot + ε / classes: Szegedy et al. (2016), section 7, as in PyTorch.
    """

    label_smoothing: float = setting(
        0.0, least=0, below=1, doc="the share of the target that is spread evenly over all classes"
    )

    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})
    probabilistic: ClassVar[bool] = True

    def targets(self, labels: Array, outputs: int) -> Array:
        check_class_labels(labels, outputs)
        return labels

    def scores(self, outputs: Array) -> Array:
        return softmax(outputs)

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, ...]:
        """The losses, exp(shifted), the same in one row, its sums over classes, and where the labels' entries are."""
        shape, dtype = outputs.shape, outputs.dtype
        rows = shape[:-1]
        shifted = buffers.array("gradient", shape, dtype)
        np.subtract(outputs, row_maxima(outputs, buffers)[..., None], out=shifted)
        places = label_places(targets, shape[-1], buffers)
        losses, flat = buffers.array("losses", rows, dtype), shifted.reshape(-1)
        flat.take(places, out=losses, mode="clip")  # "clip" writes to out without a copy
        if self.label_smoothing:
            losses *= 1 - self.label_smoothing
            losses += np.add.reduce(shifted, axis=-1) * (self.label_smoothing / shape[-1])
        np.exp(shifted, out=shifted)
        totals = np.matmul(shifted, ones(shape[-1], dtype), out=buffers.array("totals", rows, dtype))
        np.subtract(np.log(totals), losses, out=losses)
        return losses, shifted, flat, totals, places

    def _gradient(self, kept: tuple[Array, ...], shares: Shares) -> Array:
        _, exponentials, flat, totals, places = kept
        np.divide(shares, totals, out=totals)
        exponentials *= totals[..., None]
        if self.label_smoothing:
            exponentials -= by_row(shares, self.label_smoothing / exponentials.shape[-1])
            shares = shares * (1 - self.label_smoothing)
        flat[places] -= shares  # the places are distinct: one for each sample
        return exponentials


def row_maxima(outputs: Array, buffers: Buffers) -> Array:
    """The largest of each row (...). NumPy goes through short rows one number at a time, so their copy is turned."""
    *stack, batch, width = outputs.shape
    if width >= SHORT:
        maxima: Array = np.maximum.reduce(outputs, axis=-1)
        return maxima
    turned = buffers.array("turned", (*stack, width, batch), outputs.dtype)
    turned[...] = outputs.mT
    return np.maximum.reduce(turned, axis=-2, out=buffers.array("maxima", (*stack, batch), outputs.dtype))


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis, in the logits' type."""
    exponentials: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials
