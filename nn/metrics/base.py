"""The contract of a metric, and its name in a job file and a history."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, Literal

from nn.arrays import Array, Buffers
from nn.registry import Registry, Settings

Direction = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric(Settings):
    """`statistics` are sums over a batch's samples; `value` is the metric of all the batches whose sums were added.

    outputs are the network's (..., batch, outputs), and labels what a person knows: int64 (..., batch) for classes (one
    output is then a logit for the second of two), bool (..., batch, outputs) for several labels at once (the outputs
    are logits, a yes above 0), float32 (..., batch, outputs) for numbers.
    """

    direction: ClassVar[Direction] = "lower"
    tasks: ClassVar[frozenset[str]] = frozenset()
    losses: ClassVar[frozenset[str] | None] = None
    """The losses whose outputs it can read; None: any."""
    whole: ClassVar[bool] = False
    """Whether it cannot be summed: `statistics` wants all of a split at once, so no running value while training."""
    usual: ClassVar[bool] = False
    """Whether it is measured unless a person says otherwise."""

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        """float64 (..., size)"""
        raise NotImplementedError

    def value(self, statistics: Array, samples: int) -> float:
        """The metric of so many samples from their statistics (size,), of one network."""
        return float(statistics[0]) / samples


METRICS: Registry[type[Metric]] = Registry("metric")


@cache
def metric(name: str) -> Metric:
    """The metric of this name; top_<k> for any k. Raises KeyError, which lists what there is."""
    family = re.fullmatch(r"top_([1-9]\d*)", name)
    return METRICS["top_k"](int(family[1])) if family else METRICS[name]()  # type: ignore[call-arg]


def fitting(task: str, loss: str) -> tuple[str, ...]:
    """The names of the metrics that can judge a network for this task, trained with this loss."""
    return tuple(
        name for name, part in METRICS.items() if task in part.tasks and (part.losses is None or loss in part.losses)
    )


def base_name(metric: str) -> str:
    """val_accuracy and test_accuracy are accuracy, on other data."""
    return metric.removeprefix("val_").removeprefix("test_")


def direction(name: str) -> Direction:
    """Which way is better. Raises KeyError for a name that is neither `loss` nor a metric."""
    return "lower" if base_name(name) == "loss" else metric(base_name(name)).direction


def is_better(metric: str, value: float, than: float | None, by: float = 0.0) -> bool:
    """Whether the value beats the other by more than `by`; anything beats nothing."""
    if than is None:
        return True
    gain = than - value if direction(metric) == "lower" else value - than
    return gain > by
