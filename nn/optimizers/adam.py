"""Adam and its relatives: running means of the gradients and of their squares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from nn.arrays import Array
from nn.optimizers.base import OPTIMIZERS, Optimizer, blocks, blocks_and_scratch, weight_decay_setting
from nn.registry import setting


class AdamState(NamedTuple):
    """Kingma & Ba's m and v, divided by 1 - beta1 and by 1 - beta2: sums instead of means, two passes fewer."""

    step: int
    mean: Array
    square: Array


@dataclass(frozen=True)
class RunningMeans(Optimizer):
    """What Adam's family shares: the settings, and the constants that turn the state's sums into m̂ and v̂."""

    learning_rate: float = setting(0.001, above=0, doc="the step size")
    beta1: float = setting(0.9, least=0, below=1, doc="how much of the running mean stays")
    beta2: float = setting(0.999, least=0, below=1, doc="how much of the running mean of squares stays")
    epsilon: float = setting(1e-8, least=1e-30, doc="keeps the division finite")

    @property
    def slots(self) -> int:
        return 2

    def init(self, parameters: Array) -> Any:
        return AdamState(0, np.zeros_like(parameters), np.zeros_like(parameters))

    def mean_scale(self, step: int) -> float:
        """m̂ = mean * mean_scale"""
        return (1 - self.beta1) / (1 - self.beta1**step)

    def square_scale(self, step: int) -> float:
        """v̂ = square * square_scale²"""
        return math.sqrt((1 - self.beta2) / (1 - self.beta2**step))


@OPTIMIZERS.register("adam")
@dataclass(frozen=True)
class Adam(RunningMeans):
    """p -= learning_rate * m̂ / (sqrt(v̂) + epsilon), with m̂, v̂ the bias-corrected running means of g and g².

    Kingma & Ba (2015), algorithm 1. The constants of both corrections are folded into the step size and epsilon (as at
    the end of their section 2, but with epsilon scaled too, so that the result is exactly algorithm 1's).
    """

    def update(
        self, state: AdamState, parameters: Array, gradients: Array, learning_rate: float | None = None
    ) -> AdamState:
        step = state.step + 1
        scale = self.square_scale(step)
        rate = (self.learning_rate if learning_rate is None else learning_rate) * self.mean_scale(step) / scale
        epsilon = self.epsilon / scale
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


@OPTIMIZERS.register("adamw")
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: before Adam's step each weight is multiplied by 1 - learning_rate * decay.

    Loshchilov & Hutter (2019), algorithm 2, in PyTorch's form. The update is Adam's; the shrinking is done by the
    training, which knows the weights from the biases.
    """

    weight_decay: float = weight_decay_setting(0.01)


class AmsGradState(NamedTuple):
    """Adam's sums, and the largest that each sum of squares has ever been."""

    step: int
    mean: Array
    square: Array
    largest: Array


@OPTIMIZERS.register("amsgrad")
@dataclass(frozen=True)
class AmsGrad(RunningMeans):
    """Adam with the largest v so far in place of v, so that no parameter's step size grows again.

    Reddi et al. (2018), algorithm 2, with the bias corrections of Adam, as in PyTorch; the paper has none.
    """

    @property
    def slots(self) -> int:
        return 3

    def init(self, parameters: Array) -> AmsGradState:
        return AmsGradState(0, *(np.zeros_like(parameters) for _ in range(3)))

    def update(
        self, state: AmsGradState, parameters: Array, gradients: Array, learning_rate: float | None = None
    ) -> AmsGradState:
        step = state.step + 1
        scale = self.square_scale(step)
        rate = (self.learning_rate if learning_rate is None else learning_rate) * self.mean_scale(step) / scale
        epsilon = self.epsilon / scale
        for p, g, mean, square, largest in blocks(parameters, gradients, *state[1:]):
            mean *= self.beta1
            mean += g
            g *= g
            square *= self.beta2
            square += g
            np.maximum(largest, square, out=largest)
            np.sqrt(largest, out=g)
            g += epsilon
            np.divide(mean, g, out=g)
            g *= rate
            p -= g
        return AmsGradState(step, state.mean, state.square, state.largest)


class NadamState(NamedTuple):
    """Adam's sums, and the product of all momenta so far; None where it must be found again from the step."""

    step: int
    mean: Array
    square: Array
    product: float | None = None


@OPTIMIZERS.register("nadam")
@dataclass(frozen=True)
class Nadam(RunningMeans):
    """Adam that looks ahead: m̂ = next momentum * m / (1 - next product) + (1 - momentum) * g / (1 - product).

    Dozat (2016), algorithm 2 and, for the momenta that grow from beta1 / 2 to beta1, Sutskever et al. (2013). As in
    PyTorch: momentum = beta1 * (1 - 0.96^(step * momentum_decay) / 2), `product` that of all momenta up to a step's.
    """

    learning_rate: float = setting(0.002, above=0, doc="the step size")
    momentum_decay: float = setting(0.004, least=0, doc="how fast the momentum grows to beta1")

    def init(self, parameters: Array) -> NadamState:
        return NadamState(0, np.zeros_like(parameters), np.zeros_like(parameters))

    def update(
        self, state: NadamState, parameters: Array, gradients: Array, learning_rate: float | None = None
    ) -> NadamState:
        step, rate = state.step + 1, self.learning_rate if learning_rate is None else learning_rate
        momentum, following = self.momentum(step), self.momentum(step + 1)
        product = (self.product(state.step) if state.product is None else state.product) * momentum
        scale = self.square_scale(step)
        mean_rate = rate * following / (1 - product * following) * (1 - self.beta1) / scale
        gradient_rate, epsilon = rate * (1 - momentum) / (1 - product) / scale, self.epsilon / scale
        for p, g, mean, square, scratch in blocks_and_scratch(parameters, gradients, state.mean, state.square):
            mean *= self.beta1
            mean += g
            np.multiply(g, g, out=scratch)
            square *= self.beta2
            square += scratch
            g *= gradient_rate
            np.multiply(mean, mean_rate, out=scratch)
            g += scratch
            np.sqrt(square, out=scratch)
            scratch += epsilon
            g /= scratch
            p -= g
        return NadamState(step, state.mean, state.square, product)

    def momentum(self, step: int) -> float:
        return self.beta1 * (1 - 0.5 * math.pow(0.96, step * self.momentum_decay))

    def product(self, steps: int) -> float:
        """The product of the first momenta, multiplied in the order of the steps: a resumed run has the same bytes."""
        product = 1.0
        for step in range(1, steps + 1):
            product *= self.momentum(step)
            if product < 1e-17:  # from here on 1 - product is 1, whatever it is
                break
        return product
