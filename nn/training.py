"""The training loop: one record an epoch. Saving, showing and cancelling belong to the caller."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from nn.arrays import Array, Buffers
from nn.data import Batch, Data, in_order, minibatches
from nn.descent import average, step
from nn.metrics import is_better
from nn.parameters import FlatBuffer
from nn.plan import EarlyStopping, Plan, Target
from nn.schedules import ReduceOnPlateau, warmed
from nn.state import State, copy_generator
from nn.totals import Totals

__all__ = ["Diverged", "EarlyStopping", "Epoch", "Plan", "State", "Target", "evaluate", "gradient", "train"]

EVALUATION_BATCH = 256
Log = Callable[[int, dict[str, float]], None]  # is told a step, from 1, and its numbers


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
    log: Log | None = None,
) -> Iterator[Epoch]:
    """Train from `state` on, changing it, and yield each epoch once `state` stands at its end.

    `stop` is asked before every step, and may take a snapshot of `state`; when it says yes the iterator ends. Training
    on from `state` (or from a snapshot) ends with the same bytes as never having stopped.

    `log` is told of every `plan.log_every`-th step as soon as it is done: `loss` (of its batch, before the update),
    `learning_rate` and `gradient_norm`. Steps are counted over the whole training, whoever stops it.
    """
    monitor = plan.monitor(validation is not None)
    loop = Loop(plan, state, data, log if plan.log_every else None)
    while not state.finished:
        shuffle = copy_generator(state.shuffle)
        if not loop.steps(shuffle.permutation(len(data)), stop):
            return
        metrics = epoch_metrics(plan, state, validation)
        state.shuffle = shuffle
        yield close_epoch(plan, state, metrics, monitor, len(data))


class Loop:
    """One training's inner loop, with the memory that its steps share."""

    def __init__(self, plan: Plan, state: State, data: Data, log: Log | None = None) -> None:
        self.plan, self.state, self.data, self.log = plan, state, data, log
        self.targets = checked_targets(plan, data)
        self.labels = metric_labels(plan, data, self.targets)
        self.gradients, self.buffers = state.parameters.like(), Buffers()
        self.loss_buffers = self.buffers.scope("loss")
        self.loss = math.nan  # of the last batch; after `accumulate`, of its batches together
        self.sum = np.zeros_like(state.parameters.flat) if plan.accumulate > 1 else None
        self.updates = plan.updates_per_epoch(len(data))

    def steps(self, order: Array, stop: Callable[[], bool] | None) -> bool:
        """One update for each batch from the cursor on; whether they were all done."""
        plan, state = self.plan, self.state
        began = time.perf_counter() - state.seconds
        batches = minibatches(self.data, self.targets, self.labels, order, plan.batch_size, state.cursor)
        # Infinities show in the loss, not in warnings.
        with np.errstate(all="ignore"):
            while state.cursor < len(order):
                if stop is not None:
                    state.seconds = time.perf_counter() - began
                    if stop():
                        return False
                if self.sum is None:
                    self.differentiate(next(batches))
                else:
                    self.accumulate(batches, self.sum)
                rate = learning_rate(plan, state, self.updates)
                if self.log is None:
                    self.update(rate)
                else:
                    self.logged_update(rate, self.log)
        state.seconds = time.perf_counter() - began
        return True

    def differentiate(self, batch: Batch) -> float:
        """Forward, loss, backward: the gradients of a batch's mean loss. Returns what its samples weigh together."""
        plan, state, buffers = self.plan, self.state, self.buffers
        x = batch.x if self.data.augment is None else self.data.augmented(batch.x, state.noise, buffers.scope("images"))
        outputs, caches = plan.network.run(state.parameters, x, rng=state.noise, training=True, buffers=buffers)
        value, gradient = plan.loss(outputs, batch.targets, self.loss_buffers, batch.weights)
        self.loss = float(value)
        if not math.isfinite(self.loss):
            raise Diverged(state.epoch + 1, state.step + 1, _cause(x, outputs, batch.targets))
        weight = len(x) if batch.weights is None else float(batch.weights.sum())
        state.totals.add(self.loss, weight, outputs, batch.labels, self.loss_buffers)
        plan.network.run_back(state.parameters, self.gradients, caches, gradient, buffers=buffers, input_gradient=False)
        state.cursor += len(x)
        state.samples += len(x)
        return weight

    def accumulate(self, batches: Iterator[Batch], total: Array) -> None:
        """The gradients of several batches' mean loss together, as if they were one large batch."""
        total[...] = 0
        loss = weights = 0.0
        for _, batch in zip(range(self.plan.accumulate), batches, strict=False):
            weight = self.differentiate(batch)
            self.gradients.flat *= weight
            total += self.gradients.flat
            loss += self.loss * weight
            weights += weight
        np.divide(total, weights or 1.0, out=self.gradients.flat)
        self.loss = loss / (weights or 1.0)

    def update(self, rate: float) -> None:
        """The next parameters, from the gradients."""
        plan, state, parameters, gradients = self.plan, self.state, self.state.parameters.flat, self.gradients.flat
        state.optimizer = step(plan, state.optimizer, parameters, gradients, rate, self.buffers)
        if state.average is not None:
            assert plan.average is not None
            average(state.average.flat, parameters, plan.average, state.step, scratch=gradients)

    def logged_update(self, rate: float, log: Log) -> None:
        """`update`, and `log` is told of every so many steps. The gradient is measured before it is clipped."""
        every = self.plan.log_every
        if not every or (self.state.step + 1) % every:
            self.update(rate)
            return
        norm = float(np.linalg.norm(self.gradients.flat))
        self.update(rate)
        log(self.state.step, {"loss": self.loss, "learning_rate": rate, "gradient_norm": norm})


