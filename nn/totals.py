"""Sums over the samples of an epoch or a split, from which its loss and metrics come."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from nn.arrays import Array, Buffers
from nn.metrics import Metric


class Totals:
    """Adds batches up in float64; `values` are the means. Knows nothing of how the samples were cut into batches."""

    def __init__(self, metrics: Mapping[str, Metric]) -> None:
        self.metrics = {name: metric for name, metric in metrics.items() if not metric.whole}
        self.samples = 0
        self.weight = 0.0
        self.loss = 0.0
        self.statistics: dict[str, Array] = {}

    def add(self, loss: float, weight: float, outputs: Array, labels: Array, buffers: Buffers) -> None:
        """A batch's mean loss, what its samples weigh together, its outputs and labels."""
        self.samples += len(outputs)
        self.weight += weight
        self.loss += loss * weight
        for name, metric in self.metrics.items():
            found = metric.statistics(outputs, labels, buffers)
            known = self.statistics.get(name)
            self.statistics[name] = found if known is None else known + found

    def values(self) -> dict[str, float]:
        """The loss and every metric. A split whose samples all weigh nothing has no loss: NaN."""
        loss = self.loss / self.weight if self.weight else math.nan
        found = {name: self.metrics[name].value(sums, self.samples) for name, sums in self.statistics.items()}
        return {"loss": loss} | {name: found[name] for name in self.metrics if name in found}

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        sums = {name: [float(value) for value in np.ravel(found)] for name, found in self.statistics.items()}
        return {"samples": self.samples, "weight": self.weight, "loss": self.loss, "statistics": sums}

    @classmethod
    def from_document(cls, metrics: Mapping[str, Metric], document: Any) -> Totals:
        """What `document` wrote. Nothing in it is believed: ValueError says what is wrong."""
        totals = cls(metrics)
        if not isinstance(document, dict) or set(document) != {"samples", "weight", "loss", "statistics"}:
            raise ValueError(f"checkpoint: totals should be a table of sums, got {document!r}")
        samples, sums = document["samples"], document["statistics"]
        if type(samples) is not int or samples < 0:
            raise ValueError(f"checkpoint: totals of {samples!r} samples")
        if not isinstance(sums, dict) or set(sums) != (set(totals.metrics) if samples else set()):
            raise ValueError(f"checkpoint: the totals should be of {', '.join(totals.metrics)}, got {sums!r}")
        totals.samples = samples
        totals.weight, totals.loss = (_finite(name, document[name]) for name in ("weight", "loss"))
        for name, values in sums.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"checkpoint: total {name} is {values!r}, not a list of numbers")
            totals.statistics[name] = np.array([_finite(f"total {name}", value) for value in values])
        return totals


def _finite(name: str, value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError(f"checkpoint: {name} is {value!r}, which is not a finite number")
    return float(value)
