"""What a person wants to know of a network: numbers with a direction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nn.arrays import Array, Buffers
from nn.registry import Registry, Settings

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric(Settings):
    """`total` is a sum over the batch's samples, so that an epoch's metric is total / samples however it was cut."""

    direction: ClassVar[Direction] = "lower"
    tasks: ClassVar[frozenset[str]] = frozenset()

    def total(self, outputs: Array, targets: Array, buffers: Buffers) -> Array:
        """outputs (..., batch, outputs) and the loss's targets -> (...)"""
        raise NotImplementedError


METRICS: Registry[type[Metric]] = Registry("metric")


@METRICS.register("accuracy")
@dataclass(frozen=True)
class Accuracy(Metric):
    """The share of samples whose largest output is the label's."""

    direction: ClassVar[Direction] = "higher"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification"})

    def total(self, outputs: Array, targets: Array, buffers: Buffers) -> Array:
        labels = targets if targets.dtype.kind == "i" else targets.argmax(axis=-1)  # one-hot targets
        right: Array = np.equal(outputs.argmax(axis=-1), labels)
        return np.asarray(np.add.reduce(right, axis=-1, dtype=np.int64))


@METRICS.register("mae")
@dataclass(frozen=True)
class MeanAbsoluteError(Metric):
    """The mean over samples of the mean over outputs of |output - target|."""

    tasks: ClassVar[frozenset[str]] = frozenset({"regression"})

    def total(self, outputs: Array, targets: Array, buffers: Buffers) -> Array:
        error = np.subtract(outputs, targets, out=buffers.array("error", outputs.shape, outputs.dtype))
        np.abs(error, out=error)
        row = error.reshape(*outputs.shape[:-2], -1)
        return np.asarray(np.add.reduce(row, axis=-1) / outputs.shape[-1])


def base_name(metric: str) -> str:
    """val_accuracy and test_accuracy are accuracy, on other data."""
    return metric.removeprefix("val_").removeprefix("test_")


def direction(metric: str) -> Direction:
    """Which way is better. Raises KeyError for a name that is neither `loss` nor a metric."""
    return "lower" if base_name(metric) == "loss" else METRICS[base_name(metric)].direction


def is_better(metric: str, value: float, than: float | None, by: float = 0.0) -> bool:
    """Whether the value beats the other by more than `by`; anything beats nothing."""
    if than is None:
        return True
    gain = than - value if direction(metric) == "lower" else value - than
    return gain > by
