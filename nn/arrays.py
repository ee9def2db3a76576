"""The words for arrays in annotations, and the workspace that keeps the inner loop from allocating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]
Shape: TypeAlias = tuple[int, ...]
Noise: TypeAlias = np.random.Generator | Sequence[np.random.Generator]
"""What dropout draws from: one generator, or for a stack one for each member."""


class Buffers:
    """Named arrays that are made once and handed out again at every step, their contents undefined."""

    __slots__ = ("_arrays", "_scopes")

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, Shape], Array] = {}
        self._scopes: dict[str, Buffers] = {}

    def array(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """The array of this name and shape. An epoch's last, smaller batch has arrays of its own."""
        found = self._arrays.get((name, shape))
        if found is None or found.dtype != dtype:
            found = self._arrays[name, shape] = np.empty(shape, dtype)
        return found

    def scope(self, name: str) -> Buffers:
        """A workspace inside this one, so that two layers may both have an array called "y"."""
        found = self._scopes.get(name)
        if found is None:
            found = self._scopes[name] = Buffers()
        return found


class ShapeError(ValueError):
    """A layer cannot take the shape it is given. Shapes are of one sample, without the batch axis."""

    def __init__(self, needs: str, input_shape: Shape, *, layer_number: int | None = None, kind: str = "") -> None:
        who = f"layer {layer_number} ({kind})" if layer_number else (kind or "the layer")
        super().__init__(f"{who} needs {needs} and got {format_shape(input_shape)}")
        self.needs, self.input_shape, self.layer_number, self.kind = needs, input_shape, layer_number, kind


def format_shape(shape: Shape) -> str:
    """(64,) for one axis, (28, 28) for two, as Python writes it."""
    return str(tuple(int(side) for side in shape))
