from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views, format_shape
from nn.chain import Chain, below, fill
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


@LAYERS.register("residual")
@dataclass(frozen=True)
class Residual(Layer):
    """y = x + branch(x), where the branch is a list of layers that ends with the shape it began with.

    Any shape. Parameters are those of the branch, such as 1.dense.weight. He et al. (2016), section 3.
    """

    layers: tuple[Layer, ...] = setting(doc="the layers of the branch")

    @cached_property
    def _chains(self) -> dict[Shape, Chain]:
        return {}

    def _chain(self, input_shape: Shape) -> Chain:
        """The branch from this shape. Made once, not at every step."""
        found = self._chains.get(input_shape)
        if found is None:
            found = self._chains[input_shape] = Chain(self.layers, input_shape)
        return found

    @property
    def statistics(self) -> frozenset[str]:  # type: ignore[override]
        return below(self.layers, "statistics")

    @property
    def decayed(self) -> frozenset[str]:  # type: ignore[override]
        return below(self.layers, "decayed")

    def least_batch(self, input_shape: Shape) -> int:
        return self._chain(input_shape).least_batch

    def output_shape(self, input_shape: Shape) -> Shape:
        try:
            chain = self._chain(input_shape)
        except ShapeError as error:
            needs = f"{error.needs} at its layer {error.layer_number} ({error.kind})"
            raise ShapeError(needs, error.input_shape, kind=self.kind) from error
        if chain.output_shape != input_shape:
            end = f"its last layer, {self.layers[-1].kind}, makes {format_shape(chain.output_shape)}"
            raise ShapeError(f"a branch that keeps the shape ({end})", input_shape, kind=self.kind)
        return input_shape

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return self._chain(input_shape).parameter_shapes

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        branch = self._chain(input_shape).workspace(batch, training=training, input_gradient=input_gradient)
        return branch + (2 if input_gradient else 1) * batch * math.prod(input_shape)  # the sum, and dy as it came

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        fill(self.layers, parameters, rng)

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, tuple[Chain, list[Any]]]:
        chain = self._chain(x.shape[-axes:])
        branch, caches = chain.run(parameters, x, rng=rng, training=training, buffers=buffers)
        return np.add(x, branch, out=buffers.like("sum", branch)), (chain, caches)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: tuple[Chain, list[Any]],
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        chain, caches = cache
        if not input_gradient:
            return chain.run_back(parameters, gradients, caches, dy, buffers=buffers, input_gradient=False)
        kept = buffers.like("kept", dy)
        np.copyto(kept, dy)  # the branch overwrites its own
        dx = chain.run_back(parameters, gradients, caches, dy, buffers=buffers, input_gradient=True)
        assert dx is not None
        return np.add(dx, kept, out=kept)
