"""Functions that let positive numbers through and hold negative ones back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.activations.base import ACTIVATIONS, ActivationFunction, pieces
from nn.arrays import Array, Buffers


@ACTIVATIONS.register("linear")
@dataclass(frozen=True)
class Linear(ActivationFunction):
    """y = x: nothing is changed, as the outputs of a network need it for most losses."""

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

    increasing: ClassVar[bool] = True
    initializer: ClassVar[str] = "he_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        return np.maximum(x, 0, out=out)

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        positive = np.greater(y, 0, out=buffers.like("positive", y, np.bool_))
        return np.multiply(dy, positive, out=dy)


@ACTIVATIONS.register("leaky_relu")
@dataclass(frozen=True)
class LeakyRelu(ActivationFunction):
    """y = max(x, 0.01 x), so that a unit that is always negative still learns. Maas et al. (2013), section 2."""

    increasing: ClassVar[bool] = True
    initializer: ClassVar[str] = "he_uniform"
    SLOPE: ClassVar[float] = 0.01

    def forward(self, x: Array, out: Array) -> Array:
        for piece, result in pieces(x, out):
            np.maximum(piece, piece * self.SLOPE, out=result)
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        slope = np.greater(y, 0, out=buffers.like("slope", y))  # 1 or 0
        np.maximum(slope, self.SLOPE, out=slope)
        return np.multiply(dy, slope, out=dy)


@ACTIVATIONS.register("elu")
@dataclass(frozen=True)
class Elu(ActivationFunction):
    """y = x for x > 0, exp(x) - 1 otherwise: outputs have about the mean 0. Clevert et al. (2016), eq. 15."""

    increasing: ClassVar[bool] = True
    initializer: ClassVar[str] = "he_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        for piece, result in pieces(x, out):
            negative = np.minimum(piece, 0)
            np.expm1(negative, out=negative)
            np.maximum(piece, 0, out=result)
            result += negative
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        slope = np.minimum(y, 0, out=buffers.like("slope", y))  # exp(x) is y + 1
        slope += 1
        return np.multiply(dy, slope, out=dy)


@ACTIVATIONS.register("selu")
@dataclass(frozen=True)
class Selu(ActivationFunction):
    """y = 1.0507 x for x > 0, 1.0507 * 1.6733 (exp(x) - 1) otherwise: signals take on mean 0 and variance 1.

    Klambauer et al. (2017), eq. 2, with the constants of eq. 14. Holds for weights begun by LeCun's rule, and for a
    dropout of its own kind, which is not the one here.
    """

    increasing: ClassVar[bool] = True
    initializer: ClassVar[str] = "lecun_normal"
    SCALE: ClassVar[float] = 1.0507009873554805
    ALPHA: ClassVar[float] = 1.6732632423543772

    def forward(self, x: Array, out: Array) -> Array:
        for piece, result in pieces(x, out):
            negative = np.minimum(piece, 0)
            np.expm1(negative, out=negative)
            negative *= self.ALPHA
            np.maximum(piece, 0, out=result)
            result += negative
            result *= self.SCALE
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        # SCALE * ALPHA + y for x <= 0 and SCALE for x > 0, without a branch: those are slow on mixed signs.
        slope = np.greater(y, 0, out=buffers.like("slope", y))  # 1 or 0
        slope *= self.SCALE - self.SCALE * self.ALPHA
        slope += np.minimum(y, 0, out=buffers.like("negative", y))
        slope += self.SCALE * self.ALPHA
        return np.multiply(dy, slope, out=dy)


@ACTIVATIONS.register("softplus")
@dataclass(frozen=True)
class Softplus(ActivationFunction):
    """y = log(1 + exp(x)), a relu without a corner and always above 0. Dugas et al. (2001). The slope is sigmoid(x)."""

    increasing: ClassVar[bool] = True
    initializer: ClassVar[str] = "he_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        for piece, result in pieces(x, out):
            rest = np.abs(piece)  # max(x, 0) + log(1 + exp(-|x|)) is the same and never overflows
            np.negative(rest, out=rest)
            np.exp(rest, out=rest)
            np.log1p(rest, out=rest)
            np.maximum(piece, 0, out=result)
            result += rest
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        slope = np.negative(y, out=buffers.like("slope", y))
        np.expm1(slope, out=slope)  # sigmoid(x) = 1 - exp(-y)
        np.negative(slope, out=slope)
        return np.multiply(dy, slope, out=dy)
