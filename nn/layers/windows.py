"""Windows that slide along one axis: those of convolutions and of pooling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np

from nn.arrays import ShapeError

LARGEST = 65_536
"""Cells of a window at most. Each is a step of a loop, and a typo must not make millions of them."""


@dataclass(frozen=True)
class Windows:
    """`outputs` windows of `size` cells, `dilation` apart, over `length` cells with `before` of padding in front.

    Window o has its cell k at input o * stride + k * dilation - before, which may lie in the padding.
    """

    length: int
    size: int
    stride: int
    dilation: int
    before: int
    outputs: int

    @cached_property
    def taps(self) -> tuple[tuple[slice, slice], ...]:
        """For each cell k: the windows whose cell k is not padding, and the inputs under it. Same length each."""
        return tuple(self._tap(cell * self.dilation - self.before) for cell in range(self.size))

    def _tap(self, offset: int) -> tuple[slice, slice]:
        first = max(0, -(offset // self.stride))  # the first o with o * stride + offset >= 0
        last = min(self.outputs - 1, (self.length - 1 - offset) // self.stride)
        if last < first:
            return slice(0, 0), slice(0, 0)
        start = first * self.stride + offset
        return slice(first, last + 1), slice(start, last * self.stride + offset + 1, self.stride)

    @cached_property
    def padded(self) -> int:
        """How many cells the windows reach over, padding included."""
        return (self.outputs - 1) * self.stride + (self.size - 1) * self.dilation + 1

    @cached_property
    def inside(self) -> bool:
        """Whether no window reaches into the padding."""
        return all(outputs == slice(0, self.outputs) for outputs, _ in self.taps)

    @cached_property
    def tiles(self) -> bool:
        """Whether every input is in exactly one window."""
        return self.inside and self.stride == self.size and self.outputs * self.size == self.length

    @cached_property
    def even(self) -> Windows:
        """The same without the last window, if their number is odd."""
        return replace(self, outputs=self.outputs // 2 * 2)

    @cached_property
    def halves(self) -> tuple[Windows, Windows]:
        """Every second window from the first on, and from the second on; of an even number."""
        half = replace(self, stride=2 * self.stride, outputs=self.outputs // 2)
        return half, replace(half, before=self.before - self.stride)

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """How many cells of each window are not padding."""
        found = np.zeros(self.outputs, np.int64)
        for taken, _ in self.taps:
            found[taken] += 1
        return tuple(found.tolist())

    @cached_property
    def reaching(self) -> tuple[tuple[slice, slice], ...]:
        """For each input: the windows that reach it, and which of their cells do, from the last cell to the first.

        Both are arithmetic progressions: o * stride + k * dilation = input + before. The cells are counted from the
        end, so that both slices rise together.
        """
        return tuple(self._reach(place + self.before) for place in range(self.length))

    def _reach(self, place: int) -> tuple[slice, slice]:
        pairs = [
            (place - cell * self.dilation) // self.stride if (place - cell * self.dilation) % self.stride == 0 else -1
            for cell in range(self.size)
        ]
        cells = [cell for cell in reversed(range(self.size)) if 0 <= pairs[cell] < self.outputs]
        outputs, ends = [pairs[cell] for cell in cells], [self.size - 1 - cell for cell in cells]
        return _progression(outputs), _progression(ends)


def _progression(numbers: list[int]) -> slice:
    if not numbers:
        return slice(0, 0)
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 1
    return slice(numbers[0], numbers[-1] + 1, step)


@lru_cache(maxsize=1024)
def windows(length: int, size: int, stride: int, padding: str | int, dilation: int = 1) -> Windows:
    """The windows along an axis of this length; ShapeError if not even one fits.

    "valid" is no padding. "same" makes ceil(length / stride) windows, the odd cell of padding at the end, as
    TensorFlow does. A number is that much padding on both sides.
    """
    reach = (size - 1) * dilation + 1
    if padding == "same":
        outputs = -(-length // stride)
        before = max((outputs - 1) * stride + reach - length, 0) // 2
    else:
        before = 0 if isinstance(padding, str) else padding
        outputs = (length + 2 * before - reach) // stride + 1
    if outputs < 1:
        raise ShapeError(f"at least {reach - 2 * before} along each axis", (length,))
    return Windows(length, size, stride, dilation, before, outputs)
