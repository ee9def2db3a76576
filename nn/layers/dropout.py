from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, Views
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


@LAYERS.register("dropout")
@dataclass(frozen=True)
class Dropout(Layer):
    """In training each value is zeroed with probability `rate` and the others are divided by 1 - rate.

    Any shape. Srivastava et al. (2014), section 10, "inverted": the mean stays, so prediction does nothing.
    """

    rate: float = setting(least=0, below=1, doc="the share of values zeroed")

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        # draws, mask and y in full, and a byte for each that is kept
        return 13 * batch * math.prod(input_shape) // 4 if training and self.rate else 0

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Array | None]:
        if not training or self.rate == 0:
            return x, None
        if rng is None:
            raise ValueError("dropout: training needs a random generator")
        # Drawn in the logical order, whatever x's order in memory: a sample's noise must not hang on a layout.
        draws = buffers.array("draws", x.shape, x.dtype)
        draw_uniform(draws, rng)
        kept = np.greater_equal(draws, self.rate, out=buffers.like("kept", x, np.bool_))
        mask = np.multiply(kept, 1 / (1 - self.rate), out=buffers.like("mask", x))
        return np.multiply(x, mask, out=buffers.like("y", x)), mask

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: Array | None,
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        return dy if cache is None else np.multiply(dy, cache, out=dy)


def draw_uniform(out: Array, rng: Noise) -> None:
    """Fill with numbers of [0, 1). In a stack each member draws from its own generator what it would draw alone."""
    if isinstance(rng, np.random.Generator):
        rng.random(out=out, dtype=out.dtype.type)
        return
    for generator, member in zip(rng, out.reshape(len(rng), -1), strict=True):
        generator.random(out=member, dtype=out.dtype.type)
