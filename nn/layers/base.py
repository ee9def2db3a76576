"""The contract of a layer."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape, Views
from nn.registry import Registry, Settings


@dataclass(frozen=True)
class Layer(Settings):
    """A frozen declaration: parameters are passed in, what backward needs is the returned cache.

    x is (..., batch, *input_shape). The leading axes are a stack of networks; a layer works on the last ones only, and
    does for each member exactly what it does for one network. The order of the axes in memory is free (images.py has
    that of convolutions): a layer reads any, and an elementwise one hands on the one it found. Outputs and caches live
    in `buffers` and hold until the next forward with the same buffers. Defaults are those of a layer without parameters
    that keeps its shape.
    """

    input_axes: ClassVar[frozenset[int] | None] = None
    """How many axes a sample may have; None: any number."""

    statistics: ClassVar[frozenset[str]] = frozenset()
    """Parameters that no gradient trains: forward measures them in training, backward writes 0 as their gradient."""

    decayed: ClassVar[frozenset[str]] = frozenset({"weight"})
    """Parameters that L1, L2 and weight decay act on."""

    @property
    def output_activation(self) -> str | None:
        """The activation whose values come out, for a loss to say whether it can take them. None: that of the input."""
        return "linear"

    def least_batch(self, input_shape: Shape) -> int:
        """How many samples a batch must have for training."""
        return 1

    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of one sample's output. Raises ShapeError if the layer cannot take `input_shape`."""
        return input_shape

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        return {}

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        """Fill one network's parameters in place; a stack is filled member by member."""

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        """How many numbers of 4 bytes its arrays hold for a batch, besides parameters: for estimates of memory.

        Without `training` forward alone is computed; `input_gradient` as backward is told.
        """
        return batch * math.prod(self.output_shape(input_shape))

    def merged_with(self, following: Layer) -> Layer | None:
        """One layer that computes this one and the following faster than both, with the parameters of this one."""
        return None

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Any]:
        """y (..., batch, *output_shape) and what backward needs. x is left as it is; a sample of it has `axes` axes."""
        raise NotImplementedError

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
        """Write the parameters' gradients, return dx, or None if nobody needs it. dy may be overwritten."""
        raise NotImplementedError


LAYERS: Registry[type[Layer]] = Registry("layer")
