"""What training makes small: (outputs, targets) -> (loss, gradient of the loss by the outputs).

Outputs are (..., batch, outputs). A loss is one number for each member of the stack, the mean over its batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers, Shape
from nn.registry import Registry, Settings


@dataclass(frozen=True)
class Loss(Settings):
    """Called with (outputs, targets, buffers) it returns the loss (...) and its gradient, which lives in the buffers.

    `output_activations` are those that make sense below it, `tasks` what it can be used for.
    """

    output_activations: ClassVar[frozenset[str]] = frozenset()
    tasks: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, Array]:
        raise NotImplementedError

    def value(self, outputs: Array, targets: Array, buffers: Buffers | None = None) -> Array:
        """The loss (...) without its gradient, for evaluation."""
        raise NotImplementedError

    def targets(self, labels: Array, outputs: int) -> Array:
        """The labels in the form this loss compares with; ValueError if they cannot be. Once, before training."""
        raise NotImplementedError


LOSSES: Registry[type[Loss]] = Registry("loss")


@LOSSES.register("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """-log softmax(outputs)[label], the mean over the batch. The softmax is inside: the outputs are logits.

    outputs (..., batch, classes), targets int64 (..., batch). The largest logit is subtracted first, so that exp never
    overflows; softmax and logarithm together have the gradient softmax - onehot. Goodfellow et al. (2016), 6.2.2.3.
    """

    output_activations: ClassVar[frozenset[str]] = frozenset({"linear"})
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def __call__(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, Array]:
        exponentials, totals, label_places, loss = self._compare(outputs, targets, buffers)
        batch = outputs.shape[-2]
        totals *= batch
        gradient = np.divide(exponentials, totals[..., None], out=exponentials)
        gradient.reshape(-1)[label_places] -= 1 / batch  # the places are distinct: one for each sample
        return loss, gradient

    def value(self, outputs: Array, targets: Array, buffers: Buffers | None = None) -> Array:
        return self._compare(outputs, targets, buffers or Buffers())[-1]

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, Array, Array, Array]:
        """exp(shifted) and its sums over classes, where the labels' entries are in flat memory, and the loss."""
        rows = outputs.shape[:-1]
        shifted = buffers.array("gradient", outputs.shape, outputs.dtype)
        np.subtract(outputs, np.maximum.reduce(outputs, axis=-1, keepdims=True), out=shifted)
        places = buffers.array("places", rows, np.int64)
        np.add(row_starts(rows, outputs.shape[-1]), targets, out=places)
        losses = buffers.array("losses", rows, outputs.dtype)
        shifted.reshape(-1).take(places, out=losses, mode="clip")  # "clip" writes to out without a copy
        np.exp(shifted, out=shifted)
        totals = np.add.reduce(shifted, axis=-1, out=buffers.array("totals", rows, outputs.dtype))
        np.subtract(np.log(totals), losses, out=losses)
        return shifted, totals, places, np.add.reduce(losses, axis=-1) / rows[-1]

    def targets(self, labels: Array, outputs: int) -> Array:
        check_class_labels(labels, outputs)
        return labels


@LOSSES.register("mse")
@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """The mean over the batch of the mean over the outputs of (output - target)², as in Keras.

    outputs and targets (..., batch, outputs). For classification the targets are one-hot.
    """

    output_activations: ClassVar[frozenset[str]] = frozenset({"linear", "sigmoid", "tanh"})
    tasks: ClassVar[frozenset[str]] = frozenset({"regression", "classification"})

    def __call__(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, Array]:
        difference, loss = self._compare(outputs, targets, buffers)
        difference *= 2 / math.prod(outputs.shape[-2:])
        return loss, difference

    def value(self, outputs: Array, targets: Array, buffers: Buffers | None = None) -> Array:
        return self._compare(outputs, targets, buffers or Buffers())[1]

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, Array]:
        difference = buffers.array("gradient", outputs.shape, outputs.dtype)
        np.subtract(outputs, targets, out=difference)
        # One axis for batch and outputs, so that a member of a stack is summed in the same order as alone.
        row = difference.reshape(*outputs.shape[:-2], -1)
        return difference, np.vecdot(row, row) / row.shape[-1]

    def targets(self, labels: Array, outputs: int) -> Array:
        if labels.ndim == 1:
            return one_hot(labels, outputs)
        if labels.shape[1:] != (outputs,):
            raise ValueError(f"the targets have {labels.shape[1]} columns, and the network has {outputs} outputs")
        return labels


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis, in the logits' type."""
    exponentials: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    exponentials /= exponentials.sum(axis=-1, keepdims=True)
    return exponentials


def one_hot(labels: Array, classes: int) -> Array:
    """float32 (n, classes) with a 1 in the column of each label."""
    check_class_labels(labels, classes)
    return np.eye(classes, dtype=np.float32)[labels]


def check_class_labels(labels: Array, classes: int) -> None:
    if labels.ndim != 1 or labels.dtype.kind != "i":
        raise ValueError(f"class labels are whole numbers (n,); these are {labels.dtype} {labels.shape}")
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        found = f"{labels.min()} to {labels.max()}"
        raise ValueError(f"a network with {classes} outputs takes the labels 0 to {classes - 1}; these are {found}")


@lru_cache(maxsize=32)
def row_starts(rows: Shape, width: int) -> Array:
    """Where each row of a contiguous (*rows, width) array begins in memory."""
    starts = np.arange(0, math.prod(rows) * width, width).reshape(rows)
    starts.flags.writeable = False
    return starts
