"""Class labels as a loss takes them."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from nn.arrays import Array, Buffers, Shape


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


def check_columns(labels: Array, outputs: int) -> None:
    if labels.shape[1:] != (outputs,):
        raise ValueError(f"the targets have {labels.shape[1]} columns, and the network has {outputs} outputs")


def label_places(labels: Array, classes: int, buffers: Buffers) -> Array:
    """Where the labels' entries (..., batch) are in the flat memory of outputs (..., batch, classes)."""
    rows = labels.shape
    return np.add(row_starts(rows, classes), labels, out=buffers.array("places", rows, np.int64))


@lru_cache(maxsize=32)
def row_starts(rows: Shape, width: int) -> Array:
    """Where each row of a contiguous (*rows, width) array begins in memory."""
    starts = np.arange(0, math.prod(rows) * width, width).reshape(rows)
    starts.flags.writeable = False
    return starts
