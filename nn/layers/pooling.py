"""Pooling. Along the width and then along the height, on the rows of images.py: a sequence is an image of height 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views
from nn.layers.base import LAYERS, Layer
from nn.layers.images import as_given, as_images, contiguous_rows, from_rows, to_rows
from nn.layers.windows import LARGEST, Windows, windows
from nn.registry import setting

HEIGHT, WIDTH = -4, -2  # in rows (..., height, channels, width, batch)
NEEDS = "(length, channels) or (height, width, channels)"


@dataclass(frozen=True)
class Pooling(Layer):
    """What both kinds of pooling are told."""

    size: int = setting(2, least=1, most=LARGEST, doc="how many cells a window covers along each axis")
    stride: int | None = setting(None, least=1, doc="how far a window moves; unless told, its size")
    padding: str | int = setting(
        "valid", choices=("valid", "same"), least=0, doc="`same` makes ceil(length / stride) windows; a number: cells"
    )

    input_axes: ClassVar[frozenset[int] | None] = frozenset({2, 3})

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.padding, int) and self.padding >= self.size:
            raise ValueError(f"{self.kind}: padding must be below the size of {self.size}, got {self.padding}")

    @property
    def output_activation(self) -> str | None:
        return None

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (2, 3):
            raise ShapeError(NEEDS, input_shape, kind=self.kind)
        try:
            sides = [self._along(length).outputs for length in input_shape[:-1]]
        except ShapeError as error:
            raise ShapeError(error.needs, input_shape, kind=self.kind) from error
        return (*sides, input_shape[-1])

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        *sides, width, channels = input_shape
        middle = math.prod(sides) * self._along(width).outputs * channels
        outputs = math.prod(self.output_shape(input_shape))
        # Backward: dy, its way through the middle to the input, and what each cell of a window takes of it.
        return batch * ((3 if input_gradient else 1) * (middle + outputs) + input_gradient * math.prod(input_shape))

    @property
    def pairs(self) -> bool:
        """Whether the windows are 2 wide and lie side by side, without padding."""
        return self.size == 2 and self.stride in (None, 2) and self.padding in ("valid", 0)

    def _along(self, length: int) -> Windows:
        return windows(length, self.size, self.stride or self.size, self.padding)

    def _windows(self, images: Array, axes: int) -> tuple[Windows, Windows]:
        height, width = images.shape[-3:-1]
        return self._along(height) if axes == 3 else windows(1, 1, 1, "valid"), self._along(width)


@LAYERS.register("max_pool")
@dataclass(frozen=True)
class MaxPool(Pooling):
    """The largest value of each window, channel by channel, for (length, channels) and (height, width, channels).

    x (..., batch, height, width, channels) -> y (..., batch, height', width', channels). Padding is never the largest.
    The gradient goes to the first of equal values, in the order of rows. Riesenhuber & Poggio (1999).
    """

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Any]:
        images = as_images(x, axes)
        height, width = self._windows(images, axes)
        rows = to_rows(images)
        middle = largest(rows, WIDTH, width, buffers.scope("width"))
        y = largest(middle, HEIGHT, height, buffers.scope("height"))
        return as_given(from_rows(y), axes), (rows, middle, y, height, width, axes)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: Any,
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        if not input_gradient:
            return None
        rows, middle, y, height, width, axes = cache
        dy = contiguous_rows(as_images(dy, axes), "dy", buffers)
        dmiddle = to_largest(middle, y, dy, HEIGHT, height, buffers.scope("height"))
        return as_given(from_rows(to_largest(rows, middle, dmiddle, WIDTH, width, buffers.scope("width"))), axes)


@LAYERS.register("average_pool")
@dataclass(frozen=True)
class AveragePool(Pooling):
    """The mean of each window, channel by channel, for (length, channels) and (height, width, channels).

    x (..., batch, height, width, channels) -> y (..., batch, height', width', channels). Padding does not count.
    LeCun et al. (1998), section II.B, without its trained factor.
    """

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Any]:
        images = as_images(x, axes)
        height, width = self._windows(images, axes)
        middle = total(to_rows(images), WIDTH, width, buffers.scope("width"))
        y = total(middle, HEIGHT, height, buffers.scope("height"))
        y *= shares(height, width, y.dtype)
        return as_given(from_rows(y), axes), (height, width, axes)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: Any,
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        if not input_gradient:
            return None
        height, width, axes = cache
        dy = contiguous_rows(as_images(dy, axes), "dy", buffers)
        dy *= shares(height, width, dy.dtype)
        dmiddle = spread(dy, HEIGHT, height, buffers.scope("height"))
        return as_given(from_rows(spread(dmiddle, WIDTH, width, buffers.scope("width"))), axes)


@LAYERS.register("global_average_pool")
@dataclass(frozen=True)
class GlobalAveragePool(Layer):
    """The mean of each channel over all places: (length, channels) or (height, width, channels) -> (channels,).

    x (..., batch, height, width, channels) -> y (..., batch, channels). Lin et al. (2014), section 3.2.
    """

    input_axes: ClassVar[frozenset[int] | None] = frozenset({2, 3})

    @property
    def output_activation(self) -> str | None:
        return None

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) not in (2, 3):
            raise ShapeError(NEEDS, input_shape, kind=self.kind)
        return input_shape[-1:]

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        return batch * (input_shape[-1] + input_gradient * math.prod(input_shape))

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, tuple[Array, int]]:
        places = tuple(range(-axes, -1))
        y = buffers.array("y", (*x.shape[:-axes], x.shape[-1]), x.dtype)
        np.add.reduce(x, axis=places, out=y)
        y *= 1 / math.prod(x.shape[-axes:-1])
        return y, (x, axes)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: tuple[Array, int],
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        if not input_gradient:
            return None
        x, axes = cache
        dy *= 1 / math.prod(x.shape[-axes:-1])
        dx = buffers.like("dx", x)
        dx[...] = dy.reshape(*dy.shape[:-1], *(1,) * (axes - 1), dy.shape[-1])
        return dx


def at(axis: int, places: slice) -> tuple[Any, ...]:
    """The index of these places along an axis counted from the end."""
    return (Ellipsis, places, *(slice(None),) * (-axis - 1))


def pooled(x: Array, axis: int, along: Windows, buffers: Buffers) -> Array:
    """An array for what comes out of x, in contiguous rows."""
    shape = list(x.shape)
    shape[axis] = along.outputs
    return buffers.array("y", tuple(shape), x.dtype)


def largest(x: Array, axis: int, along: Windows, buffers: Buffers) -> Array:
    """The largest of each window along one axis."""
    if along.size == along.stride == 1 and along.tiles:
        return x
    y, taps = pooled(x, axis, along, buffers), along.taps
    if along.inside and along.size > 1:  # the first two cells at once
        np.maximum(x[at(axis, taps[0][1])], x[at(axis, taps[1][1])], out=y)
        taps = taps[2:]
    else:
        y.fill(-np.inf)
    for outputs, inputs in taps:
        np.maximum(y[at(axis, outputs)], x[at(axis, inputs)], out=y[at(axis, outputs)])
    return y


def to_largest(x: Array, y: Array, dy: Array, axis: int, along: Windows, buffers: Buffers) -> Array:
    """Give dy to the first cell of each window that holds its largest value, y. dy is used up."""
    if along.size == along.stride == 1 and along.tiles:
        return dy
    dx = buffers.array("dx", x.shape, x.dtype)
    if not along.tiles:
        dx.fill(0)
    for cell, (outputs, inputs) in enumerate(along.taps):
        rest, place = dy[at(axis, outputs)], dx[at(axis, inputs)]
        if along.tiles and cell == along.size - 1:  # no window is left without a largest cell
            np.copyto(place, rest)
            break
        hit = buffers.array("hit", rest.shape, np.bool_)
        np.equal(x[at(axis, inputs)], y[at(axis, outputs)], out=hit)
        share = place if along.tiles else buffers.array("share", rest.shape, dy.dtype)
        np.multiply(rest, hit, out=share)
        np.subtract(rest, share, out=rest)  # what was given away is not given again
        if not along.tiles:
            place += share
    return dx


def total(x: Array, axis: int, along: Windows, buffers: Buffers) -> Array:
    """The sum of each window along one axis."""
    y = pooled(x, axis, along, buffers)
    y.fill(0)
    for outputs, inputs in along.taps:
        y[at(axis, outputs)] += x[at(axis, inputs)]
    return y


def spread(dy: Array, axis: int, along: Windows, buffers: Buffers) -> Array:
    """The gradient of `total`: every cell of a window gets its dy."""
    shape = list(dy.shape)
    shape[axis] = along.length
    dx = buffers.array("dx", tuple(shape), dy.dtype)
    dx.fill(0)
    for outputs, inputs in along.taps:
        dx[at(axis, inputs)] += dy[at(axis, outputs)]
    return dx


@lru_cache(maxsize=64)
def shares(height: Windows, width: Windows, dtype: np.dtype[Any]) -> Array:
    """1 / how many cells of each window are not padding, for rows: (height', 1, width', 1)."""
    counts = np.multiply.outer(np.array(height.counts), np.array(width.counts))
    result: Array = (1 / counts).astype(dtype)[:, None, :, None]
    result.flags.writeable = False
    return result
