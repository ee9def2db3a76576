"""A step size of its own for each parameter, from the squares of its gradients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nn.arrays import Array
from nn.optimizers.base import OPTIMIZERS, Optimizer, blocks_and_scratch
from nn.registry import setting


class AdaGradState(NamedTuple):
    step: int
    square: Array


@OPTIMIZERS.register("adagrad")
@dataclass(frozen=True)
class AdaGrad(Optimizer):
    """s += g²; p -= learning_rate * g / (sqrt(s) + epsilon). Rare features keep large steps, frequent ones slow down.

    Duchi et al. (2011), section 1.1, the diagonal form, with PyTorch's epsilon and a sum that begins at 0.
    """

    epsilon: float = setting(1e-10, least=1e-30, doc="keeps the division finite")

    @property
    def slots(self) -> int:
        return 1

    def init(self, parameters: Array) -> AdaGradState:
        return AdaGradState(0, np.zeros_like(parameters))

    def update(
        self, state: AdaGradState, parameters: Array, gradients: Array, learning_rate: float | None = None
    ) -> AdaGradState:
        rate = self.learning_rate if learning_rate is None else learning_rate
        for p, g, square, scratch in blocks_and_scratch(parameters, gradients, state.square):
            np.multiply(g, g, out=scratch)
            square += scratch
            np.sqrt(square, out=scratch)
            scratch += self.epsilon
            g /= scratch
            g *= rate
            p -= g
        return AdaGradState(state.step + 1, state.square)


class RmsPropState(NamedTuple):
    """`square` is the running mean of g² divided by 1 - rho: a sum instead of a mean, one pass fewer."""

    step: int
    square: Array
    velocity: Array | None


@OPTIMIZERS.register("rmsprop")
@dataclass(frozen=True)
class RmsProp(Optimizer):
    """s = rho * s + (1 - rho) * g²; p -= learning_rate * g / (sqrt(s) + epsilon). AdaGrad that forgets.

    Tieleman & Hinton (2012), lecture 6.5, with PyTorch's epsilon outside the root and its default rho of 0.99, where
    the lecture has 0.9. With momentum v = momentum * v + g / (sqrt(s) + epsilon); p -= learning_rate * v.
    """

    rho: float = setting(0.99, least=0, below=1, doc="how much of the running mean of squares stays")
    epsilon: float = setting(1e-8, least=1e-30, doc="keeps the division finite")
    momentum: float = setting(0.0, least=0, below=1, doc="how much of the last velocity stays")

    @property
    def slots(self) -> int:
        return 2 if self.momentum else 1

    def init(self, parameters: Array) -> RmsPropState:
        velocity = np.zeros_like(parameters) if self.momentum else None
        return RmsPropState(0, np.zeros_like(parameters), velocity)

    def update(
        self, state: RmsPropState, parameters: Array, gradients: Array, learning_rate: float | None = None
    ) -> RmsPropState:
        scale = math.sqrt(1 - self.rho)  # s = square * scale², so g / (sqrt(s) + epsilon) has scale in both terms
        rate = (self.learning_rate if learning_rate is None else learning_rate) / scale
        vectors = [parameters, gradients, state.square]
        if state.velocity is not None:
            vectors.append(state.velocity)
        for p, g, square, *velocity, scratch in blocks_and_scratch(*vectors):
            self._divide(g, square, scratch, self.epsilon / scale)
            if velocity:
                velocity[0] *= self.momentum
                velocity[0] += g
                np.multiply(velocity[0], rate, out=g)
            else:
                g *= rate
            p -= g
        return RmsPropState(state.step + 1, state.square, state.velocity)

    def _divide(self, g: Array, square: Array, scratch: Array, epsilon: float) -> None:
        """Update the squares and write g / (sqrt(square) + epsilon) over g."""
        square *= self.rho
        np.multiply(g, g, out=scratch)
        square += scratch
        np.sqrt(square, out=scratch)
        scratch += epsilon
        g /= scratch
