"""The learning-rate finder: a short training whose rate grows from far too small to far too large.

Smith (2017), "Cyclical learning rates for training neural networks", section 3.3. Its loss first stays, then falls,
then explodes. A good rate lies where it falls fastest. Nothing of the training is kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nn.arrays import Array, Arrays
from nn.data import Batch, Data, minibatches
from nn.plan import Plan
from nn.schedules import ConstantRate
from nn.state import State
from nn.training import Diverged, Loop

SMOOTHING = 0.95  # how much of the running mean of losses stays from step to step
EXPLODED = 4.0  # so many times the lowest loss ends the search
SETTLING = 0.1  # the share of the steps, the first ones, whose loss is the noise of a few batches


@dataclass(frozen=True)
class Rates:
    """rates and smoothed losses (steps,), as far as the loss stayed within bounds; `suggestion` is one of the rates."""

    rates: Array
    losses: Array
    suggestion: float


def find_rate(
    plan: Plan,
    data: Data,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
    begin: Arrays | None = None,
) -> Rates:
    """Try learning rates from `lowest` to `highest`, one a step, evenly on a logarithmic scale.

    `begin` holds the parameters to begin with, as in `State.start`. Raises ValueError if the loss never falls.
    """
    rates = np.geomspace(lowest, highest, steps)
    plan = replace(plan, schedule=ConstantRate(), warmup=0.0, accumulate=1, early_stopping=None, target=None)
    state = State.start(plan, begin=begin)
    loop = Loop(plan, state, data)
    smoothed: list[float] = []
    least, settled = math.inf, int(SETTLING * steps)
    with np.errstate(all="ignore"):
        for loss in _smoothed(_losses(loop, rates)):
            smoothed.append(loss)
            least = min(loss, least) if len(smoothed) > settled else math.inf
            if loss > EXPLODED * least:
                break
    return _suggested(rates[: len(smoothed)], np.array(smoothed), settled)


def _losses(loop: Loop, rates: Array) -> Iterator[float]:
    """The loss before each step, as long as it is finite."""
    for rate, batch in zip(rates, _endless(loop), strict=False):
        try:
            loop.differentiate(batch)
        except Diverged:
            return
        yield loop.loss
        loop.update(float(rate))


def _endless(loop: Loop) -> Iterator[Batch]:
    """Batches in an order drawn anew whenever all samples were used."""
    while True:
        order = loop.state.shuffle.permutation(len(loop.data))
        yield from minibatches(loop.data, loop.targets, loop.labels, order, loop.plan.batch_size)


def _smoothed(losses: Iterable[float]) -> Iterator[float]:
    """The running mean of the losses, corrected for its start at 0, as Adam's."""
    mean = 0.0
    for number, loss in enumerate(losses, 1):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        yield mean / (1 - SMOOTHING**number)


def _suggested(rates: Array, losses: Array, settled: int) -> Rates:
    """The rate where the loss falls fastest between the step where it has settled and the one where it is lowest."""
    end = settled + int(losses[settled:].argmin()) + 1 if len(losses) > settled else 0
    if end - settled < 5:
        raise ValueError("the loss does not fall at any of these learning rates; begin with a lower one")
    width = max(1, len(losses) // 20)
    slopes = np.convolve(np.gradient(losses), np.full(width, 1 / width), mode="same")
    return Rates(rates, losses, float(rates[settled + slopes[settled:end].argmin()]))
