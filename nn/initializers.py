"""How weights begin: scaled to the number of inputs (fan_in) and outputs (fan_out), so that signals keep their size.

All draw from the generator they are given and write the weight in place, whatever its type.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from nn.arrays import Array
from nn.registry import Registry


class Initializer(Protocol):
    """Fill `weight` in place: (inputs, outputs), or of more axes (..., outputs), as convolutions keep theirs."""

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


@INITIALIZERS.register("lecun_uniform")
def lecun_uniform(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Uniform in ±sqrt(3 / fan_in), which has LeCun's variance of 1 / fan_in.

    LeCun et al. (1998), "Efficient BackProp", eq. 16.
    """
    limit = math.sqrt(3 / fan_in)
    weight[...] = rng.uniform(-limit, limit, weight.shape)


@INITIALIZERS.register("lecun_normal")
def lecun_normal(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Normal with variance 1 / fan_in, for SELU. Klambauer et al. (2017).

    The variance is that of LeCun et al. (1998), "Efficient BackProp", eq. 16.
    """
    weight[...] = rng.normal(0, math.sqrt(1 / fan_in), weight.shape)


@INITIALIZERS.register("orthogonal")
def orthogonal(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Columns (or, where they are fewer, rows) at right angles to each other and of length 1: a random rotation.

    Saxe et al. (2014), section 3. A weight of more than two axes is taken as (all the others, outputs). The Q of a
    normal matrix is a fair draw once the signs of R's diagonal are taken out of it: Mezzadri (2007), section 5.
    """
    rows, columns = weight.size // weight.shape[-1], weight.shape[-1]
    q, r = np.linalg.qr(rng.normal(0, 1, (max(rows, columns), min(rows, columns))))
    q *= np.where(np.diagonal(r) < 0, -1, 1)
    weight[...] = (q if rows >= columns else q.T).reshape(weight.shape)


@INITIALIZERS.register("normal")
def normal(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Normal with deviation 0.05, whatever the fans, as in Keras. Signals fade or grow in deep networks."""
    weight[...] = rng.normal(0, 0.05, weight.shape)


@INITIALIZERS.register("uniform")
def uniform(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """Uniform in ±0.05, whatever the fans, as in Keras. Signals fade or grow in deep networks."""
    weight[...] = rng.uniform(-0.05, 0.05, weight.shape)


@INITIALIZERS.register("constant")
def constant(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """0.05 everywhere, to see why weights are drawn: units that begin equal get equal gradients and stay equal.

    A layer of any width then learns what one unit could. Goodfellow et al. (2016), section 8.4.
    """
    weight[...] = 0.05


@INITIALIZERS.register("zeros")
def zeros(weight: Array, fan_in: int, fan_out: int, rng: np.random.Generator) -> None:
    """0 everywhere: nothing passes. Harmless in an only layer; behind a hidden layer no gradient comes through."""
    weight[...] = 0
