"""The words for arrays in annotations, and the workspace that keeps the inner loop from allocating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]
Shape: TypeAlias = tuple[int, ...]
Noise: TypeAlias = np.random.Generator | Sequence[np.random.Generator]
"""What dropout draws from: one generator, or for a stack one for each member."""


class Views(dict[str, Array]):
    """Arrays by name, where the dots of a name are the levels of a tree: 2.residual.1.dense.weight."""

    def __init__(self, arrays: Arrays | None = None) -> None:
        super().__init__(arrays or {})
        self._groups: dict[str, Views] = {}

    def group(self, name: str) -> Views:
        """The arrays below `name`, under what follows it. Made once: layers are given theirs at every step."""
        found = self._groups.get(name)
        if found is None:
            start = f"{name}."
            below = {key.removeprefix(start): array for key, array in self.items() if key.startswith(start)}
            found = self._groups[name] = Views(below)
        return found


class Buffers:
    """Named arrays that are made once and handed out again at every step, their contents undefined."""

    __slots__ = ("_alike", "_arrays", "_scopes")

    def __init__(self) -> None:
        self._arrays: dict[tuple[str, Shape], Array] = {}
        self._alike: dict[tuple[str, Shape, Shape], Array] = {}
        self._scopes: dict[str, Buffers] = {}

    def array(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """The array of this name and shape. An epoch's last, smaller batch has arrays of its own."""
        found = self._arrays.get((name, shape))
        if found is None or found.dtype != dtype:
            found = self._arrays[name, shape] = np.empty(shape, dtype)
        return found

    def zeros(self, name: str, shape: Shape, dtype: DTypeLike) -> Array:
        """The same, but zero when it is made: what the caller never writes, such as a border, stays zero."""
        found = self._arrays.get((name, shape))
        if found is None or found.dtype != dtype:
            found = self._arrays[name, shape] = np.zeros(shape, dtype)
        return found

    def like(self, name: str, x: Array, dtype: DTypeLike | None = None) -> Array:
        """An array of x's shape whose axes lie in memory in the same order, so that elementwise work runs along it."""
        dtype = x.dtype if dtype is None else dtype
        found = self._alike.get((name, x.shape, x.strides))
        if found is None or found.dtype != dtype:
            # A shared array repeated by a stride of 0 has no order of its own.
            found = np.empty_like(x, dtype, order="C" if 0 in x.strides else "K")
            self._alike[name, x.shape, x.strides] = found
        return found

    def scope(self, name: str) -> Buffers:
        """A workspace inside this one, so that two layers may both have an array called "y"."""
        found = self._scopes.get(name)
        if found is None:
            found = self._scopes[name] = Buffers()
        return found


@lru_cache(maxsize=32)
def ones(length: int, dtype: np.dtype[Any]) -> Array:
    """Ones, to sum with: a product with them takes half the time of a sum over rows or over short rows."""
    found = np.ones(length, dtype)
    found.flags.writeable = False
    return found


class ShapeError(ValueError):
    """A layer cannot take the shape it is given. Shapes are of one sample, without the batch axis."""

    def __init__(self, needs: str, input_shape: Shape, *, layer_number: int | None = None, kind: str = "") -> None:
        who = f"layer {layer_number} ({kind})" if layer_number else (kind or "the layer")
        super().__init__(f"{who} needs {needs} and got {format_shape(input_shape)}")
        self.needs, self.input_shape, self.layer_number, self.kind = needs, input_shape, layer_number, kind

    def at(self, layer_number: int, kind: str) -> ShapeError:
        """The same, saying which layer it is. What an inner layer cannot take is told by the outermost with `needs`."""
        return ShapeError(self.needs, self.input_shape, layer_number=layer_number, kind=kind)


def format_shape(shape: Shape) -> str:
    """(64,) for one axis, (28, 28) for two, as Python writes it."""
    return str(tuple(int(side) for side in shape))
