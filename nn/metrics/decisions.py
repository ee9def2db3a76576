"""How often the network is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.metrics.base import METRICS, Direction, Metric
from nn.registry import setting


@METRICS.register("accuracy")
@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of samples whose largest output is the label's.

    With one output for two classes, the second is told where it is above 0. For several labels at once it is the share
    of right answers over samples and labels (1 minus the Hamming loss).
    """

    direction: ClassVar[Direction] = "higher"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel"})
    usual: ClassVar[bool] = True

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        if labels.dtype.kind == "b":
            right = np.equal(outputs > 0, labels).mean(axis=-1)
        else:
            right = np.equal(decided(outputs), labels)
        total: Array = np.add.reduce(right, axis=-1, dtype=np.float64, keepdims=True)
        return total


@METRICS.register("top_k")
@dataclass(frozen=True)
class TopK(Metric):
    """The share of samples whose label is among the k largest outputs; written with its k, such as top_3.

    Of equal outputs the first counts as larger, as in accuracy, so that top_1 is accuracy.
    """

    k: int = setting(5, least=1, doc="how many guesses there are")

    direction: ClassVar[Direction] = "higher"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        outputs = by_class(outputs)
        column = labels[..., None]
        own = np.take_along_axis(outputs, column, axis=-1)
        ahead = (outputs > own) | ((outputs == own) & (np.arange(outputs.shape[-1]) < column))
        right = ahead.sum(axis=-1) < self.k
        return np.asarray(right.sum(axis=-1, dtype=np.float64, keepdims=True))


def decided(outputs: Array) -> Array:
    """The class with the largest output (..., batch); one output is a logit, and the second class above 0."""
    if outputs.shape[-1] == 1:
        return np.asarray(outputs[..., 0] > 0, np.int64)
    told: Array = outputs.argmax(axis=-1)
    return told


def by_class(outputs: Array) -> Array:
    """An output for each class: beside the only logit of two classes stands a 0."""
    if outputs.shape[-1] > 1:
        return outputs
    return np.concatenate([np.zeros_like(outputs), outputs], axis=-1)