def learning_rate(plan: Plan, state: State, updates: int) -> float:
    """That of the next step: the optimizer's, times the schedule's factor, times what plateaus made of it."""
    if plan.rate_stays:  # small networks take 40 µs a step
        return plan.optimizer.learning_rate
    steps, warmup = plan.epochs * updates, round(plan.warmup * updates)
    factor = warmed(plan.schedule, warmup, state.step, steps, updates)
    return plan.optimizer.learning_rate * factor * state.rate_scale


def epoch_metrics(plan: Plan, state: State, validation: Data | None) -> dict[str, float]:
    """The means of the epoch just run, and those of the validation split with the weights it ended with."""
    began = time.perf_counter()
    metrics = state.totals.values()
    if validation is not None:
        measured = evaluate(plan, state.last_parameters, validation)
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
    state.elapsed += seconds
    is_best = is_better(monitor, value, state.best_value)
    if is_best:
        state.keep_best(state.epoch, value)
    if isinstance(plan.schedule, ReduceOnPlateau):
        kept = state.rate_value, state.rate_waited, state.rate_scale
        state.rate_value, state.rate_waited, state.rate_scale = plan.schedule.after(
            metrics[plan.schedule.monitor], *kept
        )
    state.ended = ending(plan, state, metrics)
    if state.finished and plan.early_stopping is not None:
        np.copyto(state.parameters.flat, state.best_parameters.flat)
        np.copyto(state.last_parameters.flat, state.best_parameters.flat)
    state.begin_epoch()
    return Epoch(state.epoch, metrics, seconds, samples, plan.updates_per_epoch(samples), is_best)


def ending(plan: Plan, state: State, metrics: dict[str, float]) -> str | None:
    """Why the training ends with this epoch, one of nn.state.ENDINGS, or None if it goes on."""
    if plan.early_stopping is not None:
        waited_enough = watch(plan.early_stopping, state, metrics[plan.early_stopping.monitor])
    if plan.target is not None and not is_better(plan.target.monitor, plan.target.value, metrics[plan.target.monitor]):
        return "target"
    if state.epoch == plan.epochs:
        return "epochs"
    if plan.early_stopping is not None and waited_enough:
        return "early_stopping"
    return "max_seconds" if plan.max_seconds is not None and state.elapsed >= plan.max_seconds else None


