"""Gradient descent, plain or with a velocity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nn.arrays import Array
from nn.optimizers.base import OPTIMIZERS, Optimizer, blocks, weight_decay_setting
from nn.registry import setting


class SgdState(NamedTuple):
    step: int
    velocity: Array | None


@dataclass(frozen=True)
class GradientDescent(Optimizer):
    """What sgd, momentum and nesterov share: the same step, of which they fix different parts."""

    momentum: float = setting(0.0, least=0, below=1, doc="how much of the last velocity stays")

    @property
    def nesterov(self) -> bool:
        return False

    @property
    def slots(self) -> int:
        return 1 if self.momentum else 0

    def init(self, parameters: Array) -> SgdState:
        return SgdState(0, np.zeros_like(parameters) if self.momentum else None)

    def update(
        self, state: SgdState, parameters: Array, gradients: Array, learning_rate: float | None = None
    ) -> SgdState:
        rate = self.learning_rate if learning_rate is None else learning_rate
        if state.velocity is None:
            for p, g in blocks(parameters, gradients):
                g *= rate
                p -= g
        else:
            for p, g, v in blocks(parameters, gradients, state.velocity):
                self._step(p, g, v, rate)
        return SgdState(state.step + 1, state.velocity)

    def _step(self, p: Array, g: Array, v: Array, rate: float) -> None:
        v *= self.momentum
        v += g
        if not self.nesterov:
            np.multiply(v, rate, out=g)
            p -= g
            return
        g *= rate
        p -= g
        np.multiply(v, rate * self.momentum, out=g)
        p -= g


@OPTIMIZERS.register("sgd")
@dataclass(frozen=True)
class Sgd(GradientDescent):
    """v = momentum * v + g; p -= learning_rate * v. Nesterov: p -= learning_rate * (g + momentum * v).

    Sutskever et al. (2013), section 2, in PyTorch's form, where the learning rate stands outside the velocity. Without
    momentum, as by default, p -= learning_rate * g: stochastic gradient descent, Robbins & Monro (1951).
    """

    nesterov: bool = setting(False, doc="look ahead along the velocity")
    weight_decay: float = weight_decay_setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and self.momentum == 0:
            raise ValueError("sgd: nesterov needs a momentum above 0")


@OPTIMIZERS.register("momentum")
@dataclass(frozen=True)
class Momentum(GradientDescent):
    """v = momentum * v + g; p -= learning_rate * v: a ball that rolls on. The same as sgd with a momentum.

    Polyak (1964), in PyTorch's form, where the learning rate stands outside the velocity. On a steady slope the ball
    goes 1 / (1 - momentum) times as fast as sgd with the same learning rate.
    """

    momentum: float = setting(0.9, above=0, below=1, doc="how much of the last velocity stays")
    weight_decay: float = weight_decay_setting()


@OPTIMIZERS.register("nesterov")
@dataclass(frozen=True)
class Nesterov(GradientDescent):
    """v = momentum * v + g; p -= learning_rate * (g + momentum * v): momentum that looks ahead. As sgd with nesterov.

    Nesterov (1983), as rewritten by Sutskever et al. (2013), section 2, in PyTorch's form: p is the point looked at,
    one velocity ahead of the paper's.
    """

    momentum: float = setting(0.9, above=0, below=1, doc="how much of the last velocity stays")
    weight_decay: float = weight_decay_setting()

    @property
    def nesterov(self) -> bool:
        return True
