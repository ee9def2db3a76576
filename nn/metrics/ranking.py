"""How good the outputs are as probabilities, and as an order of the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.losses.classes import label_places
from nn.metrics.base import METRICS, Direction, Metric
from nn.metrics.decisions import by_class


@METRICS.register("log_loss")
@dataclass(frozen=True)
class LogLoss(Metric):
    """-log of the probability that the network gives the label, the mean over samples (and over several labels).

    It is the cross-entropy without label smoothing or weights, so that runs with different settings can be compared.
    """

    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel"})
    losses: ClassVar[frozenset[str] | None] = frozenset({"cross_entropy", "binary_cross_entropy"})

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        outputs = outputs.astype(np.float64)
        if labels.dtype.kind == "b":
            towards = np.where(labels, -outputs, outputs)  # log(1 + exp(-z)) for a yes, log(1 + exp(z)) for a no
            each = np.maximum(towards, 0) + np.log1p(np.exp(-np.abs(towards)))
            losses = np.add.reduce(each, axis=-1) / labels.shape[-1]
        else:
            outputs = by_class(outputs)
            outputs -= np.maximum.reduce(outputs, axis=-1, keepdims=True)
            own = outputs.reshape(-1).take(label_places(labels, outputs.shape[-1], buffers))
            losses = np.log(np.add.reduce(np.exp(outputs), axis=-1)) - own
        return np.asarray(np.add.reduce(losses, axis=-1, keepdims=True))


@METRICS.register("roc_auc")
@dataclass(frozen=True)
class RocAuc(Metric):
    """How often a sample of a class is ranked above one that is not of it: the area under the ROC curve.

    Fawcett (2006), section 7; equal scores count half. Two classes: by how far the second leads. More: each class
    against the rest by its softmax, and several labels: each by its logit; the mean over those that have samples
    both in and out (macro). Where there is none, no sample can be ranked, and it is 0.5, that of guessing.

    It cannot be summed over batches, and is measured on validation and test only: while training, the weights change
    between two batches, and scores of different weights cannot be ranked against each other.
    """

    direction: ClassVar[Direction] = "higher"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel"})
    whole: ClassVar[bool] = True

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        stack = outputs.shape[:-2]
        members = outputs.reshape(-1, *outputs.shape[-2:]), labels.reshape(-1, *labels.shape[len(stack) :])
        return np.array([mean_area(*member) for member in zip(*members, strict=True)]).reshape(*stack, 1)

    def value(self, statistics: Array, samples: int) -> float:
        return float(statistics[0])


def mean_area(outputs: Array, labels: Array) -> float:
    """The mean area of outputs (n, outputs) and labels of one network over its classes or labels."""
    scores = outputs.astype(np.float64)
    if labels.ndim == 2:
        members = labels
    elif scores.shape[-1] <= 2:
        scores, members = scores[:, -1:] - scores[:, :-1].sum(axis=1, keepdims=True), labels[:, None] == 1
    else:
        scores, members = log_probabilities(scores), labels[:, None] == np.arange(scores.shape[1])
    found = [area(*column) for column in zip(scores.T, members.T, strict=True) if 0 < column[1].sum() < len(labels)]
    return float(np.mean(found)) if found else 0.5


def area(scores: Array, members: Array) -> float:
    """The share of pairs of a member and another in which the member's score is higher; a tie is half a pair."""
    inside, others = scores[members], np.sort(scores[~members])
    below, up_to = (np.searchsorted(others, inside, side) for side in ("left", "right"))
    return float((below + up_to).sum()) / (2 * len(inside) * len(others))


def log_probabilities(logits: Array) -> Array:
    """log softmax over the last axis; exact near probability 1, and the same for the same logits in another order."""
    ordered = np.sort(logits, axis=-1)
    largest = ordered[..., -1:]
    rest = np.add.reduce(np.exp(ordered[..., :-1] - largest), axis=-1, keepdims=True)
    logarithms: Array = logits - largest - np.log1p(rest)
    return logarithms
