"""How weights begin: scaled to the number of inputs (fan_in) and outputs (fan_out), so that signals keep their size."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from nn.arrays import Array
from nn.registry import Registry


class Initializer(Protocol):
    """Fill `weight` in place."""

    def __call__(self, weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None: ...


INITIALIZERS: Registry[Initializer] = Registry("initializer")


@INITIALIZERS.register("glorot_uniform")
def glorot_uniform(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Uniform in ±sqrt(6 / (fan_in + fan_out)). Glorot & Bengio (2010), eq. 16."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    weight[...] = rng.uniform(-limit, limit, weight.shape)


@INITIALIZERS.register("glorot_normal")
def glorot_normal(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Normal with variance 2 / (fan_in + fan_out). Glorot & Bengio (2010), eq. 12."""
    weight[...] = rng.normal(0, math.sqrt(2 / (fan_in + fan_out)), weight.shape)


@INITIALIZERS.register("he_uniform")
def he_uniform(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Uniform in ±sqrt(6 / fan_in), which has He's variance of 2 / fan_in. He et al. (2015), eq. 10."""
    limit = math.sqrt(6 / fan_in)
    weight[...] = rng.uniform(-limit, limit, weight.shape)


@INITIALIZERS.register("he_normal")
def he_normal(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Normal with variance 2 / fan_in, for ReLU. He et al. (2015), eq. 10."""
    weight[...] = rng.normal(0, math.sqrt(2 / fan_in), weight.shape)
