"""Layers in a row with their parameters in one vector: forward, backward, prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from nn.arrays import Array, Buffers, Noise, Shape
from nn.chain import Chain, count_numbers, fill
from nn.layers import Layer
from nn.parameters import FlatBuffer, spans


@dataclasses.dataclass(frozen=True)
class LayerSummary:
    """One line of a network's table."""

    number: int
    kind: str
    settings: str
    output_shape: Shape
    parameters: int


class Network(Chain):
    """Layers from `input_shape` to `output_shape`, shapes of one sample. Holds no numbers: parameters are passed in."""

    def __init__(
        self, layers: Sequence[Layer], input_shape: Sequence[int], frozen: Collection[int] = frozenset()
    ) -> None:
        if not layers:
            raise ValueError("a network needs at least one layer")
        super().__init__(layers, input_shape, frozen)
        if self.size and self._first == len(self._steps):
            raise ValueError("every layer with parameters is frozen; there is nothing to train")
        kept = frozenset(name for name in self.parameter_shapes if int(name.partition(".")[0]) in self.frozen)
        self.frozen_spans = spans(self.parameter_shapes, kept)
        self.decayed_spans = spans(self.parameter_shapes, self.decayed - kept)

    def summary(self) -> list[LayerSummary]:
        rows = zip(self.layers, self.shapes[1:], self.sizes, strict=True)
        return [
            LayerSummary(number, layer.kind, _settings_text(layer), shape, count_numbers(sizes))
            for number, (layer, shape, sizes) in enumerate(rows, 1)
        ]

    def parameters(self, flat: Array | FlatBuffer) -> FlatBuffer:
        """A vector of this network's parameters with its views; the vector is shared, not copied."""
        return flat if isinstance(flat, FlatBuffer) else FlatBuffer(self.parameter_shapes, flat=flat)

    def initialise(self, rng: Noise, dtype: DTypeLike = np.float32) -> FlatBuffer:
        """New parameters; for a sequence of generators a stack, each member drawn from its own."""
        if isinstance(rng, np.random.Generator):
            parameters = FlatBuffer(self.parameter_shapes, dtype)
            fill(self.layers, parameters, rng)
            return parameters
        parameters = FlatBuffer(self.parameter_shapes, dtype, stack=(len(rng),))
        for index, generator in enumerate(rng):
            fill(self.layers, parameters.member(index), generator)
        return parameters

    def forward(
        self,
        parameters: FlatBuffer,
        x: Array,
        *,
        rng: Noise | None = None,
        training: bool = False,
        buffers: Buffers | None = None,
    ) -> tuple[Array, list[Any]]:
        """Outputs (..., batch, *output_shape) and what backward needs, valid until the next forward with `buffers`."""
        buffers = Buffers() if buffers is None else buffers
        if x.ndim < parameters.flat.ndim + len(self.input_shape):  # shared by the whole stack
            x = np.broadcast_to(x, (*parameters.stack, *x.shape))
        return self.run(parameters, x, rng=rng, training=training, buffers=buffers)

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
        return self.run_back(parameters, gradients, caches, dy, buffers=buffers, input_gradient=input_gradient)

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


def _settings_text(layer: Layer) -> str:
    """The settings that say something: units=128, activation=relu, without defaults that were left alone."""
    given = [(field, getattr(layer, field.name)) for field in dataclasses.fields(layer)]
    return ", ".join(f"{field.name}={_value_text(value)}" for field, value in given if value != field.default)


def _value_text(value: Any) -> str:
    """A list as [8, 8, 1], and layers inside a layer by their kinds."""
    if isinstance(value, tuple):
        return f"[{', '.join(_value_text(item) for item in value)}]"
    return value.kind if isinstance(value, Layer) else str(value)
