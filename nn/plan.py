"""What is to be trained, and how: all that a training needs besides its data and its state."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from nn.losses import Loss
from nn.metrics import Metric, base_name, metric
from nn.network import Network
from nn.optimizers import Optimizer
from nn.registry import Settings, setting
from nn.schedules import ConstantRate, ReduceOnPlateau, Schedule

CONSTANT = ConstantRate()


@dataclass(frozen=True)
class EarlyStopping(Settings):
    """End the training when a metric stops getting better, and go back to the best weights. Prechelt (1998)."""

    monitor: str = setting("val_loss", doc="the metric watched")
    patience: int = setting(5, least=1, doc="how many epochs without getting better are too many")
    min_delta: float = setting(0.0, least=0, doc="getting better by no more than this does not count")


@dataclass(frozen=True)
class Target(Settings):
    """End the training at the first epoch whose metric is as good as this."""

    monitor: str = setting(doc="the metric watched")
    value: float = setting(doc="what it has to reach")


@dataclass(frozen=True)
class Plan(Settings):
    """A network, a loss, an optimizer and how long. `metrics` are names of the registry; `loss` is always there."""

    network: Network
    loss: Loss
    optimizer: Optimizer
    schedule: Schedule = CONSTANT
    epochs: int = setting(10, least=1)
    batch_size: int = setting(32, least=1)
    accumulate: int = setting(1, least=1)
    warmup: float = setting(0.0, least=0)
    metrics: tuple[str, ...] = ()
    seed: int = setting(0, least=0)
    l1: float = setting(0.0, least=0)
    l2: float = setting(0.0, least=0)
    clip_norm: float | None = setting(None, above=0)
    clip_value: float | None = setting(None, above=0)
    average: float | None = setting(None, above=0, below=1)
    early_stopping: EarlyStopping | None = None
    target: Target | None = None
    max_seconds: float | None = setting(None, above=0)
    log_every: int | None = setting(None, least=1)  # steps

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.metrics:
            self._check_metric(name)
        for key, name in self.monitors.items():
            if base_name(name) not in ("loss", *self.metrics):
                known = ", ".join(("loss", *self.metrics))
                raise ValueError(f"{key}: {name} is not measured, only {known}")
        fitting, found = self.loss.output_activations, self.network.output_activation
        if found not in fitting:
            raise ValueError(f"{self.loss.kind} needs outputs that are {' or '.join(sorted(fitting))}, not {found}")
        if len(self.network.output_shape) != 1:
            raise ValueError(f"a loss needs outputs of shape (outputs,), got {self.network.output_shape}")

    def _check_metric(self, name: str) -> None:
        try:
            losses = metric(name).losses
        except KeyError as error:
            raise ValueError(error.args[0]) from None
        if losses is not None and self.loss.kind not in losses:
            raise ValueError(f"{name} needs the loss {' or '.join(sorted(losses))}, not {self.loss.kind}")

    @cached_property
    def metric_parts(self) -> Mapping[str, Metric]:
        return {name: metric(name) for name in self.metrics}

    @cached_property
    def rate_stays(self) -> bool:
        """Whether every step is taken with the optimizer's own learning rate."""
        return isinstance(self.schedule, ConstantRate) and not self.warmup

    @cached_property
    def plain(self) -> bool:
        """Whether a step is the optimizer's update and nothing else."""
        penalties = self.l1 or self.l2 or self.optimizer.weight_decay
        return not (penalties or self.clip_norm or self.clip_value or self.network.frozen_spans)

    @property
    def monitors(self) -> dict[str, str]:
        """Which metric decides what."""
        parts = {"early_stopping": self.early_stopping, "target": self.target}
        found = {key: part.monitor for key, part in parts.items() if part is not None}
        if isinstance(self.schedule, ReduceOnPlateau):
            found["schedule"] = self.schedule.monitor
        return found

    def why_ended(self, ended: str | None) -> str | None:
        """The sentence for one of nn.state.ENDINGS; None when the epochs were simply done."""
        if ended == "early_stopping" and self.early_stopping is not None:
            patience = self.early_stopping.patience
            return f"{self.early_stopping.monitor} had not improved for {patience} epoch{'s' if patience > 1 else ''}"
        if ended == "target" and self.target is not None:
            return f"{self.target.monitor} reached {self.target.value:g}"
        return f"{self.max_seconds:g} s of training were used up" if ended == "max_seconds" else None

    @property
    def outputs(self) -> int:
        return self.network.output_shape[0]

    def updates_per_epoch(self, samples: int) -> int:
        return math.ceil(samples / (self.batch_size * self.accumulate))

    def monitor(self, validated: bool) -> str:
        """The metric that picks the best weights. ValueError if one that is watched is not measured every epoch."""
        for key, name in self.monitors.items():
            if name.startswith("val_") and not validated:
                raise ValueError(f"{key} watches {name}, and there is no validation split")
            if name.startswith("test_"):
                raise ValueError(f"{key} watches {name}, and the test split is not for choosing weights")
            if name in self.metrics and self.metric_parts[name].whole:
                raise ValueError(f"{key} watches {name}, which is measured on validation only; use val_{name}")
        if self.early_stopping is not None:
            return self.early_stopping.monitor
        return "val_loss" if validated else "loss"
