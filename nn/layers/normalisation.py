"""Normalisation over the batch or over the features.

With c = x - mean, n = c / sqrt(variance + epsilon) and y = scale * n + shift, both have the gradients

    dscale = sum(dy * n), dshift = sum(dy)
    dx = (dn - mean(dn) - n * mean(dn * n)) / sqrt(variance + epsilon), dn = dy * scale

where mean and variance are over the axes that were normalised. Ioffe & Szegedy (2015), section 3. Where they are given
(a frozen batch_norm), dx = dn / sqrt(variance + epsilon).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, Views
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


class Centred(NamedTuple):
    """c, and 1 / sqrt(variance + epsilon), mean and variance with the normalised axes kept as 1."""

    values: Array
    inverse: Array
    mean: Array
    variance: Array


@LAYERS.register("batch_norm")
@dataclass(frozen=True)
class BatchNorm(Layer):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + shift, each channel over the batch and all places.

    x (..., batch, places…, channels); scale, shift, mean and variance (..., channels). Prediction uses the running
    mean and variance (the latter divided by count - 1), which training moves: running = momentum * running +
    (1 - momentum) * that of the batch. Ioffe & Szegedy (2015), algorithms 1 and 2.
    """

    statistics: ClassVar[frozenset[str]] = frozenset({"mean", "variance"})

    momentum: float = setting(0.9, least=0, below=1, doc="how much of the running mean and variance stays each step")
    epsilon: float = setting(1e-5, least=1e-30, doc="added to the variance, so that it is never zero")

    def least_batch(self, input_shape: Shape) -> int:
        return 2 if math.prod(input_shape[:-1]) == 1 else 1

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        return (3 if training else 2) * batch * math.prod(input_shape)  # values, y and products

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return dict.fromkeys(("scale", "shift", "mean", "variance"), input_shape[-1:])

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        for name, value in (("scale", 1), ("shift", 0), ("mean", 0), ("variance", 1)):
            parameters[name][...] = value

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, tuple[Array, Array, int, bool]]:
        if training:
            centred = centre(x, tuple(range(-axes - 1, -1)), self.epsilon, buffers)
            self._run_on(parameters, centred, x, axes)
            values, inverse = centred.values, centred.inverse
        else:
            inverse = along(1 / np.sqrt(parameters["variance"] + self.epsilon), axes)
            values = np.subtract(x, along(parameters["mean"], axes), out=buffers.like("values", x))
        y = np.multiply(values, inverse * along(parameters["scale"], axes), out=buffers.like("y", x))
        y += along(parameters["shift"], axes)
        return y, (values, inverse, axes, training)

    def _run_on(self, parameters: Views, batch: Centred, x: Array, axes: int) -> None:
        """Move the running mean and variance towards the batch's."""
        count = math.prod(x.shape[-axes - 1 : -1])
        unbiased = batch.variance * (count / max(count - 1, 1))
        for name, found in (("mean", batch.mean), ("variance", unbiased)):
            running = parameters[name]
            running *= self.momentum
            running += (1 - self.momentum) * found.reshape(running.shape)

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
        values, inverse, axes, measured = cache
        over = tuple(range(-axes - 1, -1))
        gradients["mean"][...] = 0
        gradients["variance"][...] = 0
        products = np.multiply(dy, values, out=buffers.like("products", values))
        dscale = np.add.reduce(products, axis=over, out=gradients["scale"])
        dscale *= inverse.reshape(dscale.shape)
        np.add.reduce(dy, axis=over, out=gradients["shift"])
        if not input_gradient:
            return None
        if not measured:  # with the running mean and variance y is linear in x
            dx: Array = np.multiply(dy, inverse * along(parameters["scale"], axes), out=products)
            return dx
        # scale is the same over what was averaged, so that the means of dn are those of dy, which are there already.
        count = math.prod(dy.shape[-axes - 1 : -1])
        values = np.multiply(values, along(dscale, axes) * inverse / count, out=products)
        values += along(gradients["shift"], axes) / count
        dx = np.subtract(dy, values, out=values)
        dx *= inverse * along(parameters["scale"], axes)
        return dx


@LAYERS.register("layer_norm")
@dataclass(frozen=True)
class LayerNorm(Layer):
    """y = scale * (x - mean) / sqrt(variance + epsilon) + shift, each sample (or place of one) over its last axis.

    x (..., batch, places…, features), scale and shift (..., features). Ba et al. (2016), section 3.
    """

    epsilon: float = setting(1e-5, least=1e-30, doc="added to the variance, so that it is never zero")

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return dict.fromkeys(("scale", "shift"), input_shape[-1:])

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        return 3 * batch * math.prod(input_shape)  # values, y and products

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        parameters["scale"][...] = 1
        parameters["shift"][...] = 0

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, tuple[Array, Array, int]]:
        centred = centre(x, (-1,), self.epsilon, buffers)
        values = np.multiply(centred.values, centred.inverse, out=centred.values)
        y = np.multiply(values, along(parameters["scale"], axes), out=buffers.like("y", x))
        y += along(parameters["shift"], axes)
        return y, (values, centred.inverse, axes)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: tuple[Array, Array, int],
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        values, inverse, axes = cache
        over = tuple(range(-axes - 1, -1))
        products = np.multiply(dy, values, out=buffers.like("products", values))
        np.add.reduce(products, axis=over, out=gradients["scale"])
        np.add.reduce(dy, axis=over, out=gradients["shift"])
        if not input_gradient:
            return None
        dn = np.multiply(dy, along(parameters["scale"], axes), out=dy)
        np.multiply(dn, values, out=products)
        dx = np.multiply(values, mean(products, (-1,)), out=products)
        dx += mean(dn, (-1,))
        np.subtract(dn, dx, out=dx)
        dx *= inverse
        return dx


def along(vector: Array, axes: int) -> Array:
    """(..., channels) as (..., 1, …, 1, channels), one 1 for the batch and one for each place's axis."""
    return vector.reshape(*vector.shape[:-1], *(1,) * axes, vector.shape[-1])


def mean(x: Array, over: tuple[int, ...]) -> Array:
    """The mean over these axes (counted from the end), which stay as 1."""
    total: Array = np.add.reduce(x, axis=over, keepdims=True)
    total *= 1 / math.prod(x.shape[axis] for axis in over)
    return total


def centre(x: Array, over: tuple[int, ...], epsilon: float, buffers: Buffers) -> Centred:
    """x without its mean over these axes, and its variance. Two passes, because E[x²] - E[x]² cancels."""
    middle = mean(x, over)
    values = np.subtract(x, middle, out=buffers.like("values", x))
    squares = np.multiply(values, values, out=buffers.like("products", x))
    variance = mean(squares, over)
    return Centred(values, 1 / np.sqrt(variance + epsilon), middle, variance)
