"""The order in memory that convolutions and pooling work in.

The logical shape of images is (..., batch, height, width, channels) everywhere. In memory these layers keep them as
"rows", (..., height, channels, width, batch): one row of the image for all channels, positions and samples is a
contiguous matrix, so that copies run over width * batch numbers and each row is one large matrix product. What a layer
returns is a transposed view, and the next one finds its rows without a copy.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from nn.arrays import Array, Buffers


@cache
def _axes(ndim: int, order: tuple[int, ...]) -> tuple[int, ...]:
    lead = ndim - 4
    return (*range(lead), *(lead + axis for axis in order))


def reordered(x: Array, *order: int) -> Array:
    """The last four axes in another order, a view."""
    return x.transpose(_axes(x.ndim, order))


def to_rows(images: Array) -> Array:
    """(..., batch, height, width, channels) -> (..., height, channels, width, batch), a view."""
    return reordered(images, 1, 3, 2, 0)


def from_rows(rows: Array) -> Array:
    """(..., height, channels, width, batch) -> (..., batch, height, width, channels), a view."""
    return reordered(rows, 3, 0, 2, 1)


def contiguous_rows(images: Array, name: str, buffers: Buffers) -> Array:
    """The rows in the order of their name in memory: as they are if they lie so, else a copy."""
    rows = to_rows(images)
    if rows.flags.c_contiguous:
        return rows
    copy = buffers.array(name, rows.shape, rows.dtype)
    np.copyto(copy, rows)
    return copy


def as_images(x: Array, axes: int) -> Array:
    """Sequences (..., batch, length, channels) as images of height 1; images as they are."""
    return x if axes == 3 else x[..., None, :, :]


def as_given(images: Array, axes: int) -> Array:
    """The opposite of `as_images`."""
    return images if axes == 3 else images[..., 0, :, :]
