"""What is to be trained, and how: all that a training needs besides its data and its state."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from nn.losses import Loss
from nn.metrics import METRICS, Metric, base_name
from nn.network import Network
from nn.optimizers import Optimizer
from nn.registry import Settings, setting


@dataclass(frozen=True)
class EarlyStopping(Settings):
    """End the training when a metric stops getting better, and go back to the best weights. Prechelt (1998)."""

    monitor: str = setting("val_loss", doc="the metric watched")
    patience: int = setting(5, least=1, doc="how many epochs without getting better are too many")
    min_delta: float = setting(0.0, least=0, doc="getting better by no more than this does not count")


@dataclass(frozen=True)
class Plan(Settings):
    """A network, a loss, an optimizer and how long. `metrics` are names of the registry; `loss` is always there."""

    network: Network
    loss: Loss
    optimizer: Optimizer
    epochs: int = setting(10, least=1)
    batch_size: int = setting(32, least=1)
    metrics: tuple[str, ...] = ()
    seed: int = setting(0, least=0)
    early_stopping: EarlyStopping | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.metrics:
            if name not in METRICS:
                raise ValueError(f"there is no metric called {name!r}; there are {', '.join(METRICS)}")
        known = ("loss", *self.metrics)
        if self.early_stopping and base_name(self.early_stopping.monitor) not in known:
            raise ValueError(f"early_stopping: {self.early_stopping.monitor} is not measured, only {', '.join(known)}")
        fitting, found = self.loss.output_activations, self.network.output_activation
        if found not in fitting:
            raise ValueError(f"{self.loss.kind} needs outputs that are {' or '.join(sorted(fitting))}, not {found}")
        if len(self.network.output_shape) != 1:
            raise ValueError(f"a loss needs outputs of shape (outputs,), got {self.network.output_shape}")

    @cached_property
    def metric_parts(self) -> tuple[tuple[str, Metric], ...]:
        return tuple((name, METRICS[name]()) for name in self.metrics)

    @property
    def outputs(self) -> int:
        return self.network.output_shape[0]

    def monitor(self, validated: bool) -> str:
        """The metric that picks the best weights. ValueError if it needs a validation split and there is none."""
        if self.early_stopping is None:
            return "val_loss" if validated else "loss"
        name = self.early_stopping.monitor
        if name.startswith("val_") and not validated:
            raise ValueError(f"early_stopping watches {name}, and there is no validation split")
        if name.startswith("test_"):
            raise ValueError(f"early_stopping watches {name}, and the test split is not for choosing weights")
        return name
