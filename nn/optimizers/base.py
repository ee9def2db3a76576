"""The contract of an optimizer, and the blocks in which all of them work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn.arrays import Array
from nn.registry import Registry, Settings, setting

BLOCK = 64 * 1024  # bytes; the vectors' blocks together stay in a core's second-level cache


@dataclass(frozen=True)
class Optimizer(Settings):
    """`slots` is how many vectors of the parameters' size the state holds. A state is a NamedTuple with a `step`.

    What a state holds besides its vectors follows from the settings and the step, so that a checkpoint needs no more.
    """

    learning_rate: float = setting(0.01, above=0, doc="the step size")

    @property
    def slots(self) -> int:
        raise NotImplementedError

    @property
    def weight_decay(self) -> float:
        """The training multiplies the decayed parameters by 1 - learning_rate * weight_decay before each update.

        Decoupled from the gradient: Loshchilov & Hutter (2019), algorithm 2, in PyTorch's form, where the decay is
        scaled by the learning rate. Which parameters decay is known to the layers, not to an optimizer.
        """
        return 0.0

    def init(self, parameters: Array) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def update(self, state: Any, parameters: Array, gradients: Array, learning_rate: float | None = None) -> Any:
        """Step the parameters in place; the state returned shares its vectors with the one given.

        A schedule gives the step's own learning rate; without one it is the setting.
        """
        raise NotImplementedError


OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")


def weight_decay_setting(default: float = 0.0) -> Any:
    """The field of an optimizer that can decay the weights."""
    return setting(default, least=0, doc="how fast weights shrink on their own, in shares of learning_rate")


def blocks(*vectors: Array) -> Iterable[tuple[Array, ...]]:
    """The vectors piece by piece, so that a step's many passes find each piece in the cache."""
    if vectors[0].nbytes <= BLOCK:  # small networks take 40 µs a step: no generator for them
        return (vectors,)
    flat = [vector.reshape(-1, copy=False) for vector in vectors]
    size, length = flat[0].size, BLOCK // flat[0].itemsize
    return (tuple([vector[start : start + length] for vector in flat]) for start in range(0, size, length))


def blocks_and_scratch(*vectors: Array) -> Iterator[tuple[Array, ...]]:
    """As `blocks`, with one more array at the end: of a piece's size, its contents undefined."""
    first = vectors[0]
    scratch = np.empty(min(first.size, BLOCK // first.itemsize), first.dtype)
    for pieces in blocks(*vectors):
        yield *pieces, scratch[: pieces[0].size].reshape(pieces[0].shape)
