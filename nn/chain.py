"""Layers in a row: shapes inferred, forward and backward. A network is one; so is the branch of a residual layer."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views
from nn.layers.base import Layer


class Groups(Protocol):
    """Views, or a FlatBuffer."""

    def group(self, name: str) -> Views: ...


class Step(NamedTuple):
    """A layer to be computed, how many axes its input has, and whether it works as in training while training.

    A frozen layer with statistics does not: they stay as they are. Dropout goes on, except in such a branch.
    """

    name: str
    layer: Layer
    axes: int
    trains: bool


class Chain:
    """Layers from `input_shape` to `output_shape`, shapes of one sample. Holds no numbers: parameters are passed in."""

    def __init__(
        self, layers: Sequence[Layer], input_shape: Sequence[int], frozen: Collection[int] = frozenset()
    ) -> None:
        """`frozen` are the numbers, from 1, of layers that keep their parameters and their statistics."""
        self.layers = tuple(layers)
        self.input_shape: Shape = tuple(int(side) for side in input_shape)
        self.names = layer_names(self.layers)
        self.shapes = self._infer_shapes()
        self.output_shape = self.shapes[-1]
        self.sizes = [
            {f"{name}.{key}": shape for key, shape in layer.parameter_shapes(taken).items()}
            for name, layer, taken in zip(self.names, self.layers, self.shapes[:-1], strict=True)
        ]
        self.parameter_shapes = {name: shape for sizes in self.sizes for name, shape in sizes.items()}
        self.size = count_numbers(self.parameter_shapes)
        self.frozen = frozenset(frozen)
        self._steps = self._merge()
        # Below the first layer that learns nobody needs a gradient.
        learning = {
            name
            for number, (name, sizes) in enumerate(zip(self.names, self.sizes, strict=True), 1)
            if sizes and number not in self.frozen
        }
        firsts = (index for index, step in enumerate(self._steps) if step.name in learning)
        self._first = next(firsts, len(self._steps))

    def _infer_shapes(self) -> tuple[Shape, ...]:
        """What goes into each layer, and what comes out of the last."""
        shapes = [self.input_shape]
        for number, layer in enumerate(self.layers, 1):
            try:
                shapes.append(layer.output_shape(shapes[-1]))
            except ShapeError as error:
                raise error.at(number, layer.kind) from error
        return tuple(shapes)

    def _merge(self) -> list[Step]:
        """What is computed one after the other; two layers at once where that is faster, under the first one's name."""
        steps: list[Step] = []
        merged = False
        for index, (name, layer, shape) in enumerate(zip(self.names, self.layers, self.shapes[:-1], strict=True)):
            following = self.layers[index + 1] if index + 1 < len(self.layers) else None
            both = None if merged or following is None else layer.merged_with(following)
            if not merged:
                still = index + 1 in self.frozen and bool(layer.statistics)
                steps.append(Step(name, both or layer, len(shape), not still))
            merged = both is not None
        return steps

    @property
    def output_activation(self) -> str:
        """The activation whose values come out: the last one that was applied."""
        found = (layer.output_activation for layer in reversed(self.layers))
        return next((activation for activation in found if activation is not None), "linear")

    @property
    def least_batch(self) -> int:
        """How many samples a batch must have for training."""
        return max(layer.least_batch(shape) for layer, shape in zip(self.layers, self.shapes[:-1], strict=True))

    @property
    def statistics(self) -> frozenset[str]:
        """The names of the parameters that no gradient trains."""
        return below(self.layers, "statistics")

    @property
    def decayed(self) -> frozenset[str]:
        """The names of the parameters that L1, L2 and weight decay act on."""
        return below(self.layers, "decayed") & self.parameter_shapes.keys()

    def workspace(self, batch: int, *, training: bool, input_gradient: bool = False) -> int:
        """How many numbers the layers' arrays hold for a batch, see `Layer.workspace`."""
        shapes, first = dict(zip(self.names, self.shapes, strict=False)), 0 if input_gradient else self._first
        return sum(
            step.layer.workspace(
                shapes[step.name],
                batch,
                training=training and index >= first,
                input_gradient=training and (input_gradient or index > first),
            )
            for index, step in enumerate(self._steps)
        )

    def run(
        self, parameters: Groups, x: Array, *, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, list[Any]]:
        """Outputs (..., batch, *output_shape) and what backward needs, valid until the next run with `buffers`."""
        caches, group, scope = [], parameters.group, buffers.scope  # small networks take 40 µs a step
        for name, layer, axes, trains in self._steps:
            x, cache = layer.forward(
                group(name), x, axes=axes, rng=rng, training=training and trains, buffers=scope(name)
            )
            caches.append(cache)
        return x, caches

    def run_back(
        self,
        parameters: Groups,
        gradients: Groups,
        caches: Sequence[Any],
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool,
    ) -> Array | None:
        """Write every gradient; return dx (..., batch, *input_shape) if asked. dy is overwritten."""
        first = 0 if input_gradient else self._first
        group, gradient_group, scope = parameters.group, gradients.group, buffers.scope
        dx: Array | None = dy
        for index in range(len(self._steps) - 1, first - 1, -1):
            assert dx is not None
            name, layer, *_ = self._steps[index]
            dx = layer.backward(
                group(name),
                gradient_group(name),
                caches[index],
                dx,
                buffers=scope(name),
                input_gradient=input_gradient or index > first,
            )
        return dx if input_gradient else None


def layer_names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """1.dense, 2.dropout … as in the names of parameters."""
    return tuple(f"{number}.{layer.kind}" for number, layer in enumerate(layers, 1))


def fill(layers: Sequence[Layer], parameters: Groups, rng: np.random.Generator) -> None:
    """Initialise one network's parameters in place, layer by layer."""
    for name, layer in zip(layer_names(layers), layers, strict=True):
        layer.initialise(parameters.group(name), rng)


def below(layers: Sequence[Layer], attribute: str) -> frozenset[str]:
    """The parameter names that the layers' attribute holds, each behind its layer's name."""
    pairs = zip(layer_names(layers), layers, strict=True)
    return frozenset(f"{name}.{key}" for name, layer in pairs for key in getattr(layer, attribute))


def count_numbers(shapes: Mapping[str, Shape]) -> int:
    return sum(map(math.prod, shapes.values()))