def watch(early_stopping: EarlyStopping, state: State, value: float) -> bool:
    """Count the epochs since the metric last got better by more than min_delta; whether they are too many."""
    if is_better(early_stopping.monitor, value, state.wait_value, by=early_stopping.min_delta):
        state.waited, state.wait_value = 0, value
    else:
        state.waited += 1
    return state.waited >= early_stopping.patience


def evaluate(plan: Plan, parameters: Array | FlatBuffer, data: Data) -> dict[str, float]:
    """Loss and metrics of these parameters on the data, dropout off."""
    targets, parameters, buffers = checked_targets(plan, data), plan.network.parameters(parameters), Buffers()
    labels, totals, kept = metric_labels(plan, data, targets), Totals(plan.metric_parts), []
    whole = {name: metric for name, metric in plan.metric_parts.items() if metric.whole}
    with np.errstate(all="ignore"):
        for batch in in_order(data, targets, labels, max(plan.batch_size, EVALUATION_BATCH)):
            outputs, _ = plan.network.forward(parameters, batch.x, buffers=buffers)
            value = plan.loss.value(outputs, batch.targets, buffers.scope("loss"), batch.weights)
            weight = len(outputs) if batch.weights is None else float(batch.weights.sum())
            totals.add(float(value), weight, outputs, batch.labels, buffers.scope("loss"))
            if whole:
                kept.append(outputs.copy())
        found = totals.values()
        for name, metric in whole.items():
            found[name] = metric.value(metric.statistics(np.concatenate(kept), labels, buffers), len(data))
    return {name: found[name] for name in ("loss", *plan.metrics)}


def gradient(plan: Plan, parameters: Array | FlatBuffer, data: Data) -> FlatBuffer:
    """The gradient of the data's mean loss by these parameters, which stay as they are; without L1 and L2.

    Of the network as it answers: dropout is off, batch_norm takes its running mean and variance (and so each row counts
    for itself), images are not augmented. It is nothing for frozen layers and for statistics, as in training. Takes the
    memory of a training's step.
    """
    targets, parameters, buffers = checked_targets(plan, data), plan.network.parameters(parameters), Buffers()
    labels, found, total, weights = metric_labels(plan, data, targets), parameters.like(), parameters.like(), 0.0
    with np.errstate(all="ignore"):
        for batch in in_order(data, targets, labels, plan.batch_size):
            x = batch.x.astype(parameters.flat.dtype, copy=False)
            outputs, caches = plan.network.forward(parameters, x, buffers=buffers)
            _, dy = plan.loss(outputs, batch.targets, buffers.scope("loss"), batch.weights)
            plan.network.backward(parameters, found, caches, dy, buffers=buffers)
            weight = len(outputs) if batch.weights is None else float(batch.weights.sum())
            found.flat *= weight
            total.flat += found.flat
            weights += weight
        total.flat /= weights or 1.0
    for span in plan.network.frozen_spans:
        total.flat[span] = 0
    return total


def checked_targets(plan: Plan, data: Data) -> Array:
    """The labels in the loss's form. ValueError if the data does not fit the network."""
    if not len(data):
        raise ValueError("there is no sample")
    if data.features.shape[1:] != plan.network.input_shape:
        found, wanted = data.features.shape[1:], plan.network.input_shape
        raise ValueError(f"a sample has the shape {found}, and the network takes {wanted}")
    return plan.loss.targets(data.labels, plan.outputs)


def metric_labels(plan: Plan, data: Data, targets: Array) -> Array:
    """The labels as metrics read them: int64 (n,) classes, bool (n, labels) for several at once, float32 numbers."""
    if data.labels.dtype.kind == "i":
        return data.labels
    return targets > 0.5 if "multilabel" in plan.loss.tasks else targets


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
