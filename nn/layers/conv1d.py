from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nn.layers.base import LAYERS
from nn.layers.convolution import Convolution


@LAYERS.register("conv1d")
@dataclass(frozen=True)
class Conv1d(Convolution):
    """y = activation(filters over every place of a sequence + bias), each filter over all channels.

    x (..., batch, length, channels), weight (..., 1, channels, size, units), bias (..., units), y (..., batch, length',
    units). Waibel et al. (1989), section II, as time-delay network.
    """

    input_axes: ClassVar[frozenset[int] | None] = frozenset({2})
    needs: ClassVar[str] = "(length, channels)"
    kernel_axes: ClassVar[int] = 1
