"""What a person wants to know of a network: numbers with a direction. A file a family; `base` has the contract."""

# In the order in which they are listed to people.
# isort: off
from nn.metrics.base import METRICS, Direction, Metric, base_name, direction, fitting, is_better, metric
from nn.metrics.decisions import Accuracy, TopK, decided
from nn.metrics.counts import F1, PerClass, Precision, Recall, confusion, per_class, per_label
from nn.metrics.ranking import LogLoss, RocAuc
from nn.metrics.numbers import MeanAbsoluteError, R2, RootMeanSquaredError
# isort: on

__all__ = [
    "F1",
    "METRICS",
    "R2",
    "Accuracy",
    "Direction",
    "LogLoss",
    "MeanAbsoluteError",
    "Metric",
    "PerClass",
    "Precision",
    "Recall",
    "RocAuc",
    "RootMeanSquaredError",
    "TopK",
    "base_name",
    "confusion",
    "decided",
    "direction",
    "fitting",
    "is_better",
    "metric",
    "per_class",
    "per_label",
]
