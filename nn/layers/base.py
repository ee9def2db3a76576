"""The contract of a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nn.arrays import Array, Arrays, Buffers, Noise, Shape
from nn.registry import Registry, Settings


@dataclass(frozen=True)
class Layer(Settings):
    """A frozen declaration: parameters are passed in, what backward needs is the returned cache.

    x is (..., batch, *input_shape). The leading axes are a stack of networks; a layer works on the last ones only, and
    does for each member exactly what it does for one network. Outputs and caches live in `buffers` and hold until the
    next forward with the same buffers. Defaults are those of a layer without parameters that keeps its shape.
    """

    @property
    def output_activation(self) -> str:
        """The activation whose values come out, so that a loss can say whether it can take them."""
        return "linear"

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one sample's output. Raises ShapeError if the layer cannot take `input_shape`."""
        return input_shape

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {}

    def initialise(self, parameters: Arrays, rng: np.random.Generator) -> None:
        """Fill one network's parameters in place; a stack is filled member by member."""

    def forward(
        self, parameters: Arrays, x: Array, *, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Any]:
        """y (..., batch, *output_shape) and what backward needs. x is left as it is."""
        raise NotImplementedError

    def backward(
        self,
        parameters: Arrays,
        gradients: Arrays,
        cache: Any,
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        """Write the parameters' gradients, return dx, or None if nobody needs it. dy may be overwritten."""
        raise NotImplementedError


LAYERS: Registry[type[Layer]] = Registry("layer")
