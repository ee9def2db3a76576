"""The training loop: one record an epoch. Saving, showing and cancelling belong to the caller."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nn.arrays import Array, Buffers
from nn.data import Data, minibatches
from nn.metrics import is_better
from nn.parameters import FlatBuffer
from nn.plan import EarlyStopping, Plan
from nn.state import State, copy_generator

__all__ = ["Diverged", "EarlyStopping", "Epoch", "Plan", "State", "evaluate", "train"]

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class Epoch:
    """One epoch's record. `metrics` has loss and the plan's metrics, and with validation each again as val_…"""

    epoch: int
    metrics: dict[str, float]
    seconds: float
    samples: int
    steps: int
    is_best: bool


class Diverged(ArithmeticError):
    """The loss or the weights are no longer finite; going on would be a waste. `step` counts from the start, from 1."""

    def __init__(self, epoch: int, step: int, cause: str) -> None:
        super().__init__(f"diverged in epoch {epoch} at step {step}: {cause}")
        self.epoch, self.step, self.cause = epoch, step, cause


def train(
    plan: Plan,
    state: State,
    data: Data,
    validation: Data | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Epoch]:
    """Train from `state` on, changing it, and yield each epoch once `state` stands at its end.

    `stop` is asked before every step; when it says yes the iterator ends with `state` between two steps, and training
    on from it (or from its snapshot) ends with the same bytes as never having stopped.
    """
    targets = checked_targets(plan, data)
    monitor = plan.monitor(validation is not None)
    gradients, buffers = state.parameters.like(), Buffers()
    while not state.finished:
        began = time.perf_counter()
        shuffle = copy_generator(state.shuffle)
        order = shuffle.permutation(len(data))
        batches = minibatches(data.features, targets, order, plan.batch_size, state.cursor)
        completed = run_steps(plan, state, data, batches, gradients, buffers, stop)
        state.seconds += time.perf_counter() - began
        if not completed:
            return
        metrics = epoch_metrics(plan, state, len(data), validation)
        state.shuffle = shuffle
        yield close_epoch(plan, state, metrics, monitor, len(data))


def run_steps(
    plan: Plan,
    state: State,
    data: Data,
    batches: Iterable[tuple[Array, Array]],
    gradients: FlatBuffer,
    buffers: Buffers,
    stop: Callable[[], bool] | None,
) -> bool:
    """One update for each batch; whether the batches were all done. Infinities show in the loss, not in warnings."""
    network, loss, optimizer, parameters = plan.network, plan.loss, plan.optimizer, state.parameters
    loss_buffers, image_buffers = buffers.scope("loss"), buffers.scope("images")
    with np.errstate(all="ignore"):
        for stored, targets in batches:
            if stop is not None and stop():
                return False
            x = data.augmented(stored, state.noise, image_buffers)
            outputs, caches = network.forward(parameters, x, rng=state.noise, training=True, buffers=buffers)
            value, gradient = loss(outputs, targets, loss_buffers)
            if not math.isfinite(value):
                raise Diverged(state.epoch + 1, state.step + 1, _cause(x, outputs, targets))
            add_totals(plan, state.totals, value, outputs, targets, loss_buffers)
            network.backward(parameters, gradients, caches, gradient, buffers=buffers)
            state.optimizer = optimizer.update(state.optimizer, parameters.flat, gradients.flat)
            state.cursor += len(x)
            state.samples += len(x)
    return True


def add_totals(
    plan: Plan, totals: dict[str, float], value: Array, outputs: Array, targets: Array, buffers: Buffers
) -> None:
    """Add a batch's loss and metrics, weighted by its samples."""
    totals["loss"] += float(value) * len(outputs)
    for name, metric in plan.metric_parts:
        totals[name] += float(metric.total(outputs, targets, buffers))


