from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nn.activations import activation_function
from nn.layers.base import LAYERS, Layer
from nn.layers.convolution import Convolution
from nn.layers.convolved_pool import ConvolvedPool
from nn.layers.pooling import MaxPool


@LAYERS.register("conv2d")
@dataclass(frozen=True)
class Conv2d(Convolution):
    """y = activation(filters over every place of an image + bias), each filter a square over all channels.

    x (..., batch, height, width, channels), weight (..., size, channels, size, units): row, channel, column, unit, the
    order in which they are multiplied; bias (..., units), y (..., batch, height', width', units). The filter is not
    turned round (a cross-correlation), as everywhere. LeCun et al. (1998), section II.
    """

    input_axes: ClassVar[frozenset[int] | None] = frozenset({3})
    needs: ClassVar[str] = "(height, width, channels)"
    kernel_axes: ClassVar[int] = 2

    def merged_with(self, following: Layer) -> Layer | None:
        pools = isinstance(following, MaxPool) and following.pairs
        return ConvolvedPool(self) if pools and activation_function(self.activation).increasing else None
