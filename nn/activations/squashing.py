"""Functions with bounded outputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.activations.base import ACTIVATIONS, ActivationFunction
from nn.arrays import Array, Buffers


@ACTIVATIONS.register("tanh")
@dataclass(frozen=True)
class Tanh(ActivationFunction):
    """y = tanh(x): between -1 and 1, symmetric about 0. The slope is 1 - y²."""

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
    """y = 1 / (1 + exp(-x)): between 0 and 1, a probability. The slope is y (1 - y)."""

    increasing: ClassVar[bool] = True

    def forward(self, x: Array, out: Array) -> Array:
        return write_sigmoid(x, out)

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        slope = np.subtract(1, y, out=buffers.like("slope", y))
        slope *= y
        return np.multiply(dy, slope, out=dy)


@ACTIVATIONS.register("softmax")
@dataclass(frozen=True)
class Softmax(ActivationFunction):
    """y = exp(x) / sum of exp(x) over the last axis: shares that are positive and sum to 1. Bridle (1990).

    dx = y * (dy - sum(dy * y)). For the outputs below mse and its like, or for weighing things in the middle of a
    network. Not below cross_entropy, which contains its own.
    """

    def forward(self, x: Array, out: Array) -> Array:
        np.subtract(x, np.maximum.reduce(x, axis=-1, keepdims=True), out=out)  # so that exp never overflows
        np.exp(out, out=out)
        out /= np.add.reduce(out, axis=-1, keepdims=True)
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        weighted = np.multiply(dy, y, out=buffers.like("weighted", y))
        dy -= np.add.reduce(weighted, axis=-1, keepdims=True)
        return np.multiply(dy, y, out=dy)


def write_sigmoid(x: Array, out: Array) -> Array:
    """As (1 + tanh(x / 2)) / 2, which is the same function and never overflows."""
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out += 1
    out *= 0.5
    return out
