"""x times a share of it, which grows from 0 to 1: relu with a smooth corner and a dip below 0."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np

from nn.activations.base import ACTIVATIONS, ActivationFunction, pieces
from nn.activations.squashing import write_sigmoid
from nn.arrays import Array, Buffers


@ACTIVATIONS.register("gelu")
@dataclass(frozen=True)
class Gelu(ActivationFunction):
    """y = x * Φ(x), Φ the share of a standard normal below x. Hendrycks & Gimpel (2016), the exact form.

    With a = |x| and q = Φ(-a): y = max(x, 0) - a q. The slope is Φ(x) + x φ(x), that is s = q - a φ(a) for x < 0 and
    1 - s for x > 0.
    """

    needs_input: ClassVar[bool] = True
    initializer: ClassVar[str] = "he_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        for piece, result in pieces(x, out):
            size = np.abs(piece)
            share, bell = _upper_tail(size)
            share *= bell
            share *= size
            np.maximum(piece, 0, out=result)
            result -= share
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        for piece, gradient in pieces(x, dy):
            size = np.abs(piece)
            slope, bell = _upper_tail(size)
            size *= 1 / math.sqrt(2 * math.pi)
            slope -= size
            slope *= bell
            np.subtract(0.5, slope, out=slope)
            np.copysign(slope, piece, out=slope)  # s <= 1/2 everywhere: Φ(-a) <= 1/2, and a φ(a) >= 0
            slope += 0.5
            gradient *= slope
        return dy


@ACTIVATIONS.register("silu")
@dataclass(frozen=True)
class Silu(ActivationFunction):
    """y = x * sigmoid(x), also called swish. Elfwing et al. (2018); Hendrycks & Gimpel (2016), section 2.

    The slope is s + y (1 - s) with s = sigmoid(x). Near 0 it halves its input, so that signals fade in a deep network:
    begun by He's rule, by about a quarter with each layer.
    """

    needs_input: ClassVar[bool] = True
    initializer: ClassVar[str] = "he_uniform"

    def forward(self, x: Array, out: Array) -> Array:
        for piece, result in pieces(x, out):
            np.multiply(piece, write_sigmoid(piece, np.empty_like(piece)), out=result)
        return out

    def backward(self, x: Array, y: Array, dy: Array, buffers: Buffers) -> Array:
        for piece, result, gradient in pieces(x, y, dy):
            share = write_sigmoid(piece, np.empty_like(piece))
            slope = np.subtract(1, share)
            slope *= result
            slope += share
            gradient *= slope
        return dy


STRETCH = 4.0  # of the whole numbers the one with the smallest error in float64


def _upper_tail(size: Array) -> tuple[Array, Array]:
    """r and b with Φ(-a) = r * b for a >= 0, where b = exp(-a²/2) takes all of the fall and r is smooth.

    Schonfelder (1978): such an r is very nearly a polynomial in t = 1 / (a + STRETCH).
    """
    coefficients = _tail_coefficients(size.dtype)
    t = np.add(size, STRETCH)
    np.divide(1, t, out=t)
    r = np.multiply(t, coefficients[-1])
    for coefficient in coefficients[-2:0:-1]:
        r += coefficient
        r *= t
    r += coefficients[0]
    np.multiply(size, size, out=t)
    t *= -0.5
    return r, np.exp(t, out=t)


@cache
def _tail_coefficients(dtype: np.dtype[np.floating]) -> tuple[float, ...]:
    """Of the polynomial that meets r at Chebyshev's points for a from 0 to 4; beyond, exp(-a²/2) hides what it errs.

    y is then wrong by less than 3e-7 for float32 and 2e-15 for float64, most of which is rounding.
    """
    degree = 6 if dtype.itemsize <= 4 else 14

    def exact(t: Array) -> Array:
        sizes = 1 / t - STRETCH
        return np.array([math.exp(a * a / 2) * math.erfc(a / math.sqrt(2)) / 2 for a in sizes])

    series = np.polynomial.Chebyshev.interpolate(exact, degree, domain=[1 / (4 + STRETCH), 1 / STRETCH])
    return tuple(float(value) for value in series.convert(kind=np.polynomial.Polynomial).coef)
