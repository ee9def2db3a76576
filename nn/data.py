"""Data for a network: features with labels, mini-batches. Splits are in `splits`, scalers in `preparation`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

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


def minibatches(
    features: Array, targets: Array, order: Array, batch_size: int, start: int = 0
) -> Iterator[tuple[Array, Array]]:
    """Batches of the samples in `order` from its place `start` (a whole number of batches); the last may be smaller.

    Many batches are gathered at once, since one large gather costs a small part of as many small ones, yet not so many
    that memory grows with the data or the rows have left the cache before they are used.
    """
    row_bytes = max(1, features.nbytes // max(1, len(features)))
    rows = max(1, CHUNK // (row_bytes * batch_size)) * batch_size
    for first in range(start, len(order), rows):
        chosen = order[first : first + rows]
        x, y = features.take(chosen, axis=0), targets.take(chosen, axis=0)
        for begin in range(0, len(chosen), batch_size):
            yield x[begin : begin + batch_size], y[begin : begin + batch_size]
