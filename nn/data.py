"""Data for a network: features with labels, mini-batches. Splits are in `splits`, scalers in `preparation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nn.arrays import Array, Buffers
from nn.augmentation import ImageAugmentation

CHUNK = 1 << 20  # bytes of features gathered at once


@dataclass(frozen=True)
class Data:
    """features (n, ...) and labels: int64 (n,) for classes, or float32 (n, outputs) for numbers.

    Whole numbers (n,) are taken as classes and others as targets; a column of targets may be given as (n,). Features
    are float32 or, so that images need a quarter of the memory, uint8; with a `scale` they are turned into
    (features - shift) / scale batch by batch. `weights` (n,) say how much each sample counts in the loss. `augment`
    changes training images and scales them.
    """

    features: Array
    labels: Array
    weights: Array | None = None
    shift: Array | None = None
    scale: Array | None = None
    augment: ImageAugmentation | None = None

    def __post_init__(self) -> None:
        kept = np.asarray(self.features).dtype == np.uint8
        features = np.ascontiguousarray(self.features, dtype=np.uint8 if kept else np.float32)
        labels = np.asarray(self.labels)
        if labels.dtype.kind in "iub" and labels.ndim == 1:
            labels = labels.astype(np.int64, copy=False)
        else:
            labels = np.asarray(labels, dtype=np.float32).reshape(len(labels), -1)
        if features.ndim < 2 or len(features) != len(labels):
            raise ValueError(f"features are (n, ...) with n labels; these are {features.shape} and {labels.shape}")
        if self.weights is not None and self.weights.shape != (len(features),):
            raise ValueError(f"weights are (n,) for n samples; there are {len(features)} and {self.weights.shape}")
        object.__setattr__(self, "features", features)
        object.__setattr__(self, "labels", np.ascontiguousarray(labels))

    def __len__(self) -> int:
        return len(self.features)

    def take(self, indices: Array) -> Data:
        weights = None if self.weights is None else self.weights[indices]
        return replace(self, features=self.features[indices], labels=self.labels[indices], weights=weights)

    def inputs(self, features: Array) -> Array:
        """Features as the network takes them, float32."""
        if self.shift is None or self.scale is None:
            return np.asarray(features, np.float32)
        scaled: Array = np.subtract(features, self.shift, dtype=np.float32)
        scaled /= self.scale
        return scaled

    def augmented(self, features: Array, rng: np.random.Generator, buffers: Buffers) -> Array:
        """A batch of training images as the network takes them, changed at random; without `augment` only scaled."""
        if self.augment is None:
            return self.inputs(features)
        if self.shift is None or self.scale is None:
            return self.augment(features, rng, buffers)
        return self.augment(features, rng, buffers, shift=self.shift, scale=self.scale)


class Batch(NamedTuple):
    """x (batch, ...), the loss's targets, the labels that metrics read, and the samples' weights if they have any."""

    x: Array
    targets: Array
    labels: Array
    weights: Array | None


def minibatches(
    data: Data, targets: Array, labels: Array, order: Array, batch_size: int, start: int = 0
) -> Iterator[Batch]:
    """Batches of the samples in `order` from its place `start` (a whole number of batches); the last may be smaller.

    Many batches are gathered at once, since one large gather costs a small part of as many small ones, yet not so many
    that memory grows with the data or the rows have left the cache before they are used. Images to be augmented come
    as they are stored: augmenting draws random numbers, which belongs into the step.
    """
    row_bytes = max(1, 4 * data.features[:1].size)
    rows = max(1, CHUNK // (row_bytes * batch_size)) * batch_size
    for first in range(start, len(order), rows):
        chosen = order[first : first + rows]
        x = data.features.take(chosen, axis=0)
        x = x if data.augment else data.inputs(x)
        compared = targets.take(chosen, axis=0)
        known = compared if labels is targets else labels.take(chosen, axis=0)
        weights = None if data.weights is None else data.weights.take(chosen)
        for begin in range(0, len(chosen), batch_size):
            part = slice(begin, begin + batch_size)
            batch = compared[part]
            labelled = batch if known is compared else known[part]
            yield Batch(x[part], batch, labelled, None if weights is None else weights[part])


def in_order(data: Data, targets: Array, labels: Array, batch_size: int) -> Iterator[Batch]:
    """All samples once as they stand, for evaluation: nothing is gathered, nothing augmented."""
    for start in range(0, len(data), batch_size):
        part = slice(start, start + batch_size)
        weights = None if data.weights is None else data.weights[part]
        yield Batch(data.inputs(data.features[part]), targets[part], labels[part], weights)
