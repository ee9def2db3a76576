"""One step downhill: init and update on the flat vector of parameters.

`update` writes the parameters and its state in place, and uses the gradients' memory as scratch: after it they are
garbage. All work is elementwise, so vectors of any shape (..., size) do, and a stack costs no extra code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nn.arrays import Array
from nn.registry import Registry, Settings, setting

BLOCK = 64 * 1024  # bytes; the vectors' blocks together stay in a core's second-level cache


@dataclass(frozen=True)
class Optimizer(Settings):
    """`slots` is how many vectors of the parameters' size the state holds. A state is a NamedTuple with a `step`."""

    @property
    def slots(self) -> int:
        raise NotImplementedError

    def init(self, parameters: Array) -> Any:
        """The state before the first step."""
        raise NotImplementedError

    def update(self, state: Any, parameters: Array, gradients: Array) -> Any:
        """Step the parameters in place; the state returned shares its vectors with the one given."""
        raise NotImplementedError


OPTIMIZERS: Registry[type[Optimizer]] = Registry("optimizer")


class SgdState(NamedTuple):
    step: int
    velocity: Array | None


@OPTIMIZERS.register("sgd")
@dataclass(frozen=True)
class Sgd(Optimizer):
    """v = momentum * v + g; p -= learning_rate * v. Nesterov: p -= learning_rate * (g + momentum * v).

    Sutskever et al. (2013), section 2, in PyTorch's form, where the learning rate stands outside the velocity.
    """

    learning_rate: float = setting(0.01, above=0, doc="the step size")
    momentum: float = setting(0.0, least=0, below=1, doc="how much of the last velocity stays")
    nesterov: bool = setting(False, doc="look ahead along the velocity")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("sgd: nesterov needs a momentum above 0")

    @property
    def slots(self) -> int:
        return 1 if self.momentum else 0

    def init(self, parameters: Array) -> SgdState:
        return SgdState(0, np.zeros_like(parameters) if self.momentum else None)

    def update(self, state: SgdState, parameters: Array, gradients: Array) -> SgdState:
        if state.velocity is None:
            for p, g in blocks(parameters, gradients):
                g *= self.learning_rate
                p -= g
        else:
            for p, g, v in blocks(parameters, gradients, state.velocity):
                self._step(p, g, v)
        return SgdState(state.step + 1, state.velocity)

    def _step(self, p: Array, g: Array, v: Array) -> None:
        v *= self.momentum
        v += g
        if not self.nesterov:
            np.multiply(v, self.learning_rate, out=g)
            p -= g
            return
        g *= self.learning_rate
        p -= g
        np.multiply(v, self.learning_rate * self.momentum, out=g)
        p -= g


class AdamState(NamedTuple):
    """Kingma & Ba's m and v, divided by 1 - beta1 and by 1 - beta2: sums instead of means, two passes fewer."""

    step: int
    mean: Array
    square: Array


@OPTIMIZERS.register("adam")
@dataclass(frozen=True)
class Adam(Optimizer):
    """p -= learning_rate * m̂ / (sqrt(v̂) + epsilon), with m̂, v̂ the bias-corrected running means of g and g².

    Kingma & Ba (2015), algorithm 1. The constants of both corrections are folded into the step size and epsilon (as at
    the end of their section 2, but with epsilon scaled too, so that the result is exactly algorithm 1's).
    """

    learning_rate: float = setting(0.001, above=0, doc="the step size")
    beta1: float = setting(0.9, least=0, below=1, doc="how much of the running mean stays")
    beta2: float = setting(0.999, least=0, below=1, doc="how much of the running mean of squares stays")
    epsilon: float = setting(1e-8, above=0, doc="keeps the division finite")

    @property
    def slots(self) -> int:
        return 2

    def init(self, parameters: Array) -> AdamState:
        return AdamState(0, np.zeros_like(parameters), np.zeros_like(parameters))

    def update(self, state: AdamState, parameters: Array, gradients: Array) -> AdamState:
        step = state.step + 1
        # m̂ = mean * mean_scale and v̂ = square * square_scale²
        mean_scale = (1 - self.beta1) / (1 - self.beta1**step)
        square_scale = math.sqrt((1 - self.beta2) / (1 - self.beta2**step))
        rate, epsilon = self.learning_rate * mean_scale / square_scale, self.epsilon / square_scale
        for p, g, mean, square in blocks(parameters, gradients, state.mean, state.square):
            mean *= self.beta1
            mean += g
            g *= g
            square *= self.beta2
            square += g
            np.sqrt(square, out=g)
            g += epsilon
            np.divide(mean, g, out=g)
            g *= rate
            p -= g
        return AdamState(step, state.mean, state.square)


def blocks(*vectors: Array) -> Iterator[tuple[Array, ...]]:
    """The vectors piece by piece, so that a step's many passes find each piece in the cache."""
    flat = [vector.reshape(-1, copy=False) for vector in vectors]
    size, length = flat[0].size, BLOCK // flat[0].itemsize
    if size <= length:
        yield tuple(flat)
        return
    for start in range(0, size, length):
        yield tuple([vector[start : start + length] for vector in flat])
