"""Precision, recall and their mean, from how often each class was right, told and there; the confusion matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from nn.arrays import Array, Buffers
from nn.metrics.base import METRICS, Direction, Metric
from nn.metrics.decisions import decided


@dataclass(frozen=True)
class CountsMetric(Metric):
    """Statistics (3 × classes + 1): for each class or label how often it was right, told and there; last, see `value`.

    As in scikit-learn with zero_division=0, a ratio without a denominator is 0, and a class that is neither there nor
    told is left out of the mean over classes, but never one of several labels: those leave the last number above 0.
    """

    direction: ClassVar[Direction] = "higher"
    tasks: ClassVar[frozenset[str]] = frozenset({"classification", "multilabel"})
    micro: ClassVar[bool] = False

    def statistics(self, outputs: Array, labels: Array, buffers: Buffers) -> Array:
        return label_counts(outputs, labels) if labels.dtype.kind == "b" else class_counts(outputs, labels)

    def value(self, statistics: Array, samples: int) -> float:
        right, told, there = statistics[:-1].reshape(3, -1)
        if self.micro:
            right, told, there = (counts.sum(keepdims=True) for counts in (right, told, there))
        elif not statistics[-1]:
            right, told, there = (counts[told + there > 0] for counts in (right, told, there))
        return float(self._ratio(right, told, there).mean())

    def _ratio(self, right: Array, told: Array, there: Array) -> Array:
        raise NotImplementedError


@METRICS.register("precision")
@dataclass(frozen=True)
class Precision(CountsMetric):
    """right / told: of the samples told to be of a class, the share that are; the mean over the classes (macro).

    As in scikit-learn with zero_division=0, here and in recall and f1: a class that is never told counts 0, and one
    that is neither told nor there is left out.
    """

    def _ratio(self, right: Array, told: Array, there: Array) -> Array:
        return ratio(right, told)


@METRICS.register("recall")
@dataclass(frozen=True)
class Recall(CountsMetric):
    """right / there: of the samples of a class, the share told to be; the mean over the classes (macro)."""

    def _ratio(self, right: Array, told: Array, there: Array) -> Array:
        return ratio(right, there)


@METRICS.register("f1")
@dataclass(frozen=True)
class F1(CountsMetric):
    """2 / (1 / precision + 1 / recall), their harmonic mean, of each class; the mean over the classes (macro)."""

    def _ratio(self, right: Array, told: Array, there: Array) -> Array:
        return ratio(2 * right, told + there)


@METRICS.register("precision_micro")
@dataclass(frozen=True)
class PrecisionMicro(Precision):
    """Precision with the samples of all classes counted together. For one class a sample it is the accuracy."""

    micro: ClassVar[bool] = True


@METRICS.register("recall_micro")
@dataclass(frozen=True)
class RecallMicro(Recall):
    """Recall with the samples of all classes counted together. For one class a sample it is the accuracy."""

    micro: ClassVar[bool] = True


@METRICS.register("f1_micro")
@dataclass(frozen=True)
class F1Micro(F1):
    """F1 with the samples of all classes counted together. For one class a sample it is the accuracy."""

    micro: ClassVar[bool] = True


class PerClass(NamedTuple):
    """Arrays with an entry for each class; `support` is how many samples are of it."""

    precision: Array
    recall: Array
    f1: Array
    support: Array


def confusion(outputs: Array, labels: Array, classes: int) -> Array:
    """int64 (classes, classes): how many samples of the row's class (n,) were told to be of the column's."""
    pairs = labels * classes + decided(outputs)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def per_class(confusion: Array) -> PerClass:
    """Precision, recall, F1 and support of each class; a ratio without a denominator is 0."""
    return ratios(np.diagonal(confusion), confusion.sum(axis=0), confusion.sum(axis=1))


def per_label(outputs: Array, labels: Array) -> PerClass:
    """The same for each of several labels at once, from outputs and labels bool (n, labels)."""
    return ratios(*label_counts(outputs, labels)[:-1].reshape(3, -1).astype(np.int64))


def ratios(right: Array, told: Array, there: Array) -> PerClass:
    return PerClass(ratio(right, told), ratio(right, there), ratio(2 * right, told + there), there)


def ratio(part: Array, whole: Array) -> Array:
    """part / whole, and 0 where there is no whole."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def class_counts(outputs: Array, labels: Array) -> Array:
    """Each class's counts of right, told and there, and a 0; one count over all members of a stack."""
    told, classes = decided(outputs), max(2, outputs.shape[-1])
    stack, size = labels.shape[:-1], 3 * classes + 1
    places = np.empty((*stack, 3, labels.shape[-1]), np.int64)
    places[..., 0, :] = np.where(told == labels, labels, 3 * classes)  # a wrong answer goes to the last place
    places[..., 1, :] = told + classes
    places[..., 2, :] = labels + 2 * classes
    members = math.prod(stack)
    places += (np.arange(members) * size).reshape(*stack, 1, 1)
    counts = np.bincount(places.reshape(-1), minlength=members * size).astype(np.float64)
    counts = counts.reshape(*stack, size)
    counts[..., -1] = 0
    return counts


def label_counts(outputs: Array, labels: Array) -> Array:
    """Each label's counts of right, told and there, and the number of samples."""
    told = outputs > 0
    counts = [found.sum(axis=-2, dtype=np.float64) for found in (told & labels, told, labels)]
    samples = np.full((*labels.shape[:-2], 1), labels.shape[-2], np.float64)
    return np.concatenate([*counts, samples], axis=-1)
