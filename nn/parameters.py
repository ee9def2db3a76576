"""Parameters, gradients and what else has their layout: named views into one vector."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import DTypeLike

from nn.arrays import Array, Shape, Views


class FlatBuffer:
    """Named views into one contiguous vector; optimizers and checkpoints see only `flat`.

    `flat` is (..., size) and `views[name]` is (..., *shape), with `stack` as the leading axes. Views are written in
    place and never rebound. A given `flat` is used as it is, not copied.
    """

    def __init__(
        self,
        shapes: Mapping[str, Shape],
        dtype: DTypeLike = np.float32,
        *,
        stack: Shape = (),
        flat: Array | None = None,
    ) -> None:
        self.shapes = dict(shapes)
        size = sum(map(math.prod, self.shapes.values()))
        self.flat = np.zeros((*stack, size), dtype) if flat is None else flat
        if self.flat.ndim < 1 or self.flat.shape[-1] != size:
            raise ValueError(f"the parameters are {size} numbers, and the vector has the shape {self.flat.shape}")
        self.views = self._cut()
        self.group = self.views.group  # the views below a layer's name: its weight, bias …

    def _cut(self) -> Views:
        views, start = Views(), 0
        for name, shape in self.shapes.items():
            stop = start + math.prod(shape)
            views[name] = self.flat[..., start:stop].reshape(*self.stack, *shape, copy=False)
            start = stop
        return views

    @property
    def stack(self) -> Shape:
        """The leading axes: () for one network, (members,) for a stack."""
        return self.flat.shape[:-1]

    @property
    def size(self) -> int:
        """How many numbers one network has."""
        return int(self.flat.shape[-1])

    def member(self, index: int | Shape) -> FlatBuffer:
        """One member of a stack, sharing its memory."""
        return FlatBuffer(self.shapes, flat=self.flat[index])

    def copy(self) -> FlatBuffer:
        return FlatBuffer(self.shapes, flat=self.flat.copy())

    def like(self) -> FlatBuffer:
        """Zeros of the same layout, stack and type, for gradients."""
        return FlatBuffer(self.shapes, self.flat.dtype, stack=self.stack)


def spans(shapes: Mapping[str, Shape], names: Collection[str]) -> tuple[slice, ...]:
    """Where the named parameters lie in the vector, neighbours together."""
    found: list[slice] = []
    start = 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        if name in names:
            begin = found.pop().start if found and found[-1].stop == start else start
            found.append(slice(begin, stop))
        start = stop
    return tuple(found)
