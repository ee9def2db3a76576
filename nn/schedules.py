"""How the learning rate changes while training: a factor for every step, by which the optimizer's own is multiplied."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache

from nn.metrics import is_better
from nn.registry import Registry, Settings, setting


@dataclass(frozen=True)
class Schedule(Settings):
    """step, steps -> factor, without memory, so that a resumed training needs nothing but its step."""

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        """The share of the learning rate at this step, counted from 0, of `steps` in all."""
        raise NotImplementedError


SCHEDULES: Registry[type[Schedule]] = Registry("schedule")


def warmed(schedule: Schedule, warmup_steps: int, step: int, steps: int, steps_per_epoch: int) -> float:
    """The factor with a linear warm-up: up to the schedule's first one, and from there the schedule over the rest.

    Goyal et al. (2017), section 2.2. The first step is taken with 1 / warmup_steps of it, the last with all of it.
    """
    rest = max(steps - warmup_steps, 1)  # a warm-up longer than the training never gets to the schedule
    if step < warmup_steps:
        return (step + 1) / warmup_steps * schedule.factor(0, rest, steps_per_epoch)
    return schedule.factor(step - warmup_steps, rest, steps_per_epoch)


@SCHEDULES.register("constant")
@dataclass(frozen=True)
class ConstantRate(Schedule):
    """1: the learning rate stays."""

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return 1.0


@SCHEDULES.register("step")
@dataclass(frozen=True)
class StepDecay(Schedule):
    """gamma ^ floor(epoch / every): one drop every so many epochs. PyTorch's StepLR."""

    every: int = setting(10, least=1, doc="how many epochs from drop to drop")
    gamma: float = setting(0.1, above=0, most=1, doc="what each drop multiplies the learning rate with")

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step // steps_per_epoch // self.every))


@SCHEDULES.register("exponential")
@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """gamma ^ (step / steps_per_epoch): the same share lost in every epoch, smoothly from step to step.

    At each epoch's first step it is PyTorch's ExponentialLR.
    """

    gamma: float = setting(0.95, above=0, most=1, doc="what an epoch multiplies the learning rate with")

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return float(self.gamma ** (step / steps_per_epoch))


@SCHEDULES.register("polynomial")
@dataclass(frozen=True)
class PolynomialDecay(Schedule):
    """final + (1 - final) * (1 - step / steps) ^ power: a straight line down for power 1.

    The last step is one step before `final`, so that no step is taken with 0. PyTorch's PolynomialLR for final 0.
    """

    power: float = setting(1.0, above=0, doc="1 is a line, more falls faster at first")
    final: float = setting(0.0, least=0, most=1, doc="the share of the learning rate at the end")

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return _between(self.final, 1.0, (1 - step / steps) ** self.power)


@SCHEDULES.register("cosine")
@dataclass(frozen=True)
class CosineDecay(Schedule):
    """final + (1 - final) * (1 + cos(pi * progress)) / 2: slow at first, fast in the middle, slow at the end.

    Loshchilov & Hutter (2017), eq. 5: with restarts it begins anew at 1 in every cycle, and `progress` is that of the
    cycle. PyTorch's CosineAnnealingLR and CosineAnnealingWarmRestarts, whose cycles end together with the training.
    """

    final: float = setting(0.0, least=0, most=1, doc="the share of the learning rate at a cycle's end")
    restarts: int = setting(0, least=0, most=100, doc="how often it begins anew")
    growth: float = setting(1.0, least=1, most=10, doc="how many times as long as the last each cycle is")

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        bounds = cycle_bounds(self.restarts, self.growth, steps)
        cycle = bisect_right(bounds, step, hi=len(bounds) - 1)
        begin, end = bounds[cycle - 1], bounds[cycle]
        return _between(self.final, 1.0, _half_cosine((step - begin) / (end - begin)))


@SCHEDULES.register("one_cycle")
@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up along a cosine from `start` to 1 at the share `rise` of the steps, then down along another to `final`.

    Smith (2018), section 4, as PyTorch's OneCycleLR, but in shares of the peak: the learning rate is the largest that
    is reached. The peak is at a whole step. The momentum stays as it is.
    """

    rise: float = setting(0.3, least=0, below=1, doc="the share of the steps that goes up")
    start: float = setting(0.04, above=0, most=1, doc="the share of the learning rate at the first step")
    final: float = setting(4e-6, least=0, most=1, doc="the share of the learning rate at the last step")

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        peak = max(round(self.rise * steps) - 1, 0)
        if step < peak:
            return _between(self.start, 1.0, 1 - _half_cosine(step / peak))
        return _between(self.final, 1.0, _half_cosine((step - peak) / max(steps - 1 - peak, 1)))


@SCHEDULES.register("reduce_on_plateau")
@dataclass(frozen=True)
class ReduceOnPlateau(Schedule):
    """Smaller by `gamma` whenever a metric has not become better for `patience` epochs, but never below `floor`.

    It depends on what is measured and so is not a function of the step: `factor` is 1, and the training multiplies it
    with a scale that `after` changes at each epoch's end. Patience is counted as by early stopping (and by Keras;
    PyTorch waits one epoch more).
    """

    monitor: str = setting("val_loss", doc="the metric watched")
    gamma: float = setting(0.1, above=0, below=1, doc="what a drop multiplies the learning rate with")
    patience: int = setting(5, least=1, doc="how many epochs without getting better are too many")
    min_delta: float = setting(0.0, least=0, doc="getting better by no more than this does not count")
    floor: float = setting(0.0, least=0, most=1, doc="the smallest share of the learning rate")

    def factor(self, step: int, steps: int, steps_per_epoch: int) -> float:
        return 1.0

    def after(self, value: float, best: float | None, waited: int, scale: float) -> tuple[float | None, int, float]:
        """Best value, epochs waited and scale after an epoch that measured `value`; before the first None, 0 and 1."""
        if is_better(self.monitor, value, best, by=self.min_delta):
            return value, 0, scale
        if waited + 1 < self.patience:
            return best, waited + 1, scale
        return best, 0, max(scale * self.gamma, self.floor)


@lru_cache(maxsize=32)
def cycle_bounds(restarts: int, growth: float, steps: int) -> tuple[int, ...]:
    """The steps at which cycles begin, and the last one's end. Whole steps, so that each cycle does begin at 1."""
    lengths = [growth**cycle for cycle in range(restarts + 1)]
    inner = [round(steps * sum(lengths[:cycle]) / sum(lengths)) for cycle in range(1, restarts + 1)]
    return 0, *inner, steps


def _half_cosine(progress: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return (1 + math.cos(math.pi * progress)) / 2


def _between(low: float, high: float, share: float) -> float:
    return low + (high - low) * share
