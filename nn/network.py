"""Layers in a row: shapes inferred, parameters in one vector, forward and backward."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nn.arrays import Array, Buffers, Noise, Shape, ShapeError
from nn.layers import Layer
from nn.parameters import FlatBuffer


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """One line of a network's table."""

    number: int
    kind: str
    settings: str
    output_shape: Shape
    parameters: int


class Network:
    """Layers from `input_shape` to `output_shape`, shapes of one sample. Holds no numbers: parameters are passed in."""

    def __init__(self, layers: Sequence[Layer], input_shape: Sequence[int]) -> None:
        if not layers:
            raise ValueError("a network needs at least one layer")
        self.layers = tuple(layers)
        self.input_shape: Shape = tuple(int(side) for side in input_shape)
        self.names = tuple(f"{number}.{layer.kind}" for number, layer in enumerate(self.layers, 1))
        self.shapes = self._infer_shapes()
        self.output_shape = self.shapes[-1]
        self._sizes = [
            {f"{name}.{key}": shape for key, shape in layer.parameter_shapes(taken).items()}
            for name, layer, taken in zip(self.names, self.layers, self.shapes[:-1], strict=True)
        ]
        self.parameter_shapes = {name: shape for sizes in self._sizes for name, shape in sizes.items()}
        self.size = _count(self.parameter_shapes)
        # Below the first layer that learns nobody needs a gradient.
        self._first = next((index for index, sizes in enumerate(self._sizes) if sizes), len(self.layers))

    def _infer_shapes(self) -> tuple[Shape, ...]:
        """What goes into each layer, and what comes out of the last."""
        shapes = [self.input_shape]
        for number, layer in enumerate(self.layers, 1):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ShapeError as error:
                raise ShapeError(error.needs, shapes[-1], layer_number=number, kind=layer.kind) from error
        return tuple(shapes)

    @property
    def output_activation(self) -> str:
        return self.layers[-1].output_activation

    def summary(self) -> list[LayerSummary]:
        rows = zip(self.layers, self.shapes[1:], self._sizes, strict=True)
        return [
            LayerSummary(number, layer.kind, _settings_text(layer), shape, _count(sizes))
            for number, (layer, shape, sizes) in enumerate(rows, 1)
        ]

    def parameters(self, flat: Array | FlatBuffer) -> FlatBuffer:
        """A vector of this network's parameters with its views; the vector is shared, not copied."""
        return flat if isinstance(flat, FlatBuffer) else FlatBuffer(self.parameter_shapes, flat=flat)

    def initialise(self, rng: Noise, dtype: DTypeLike = np.float32) -> FlatBuffer:
        """New parameters; for a sequence of generators a stack, each member drawn from its own."""
        if isinstance(rng, np.random.Generator):
            parameters = FlatBuffer(self.parameter_shapes, dtype)
            self._fill(parameters, rng)
            return parameters
        parameters = FlatBuffer(self.parameter_shapes, dtype, stack=(len(rng),))
        for index, generator in enumerate(rng):
            self._fill(parameters.member(index), generator)
        return parameters

    def _fill(self, parameters: FlatBuffer, rng: np.random.Generator) -> None:
        for name, layer in zip(self.names, self.layers, strict=True):
            layer.initialise(parameters.group(name), rng)

    def forward(
        self,
        parameters: FlatBuffer,
        x: Array,
        *,
        rng: Noise | None = None,
        training: bool = False,
        buffers: Buffers | None = None,
    ) -> tuple[Array, list[Any]]:
        """Outputs (..., batch, *output_shape) and the layers' caches, valid until the next forward with `buffers`."""
        buffers = Buffers() if buffers is None else buffers
        caches = []
        for name, layer in zip(self.names, self.layers, strict=True):
            x, cache = layer.forward(parameters.group(name), x, rng=rng, training=training, buffers=buffers.scope(name))
            caches.append(cache)
        return x, caches

    def backward(
        self,
        parameters: FlatBuffer,
        gradients: FlatBuffer,
        caches: Sequence[Any],
        dy: Array,
        *,
        buffers: Buffers | None = None,
        input_gradient: bool = False,
    ) -> Array | None:
        """Write every gradient; return dx (..., batch, *input_shape) if asked. dy is overwritten."""
        buffers = Buffers() if buffers is None else buffers
        first = 0 if input_gradient else self._first
        dx: Array | None = dy
        for index in range(len(self.layers) - 1, first - 1, -1):
            assert dx is not None
            name, wanted = self.names[index], input_gradient or index > first
            dx = self.layers[index].backward(
                parameters.group(name),
                gradients.group(name),
                caches[index],
                dx,
                buffers=buffers.scope(name),
                input_gradient=wanted,
            )
        return dx if input_gradient else None

    def predict(self, parameters: Array | FlatBuffer, x: Array, batch_size: int = 256) -> Array:
        """Outputs for x (..., n, *input_shape), in batches so that memory does not grow with n. Raw: no softmax."""
        parameters = self.parameters(parameters)
        self._check_input(x)
        axis = x.ndim - len(self.input_shape) - 1
        count, buffers = x.shape[axis], Buffers()
        result = np.empty((*parameters.stack, count, *self.output_shape), parameters.flat.dtype)
        places = len(parameters.stack)
        for start in range(0, count, batch_size):
            part = slice(start, start + batch_size)
            taken = x[(slice(None),) * axis + (part,)].astype(parameters.flat.dtype, copy=False)
            result[(slice(None),) * places + (part,)] = self.forward(parameters, taken, buffers=buffers)[0]
        return result

    def _check_input(self, x: Array) -> None:
        wanted = len(self.input_shape)
        if x.ndim <= wanted or x.shape[x.ndim - wanted :] != self.input_shape:
            raise ValueError(f"the network takes (samples, *{self.input_shape}), and the input is {x.shape}")


def _count(shapes: Mapping[str, Shape]) -> int:
    return sum(map(math.prod, shapes.values()))


def _settings_text(layer: Layer) -> str:
    """The settings that say something: units=128, activation=relu, without defaults that were left alone."""
    given = [(field, getattr(layer, field.name)) for field in dataclasses.fields(layer)]
    return ", ".join(f"{field.name}={value}" for field, value in given if value != field.default)
