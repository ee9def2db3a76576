from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


@LAYERS.register("embedding")
@dataclass(frozen=True)
class Embedding(Layer):
    """y = weight[x], a trained vector for each of the whole numbers 0 to vocabulary - 1.

    x (..., batch, length) of whole numbers, stored as floats as all features are; weight (..., vocabulary, units),
    y (..., batch, length, units). Bengio et al. (2003), section 2. Weights begin as normal(0, 1), as in PyTorch: the
    layer above is initialised for inputs of variance 1. A number has no slope: the input's gradient is 0.
    """

    vocabulary: int = setting(
        least=1,
        most=2**24,
        doc="how many different numbers there are; float32, in which features are kept, counts no further",
    )
    units: int = setting(least=1, doc="how long the vector of each number is")

    input_axes: ClassVar[frozenset[int] | None] = frozenset({1})

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError("(length,)", input_shape, kind=self.kind)
        return (*input_shape, self.units)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {"weight": (self.vocabulary, self.units)}

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        made = input_shape[0] * self.units
        # Numbers are of 8 bytes; the gradient's rows are sorted, in a copy.
        return batch * (2 * input_shape[0] + made * (2 if training else 1) + (input_shape[0] if input_gradient else 0))

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        parameters["weight"][...] = rng.normal(size=parameters["weight"].shape)

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Array]:
        self._check(x)
        weight, numbers = parameters["weight"], buffers.array("numbers", x.shape, np.int64)
        np.copyto(numbers, x, casting="unsafe")
        y = buffers.array("y", (*x.shape, self.units), weight.dtype)
        for member in np.ndindex(weight.shape[:-2]):
            # "clip" writes to out without a copy, and there is nothing to clip
            np.take(weight[member], numbers[member], axis=0, out=y[member], mode="clip")
        return y, numbers

    def _check(self, x: Array) -> None:
        """ValueError for what is not in the vocabulary: scaled numbers would be others without a word."""
        right = (x >= 0) & (x < self.vocabulary) & (x == np.floor(x))
        if not right.all():
            found, most = x[~right].flat[0], self.vocabulary - 1
            raise ValueError(f"embedding takes the whole numbers 0 to {most}, and the input has {found}")

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
        gradient = gradients["weight"]
        gradient[...] = 0
        for member in np.ndindex(gradient.shape[:-2]):
            add_rows(gradient[member], cache[member].reshape(-1), dy[member].reshape(-1, self.units))
        if not input_gradient:
            return None
        dx = buffers.array("dx", cache.shape, dy.dtype)
        dx.fill(0)
        return dx


def add_rows(total: Array, places: Array, rows: Array) -> None:
    """total[places[i]] += rows[i] for zeros in total. Sorted first: rows of one place are then summed in one go."""
    # The smallest type: numbers of two bytes are sorted by radix, ten times as fast.
    order = np.argsort(places.astype(np.min_scalar_type(len(total) - 1)), kind="stable")
    places = places[order]
    starts = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
    total[places[starts]] = np.add.reduceat(rows[order], starts, axis=0)
