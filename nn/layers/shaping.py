"""Layers that only give a sample another shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views, format_shape
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


class Shaping(Layer):
    """Keeps the values, in the logical order (the last axis fastest), whatever their order in memory."""

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        # Copies if a convolution or a pooling is below, which has its own order of memory.
        return (2 if input_gradient else 1) * batch * math.prod(input_shape)

    @property
    def output_activation(self) -> str | None:
        return None

    def _shape(self, taken: Shape) -> Shape:
        """The shape of one sample's output."""
        raise NotImplementedError

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Array]:
        shape = (*x.shape[:-axes], *self._shape(x.shape[-axes:]))
        if x.flags.c_contiguous:
            return x.reshape(shape), x
        y = buffers.array("y", x.shape, x.dtype)
        np.copyto(y, x)
        return y.reshape(shape), x

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: Array,
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        if not input_gradient:
            return None
        if cache.flags.c_contiguous:
            return dy.reshape(cache.shape)
        dx = buffers.like("dx", cache)  # as the layer below likes it
        np.copyto(dx, dy.reshape(cache.shape))
        return dx


@LAYERS.register("flatten")
@dataclass(frozen=True)
class Flatten(Shaping):
    """All values of a sample in one row: (height, width, channels) -> (features,), the last axis fastest.

    x (..., batch, shape…) -> y (..., batch, features), for any shape.
    """

    def _shape(self, taken: Shape) -> Shape:
        return (math.prod(taken),)

    def output_shape(self, input_shape: Shape) -> Shape:
        return self._shape(input_shape)


@LAYERS.register("reshape")
@dataclass(frozen=True)
class Reshape(Shaping):
    """The same values in another shape of the same size, the last axis fastest.

    x (..., batch, any…) -> y (..., batch, shape…).
    """

    shape: tuple[int, ...] = setting(least=1, doc="the new shape of a sample, such as [28, 28, 1]")

    def _shape(self, taken: Shape) -> Shape:
        return self.shape

    def output_shape(self, input_shape: Shape) -> Shape:
        if math.prod(input_shape) != math.prod(self.shape):
            needs = f"{math.prod(self.shape)} values for the shape {format_shape(self.shape)}"
            raise ShapeError(needs, input_shape, kind=self.kind)
        return self.shape
