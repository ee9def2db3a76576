from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nn.activations import ACTIVATIONS, activation_function
from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views, ones
from nn.initializers import INITIALIZERS
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


@LAYERS.register("dense")
@dataclass(frozen=True)
class Dense(Layer):
    """y = activation(x @ weight + bias), every input connected to every unit.

    x (..., batch, fan_in), weight (..., fan_in, units), bias (..., units), y (..., batch, units). Rosenblatt (1958),
    with one unit and a step as its activation.
    """

    input_axes: ClassVar[frozenset[int] | None] = frozenset({1})

    units: int = setting(least=1, doc="how many outputs")
    activation: str = setting("linear", choices=ACTIVATIONS, doc="what is applied to the outputs")
    initializer: str | None = setting(
        None, choices=INITIALIZERS, doc="how the weights begin; unless told, by the rule that the activation names"
    )
    bias: bool = setting(True, doc="whether each unit has a bias")

    @property
    def output_activation(self) -> str:
        return self.activation

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 1:
            raise ShapeError("(features,)", input_shape, kind=self.kind)
        return (self.units,)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        weight = {"weight": (input_shape[0], self.units)}
        return weight | ({"bias": (self.units,)} if self.bias else {})

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        outputs = self.units * (2 if activation_function(self.activation).needs_input else 1)
        return batch * (outputs + (input_shape[0] if input_gradient else 0))

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        name = self.initializer or activation_function(self.activation).initializer
        fan_in, fan_out = parameters["weight"].shape
        INITIALIZERS[name](parameters["weight"], fan_in, fan_out, rng)
        if self.bias:
            parameters["bias"][...] = 0

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        weight = parameters["weight"]
        shape = (*weight.shape[:-2], x.shape[-2], self.units)  # x may be shared by the whole stack
        z = np.matmul(x, weight, out=buffers.array("z", shape, weight.dtype))
        if self.bias:
            z += parameters["bias"][..., None, :]
        function = activation_function(self.activation)
        y = function.forward(z, buffers.array("y", shape, z.dtype) if function.needs_input else z)
        return y, (x, z, y)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: tuple[Array, Array, Array],
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        x, z, y = cache
        dz = activation_function(self.activation).backward(z, y, dy, buffers)
        np.matmul(x.mT, dz, out=gradients["weight"])  # (..., fan_in, batch) @ (..., batch, units)
        if self.bias:
            np.matmul(ones(dz.shape[-2], dz.dtype), dz, out=gradients["bias"])
        if not input_gradient:
            return None
        dx = buffers.array("dx", (*dz.shape[:-1], x.shape[-1]), dz.dtype)
        return np.matmul(dz, parameters["weight"].mT, out=dx)
