"""Elementwise functions between layers. Each writes where it is told, which may be over its own input."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers
from nn.registry import Registry, Settings


@dataclass(frozen=True)
class ActivationFunction(Settings):
    """y = f(x), elementwise.

    `needs_input` says whether backward reads x. Where it does not, a layer computes y over x and keeps one array.
    `increasing` says that the largest y is that of the largest x, so that pooling may come first.
    """

    needs_input: ClassVar[bool] = False
    increasing: ClassVar[bool] = False
    initializer: ClassVar[str] = "glorot_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        """Write f(x) to out (which may be x) and return it."""
        raise NotImplementedError

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        """dx = dy * f'(x), written over dy. Only a function that `needs_input` may read x."""
        raise NotImplementedError


ACTIVATIONS: Registry[type[ActivationFunction]] = Registry("activation")


@cache
def activation_function(name: str) -> ActivationFunction:
    """The function of this name. Made once: layers ask for it at every step."""
    return ACTIVATIONS[name]()


@ACTIVATIONS.register("linear")
@dataclass(frozen=True)
class Linear(ActivationFunction):
    """y = x."""

    increasing: ClassVar[bool] = True

    def forward(self, x: Array, out: Array) -> Array:
        if out is not x:
            np.copyto(out, x)
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        return dy


@ACTIVATIONS.register("relu")
@dataclass(frozen=True)
class Relu(ActivationFunction):
    """y = max(x, 0). Nair & Hinton (2010). The slope at 0 is taken as 0."""

    initializer: ClassVar[str] = "he_uniform"
    increasing: ClassVar[bool] = True

    def forward(self, x: Array, out: Array) -> Array:
        return np.maximum(x, 0, out=out)

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        positive = np.greater(y, 0, out=buffers.like("positive", y, np.bool_))
        return np.multiply(dy, positive, out=dy)


@ACTIVATIONS.register("tanh")
@dataclass(frozen=True)
class Tanh(ActivationFunction):
    """y = tanh(x), with the slope 1 - y²."""

    increasing: ClassVar[bool] = True

    def forward(self, x: Array, out: Array) -> Array:
        return np.tanh(x, out=out)

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        slope = np.multiply(y, y, out=buffers.like("slope", y))
        np.subtract(1, slope, out=slope)
        return np.multiply(dy, slope, out=dy)


@ACTIVATIONS.register("sigmoid")
@dataclass(frozen=True)
class Sigmoid(ActivationFunction):
    """y = 1 / (1 + exp(-x)), with the slope y(1 - y)."""

    increasing: ClassVar[bool] = True

    def forward(self, x: Array, out: Array) -> Array:
        np.multiply(x, 0.5, out=out)  # (1 + tanh(x / 2)) / 2 is the same function and never overflows
        np.tanh(out, out=out)
        out += 1
        out *= 0.5
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        slope = np.subtract(1, y, out=buffers.like("slope", y))
        slope *= y
        return np.multiply(dy, slope, out=dy)
