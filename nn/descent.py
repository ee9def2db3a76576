"""From gradients to the next parameters: what happens between backward and the end of a step.

In this order: gradients of frozen layers and of statistics are nothing; L1 and L2 are added (their gradients, so that
what is clipped is the gradient of the whole objective, as in Keras); clipping by value, then by norm; decoupled weight
decay; the optimizer's update; the moving average of the weights. All of it works on the flat vectors (..., size).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nn.arrays import Array, Buffers
from nn.optimizers.base import BLOCK

if TYPE_CHECKING:
    from nn.plan import Plan


def step(plan: Plan, state: Any, parameters: Array, gradients: Array, learning_rate: float, buffers: Buffers) -> Any:
    """One update of the parameters in place; returns the optimizer's new state. The gradients are garbage after it."""
    if not plan.plain:
        prepare(plan, parameters, gradients, learning_rate, buffers)
    return plan.optimizer.update(state, parameters, gradients, learning_rate)


def prepare(plan: Plan, parameters: Array, gradients: Array, learning_rate: float, buffers: Buffers) -> None:
    """All that comes before the optimizer's update."""
    for span in plan.network.frozen_spans:
        gradients[..., span] = 0
    if plan.l1 or plan.l2:
        add_penalties(parameters, gradients, plan.network.decayed_spans, plan.l1, plan.l2, buffers)
    if plan.clip_value is not None:
        np.clip(gradients, -plan.clip_value, plan.clip_value, out=gradients)
    if plan.clip_norm is not None:
        clip_norm(gradients, plan.clip_norm)
    if plan.optimizer.weight_decay:
        for span in plan.network.decayed_spans:
            parameters[..., span] *= 1 - learning_rate * plan.optimizer.weight_decay


def add_penalties(
    parameters: Array, gradients: Array, spans: Sequence[slice], l1: float, l2: float, buffers: Buffers
) -> None:
    """Add the gradient of l1 * Σ|w| + l2 / 2 * Σw² over the spans: l1 * sign(w) + l2 * w. Goodfellow (2016), 7.1."""
    for piece in pieces(spans, BLOCK // parameters.itemsize):
        w, g = parameters[..., piece], gradients[..., piece]
        scratch = buffers.array("scratch", w.shape, w.dtype)
        if l2:
            g += np.multiply(w, l2, out=scratch)
        if l1:
            np.sign(w, out=scratch)
            scratch *= l1
            g += scratch


def clip_norm(gradients: Array, most: float) -> None:
    """Shorten each network's gradient to a length of at most `most`. Pascanu et al. (2013), algorithm 1."""
    norm = np.sqrt(np.vecdot(gradients, gradients))
    # A norm beyond the float range is infinite, and the gradient becomes 0 or NaN, which the loop reports.
    gradients *= (most / np.maximum(norm, most))[..., None]


def average(averaged: Array, parameters: Array, decay: float, step: int, scratch: Array) -> None:
    """averaged += (1 - d) * (parameters - averaged), the moving average of Polyak & Juditsky (1992).

    d = min(decay, (1 + step) / (10 + step)), as in TensorFlow, so that the first weights are soon forgotten.
    """
    share = 1 - min(decay, (1 + step) / (10 + step))
    np.subtract(parameters, averaged, out=scratch)
    scratch *= share
    averaged += scratch


def pieces(spans: Sequence[slice], length: int) -> Iterator[slice]:
    """The spans cut into pieces that stay in the cache."""
    for span in spans:
        for start in range(span.start, span.stop, length):
            yield slice(start, min(start + length, span.stop))