def epoch_metrics(plan: Plan, state: State, samples: int, validation: Data | None) -> dict[str, float]:
    """The means of the epoch just run, and those of the validation split with the weights it ended with."""
    began = time.perf_counter()
    metrics = {name: total / samples for name, total in state.totals.items()}
    if validation is not None:
        measured = evaluate(plan, state.parameters, validation)
        metrics |= {f"val_{name}": value for name, value in measured.items()}
    state.seconds += time.perf_counter() - began
    # The last update of an epoch is followed by no loss that would show what it did.
    wrong = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not np.isfinite(state.parameters.flat).all():
        wrong.append("the weights")
    if wrong:
        cause = f"not finite at the epoch's end: {', '.join(wrong)}; the learning rate is probably too high"
        raise Diverged(state.epoch + 1, state.step, cause)
    return metrics


def close_epoch(plan: Plan, state: State, metrics: dict[str, float], monitor: str, samples: int) -> Epoch:
    """Move the state to the epoch's end: the best weights, early stopping, counters."""
    value, seconds = metrics[monitor], state.seconds
    state.epoch += 1
    is_best = is_better(monitor, value, state.best_value)
    if is_best:
        state.keep_best(state.epoch, value)
    if plan.early_stopping is not None:
        watch(plan.early_stopping, state, value)
    state.finished = state.stopped_early or state.epoch == plan.epochs
    if state.finished and plan.early_stopping is not None:
        np.copyto(state.parameters.flat, state.best_parameters.flat)
    state.begin_epoch()
    steps = math.ceil(samples / plan.batch_size)
    return Epoch(state.epoch, metrics, seconds, samples, steps, is_best)


def watch(early_stopping: EarlyStopping, state: State, value: float) -> None:
    """Count the epochs since the metric last got better by more than min_delta."""
    if is_better(early_stopping.monitor, value, state.wait_value, by=early_stopping.min_delta):
        state.waited, state.wait_value = 0, value
    else:
        state.waited += 1
        state.stopped_early = state.waited >= early_stopping.patience


def evaluate(plan: Plan, parameters: Array | FlatBuffer, data: Data) -> dict[str, float]:
    """Loss and metrics of these parameters on the data, dropout off."""
    targets, parameters, buffers = checked_targets(plan, data), plan.network.parameters(parameters), Buffers()
    batch_size = max(plan.batch_size, EVALUATION_BATCH)
    totals = dict.fromkeys(("loss", *plan.metrics), 0.0)
    with np.errstate(all="ignore"):
        for start in range(0, len(data), batch_size):
            part = slice(start, start + batch_size)
            outputs, _ = plan.network.forward(parameters, data.inputs(data.features[part]), buffers=buffers)
            value = plan.loss.value(outputs, targets[part], buffers.scope("loss"))
            add_totals(plan, totals, value, outputs, targets[part], buffers.scope("loss"))
    return {name: total / len(data) for name, total in totals.items()}


def checked_targets(plan: Plan, data: Data) -> Array:
    """The labels in the loss's form. ValueError if the data does not fit the network."""
    if not len(data):
        raise ValueError("there is no sample")
    if data.features.shape[1:] != plan.network.input_shape:
        found, wanted = data.features.shape[1:], plan.network.input_shape
        raise ValueError(f"a sample has the shape {found}, and the network takes {wanted}")
    return plan.loss.targets(data.labels, plan.outputs)


def _cause(x: Array, outputs: Array, targets: Array) -> str:
    """The likeliest reason for a loss that is not finite, in words."""
    if not np.isfinite(x).all():
        return "the features of this batch are not all finite"
    if not np.isfinite(targets).all():
        return "the targets of this batch are not all finite"
    if not np.isfinite(outputs).all():
        return "the outputs are not finite: the weights grew without bound; the learning rate is probably too high"
    largest = float(np.abs(outputs).max())
    return (
        f"the outputs are finite but as large as {largest:.1e}; lower the learning rate or scale features and targets"
    )
