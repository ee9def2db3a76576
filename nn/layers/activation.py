from __future__ import annotations

from dataclasses import dataclass

from nn.activations import ACTIVATIONS, activation_function
from nn.arrays import Array, Buffers, Noise, Views
from nn.layers.base import LAYERS, Layer
from nn.registry import setting


@LAYERS.register("activation")
@dataclass(frozen=True)
class Activation(Layer):
    """y = function(x), elementwise, on any shape."""

    function: str = setting(choices=ACTIVATIONS, doc="which function")

    @property
    def output_activation(self) -> str:
        return self.function

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, tuple[Array, Array]]:
        # Not over x: it may be the previous layer's cache.
        y = activation_function(self.function).forward(x, buffers.like("y", x))
        return y, (x, y)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: tuple[Array, Array],
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        return activation_function(self.function).backward(*cache, dy, buffers)
