"""The contract of an activation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

from nn.arrays import Array, Buffers
from nn.registry import Registry, Settings

BLOCK = 64 * 1024  # bytes; a piece, its scratch and its result stay in a core's second-level cache


@dataclass(frozen=True)
class ActivationFunction(Settings):
    """y = f(x), on any shape.

    `needs_input` says whether backward reads x. Where it does not, a layer computes y over x and keeps one array.
    `increasing` says that the largest y is that of the largest x, so that pooling may come first.
    `initializer` is how the weights of a layer with this activation begin unless told.
    """

    needs_input: ClassVar[bool] = False
    increasing: ClassVar[bool] = False
    initializer: ClassVar[str] = "glorot_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        """Write f(x) to out (which may be x) and return it."""
        raise NotImplementedError

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        """dx = dy * f'(x), written over dy. Only a function that `needs_input` may read x."""
        raise NotImplementedError


ACTIVATIONS: Registry[type[ActivationFunction]] = Registry("activation")


@cache
def activation_function(name: str) -> ActivationFunction:
    """The function of this name. Made once: layers ask for it at every step."""
    return ACTIVATIONS[name]()


def pieces(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays piece by piece, in the order of their memory, for functions of many passes.

    What such a function allocates is then no larger than a piece, which costs next to nothing. Arrays that differ in
    their order, or have gaps, are one piece.
    """
    first = arrays[0]
    if first.nbytes <= BLOCK or any(array.strides != first.strides for array in arrays):
        yield arrays
        return
    axes = sorted(range(first.ndim), key=lambda axis: -first.strides[axis])
    ordered = [array.transpose(axes) for array in arrays]
    if not ordered[0].flags.c_contiguous:
        yield arrays
        return
    flat, length = [array.reshape(-1, copy=False) for array in ordered], BLOCK // first.itemsize
    for start in range(0, first.size, length):
        yield tuple([array[start : start + length] for array in flat])
