"""How good a trained network is on a split of the data it was submitted with, looked at from every side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import nn
from nn import Array, PerClass
from nn.metrics import fitting, metric
from service.assembly import Assembly, assemble
from service.datasets import Dataset, Schema
from service.errors import InputError
from service.prediction import raw_outputs
from service.weights import Weights
from service.wording import listed, unknown

SPLITS = ("test", "validation", "train")
GUESSES = 5  # with more classes than these, top_5 is measured


@dataclass(frozen=True)
class Evaluation:
    """`metrics` are the loss and every metric that fits the task and the loss.

    `classes` are the names of the classes or of several labels, `per_class` has an entry for each of them, and
    `confusion` int64 (classes, classes) has a row for the true and a column for the predicted class. Without classes
    the last two are None.
    """

    split: str
    rows: int
    metrics: Mapping[str, float]
    classes: tuple[str, ...]
    per_class: PerClass | None
    confusion: Array | None

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        from service.store.records import jsonable

        document = {"split": self.split, "rows": self.rows, "metrics": jsonable(dict(self.metrics))}
        if self.per_class is not None:
            columns = {name: array.tolist() for name, array in self.per_class._asdict().items()}
            rows = zip(self.classes, *columns.values(), strict=True)
            document["classes"] = [dict(zip(("name", *columns), row, strict=True)) for row in rows]
        if self.confusion is not None:
            document["confusion"] = self.confusion.tolist()
        return document

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Evaluation:
        """The other way of `document`."""
        classes = document.get("classes")
        names = tuple(row["name"] for row in classes or ())
        per_class = None
        if classes is not None:
            per_class = PerClass(*(np.array([row[name] for row in classes]) for name in PerClass._fields))
        confusion = document.get("confusion")
        metrics = {name: math.nan if value is None else value for name, value in document["metrics"].items()}
        return cls(
            document["split"], document["rows"], metrics, names, per_class,
            None if confusion is None else np.array(confusion, dtype=np.int64),
        )  # fmt: skip

    def confused(self) -> list[tuple[str, str, int]]:
        """What was taken for what, and how often: true class, predicted class, rows, the most frequent first."""
        if self.confusion is None:
            return []
        wrong = self.confusion * ~np.eye(len(self.classes), dtype=bool)
        pairs = sorted(np.argwhere(wrong).tolist(), key=lambda pair: -int(wrong[tuple(pair)]))
        return [(self.classes[true], self.classes[told], int(wrong[true, told])) for true, told in pairs]


def evaluate(weights: Weights, dataset: Dataset, split: str | None = None) -> Evaluation:
    """Judge the weights on a split of the dataset that they were trained from. Raises InputError if it has no rows.

    The loss is computed as in training, with as many BLAS threads, so it is that of the run's history.
    """
    return judge(assembly_of(weights, dataset), weights, dataset, split)


def assembly_of(weights: Weights, dataset: Dataset) -> Assembly:
    """The data in the splits that the weights were trained with, scaled as the network was taught."""
    return assemble(weights.spec, dataset, weights)


def judge(assembly: Assembly, weights: Weights, dataset: Dataset, split: str | None = None) -> Evaluation:
    """`evaluate`, for whoever has the assembly already."""
    split = _split(assembly, split)
    data, rows = getattr(assembly, split), getattr(assembly.outline, f"{split}_rows")
    with threadpool_limits(weights.spec.train.threads, user_api="blas"):
        recorded = nn.evaluate(assembly.plan, weights.parameters, data)
        outputs = raw_outputs(weights, dataset.features[rows])
    labels = _labels(dataset.schema, dataset.labels[rows])
    metrics = recorded | measure(_names(dataset.schema, assembly.plan.loss.kind), outputs, labels)
    return Evaluation(split, len(rows), metrics, *_by_class(dataset.schema, outputs, labels))


def measure(names: Sequence[str], outputs: Array, labels: Array) -> dict[str, float]:
    """The metrics of all outputs (n, outputs) at once; labels as metrics take them."""
    buffers = nn.Buffers()
    statistics = {name: metric(name).statistics(outputs, labels, buffers) for name in names}
    return {name: metric(name).value(sums, len(outputs)) for name, sums in statistics.items()}


def _split(assembly: Assembly, wanted: str | None) -> str:
    """The split that was asked for, or else the first that was held back from training."""
    filled = [split for split in SPLITS if getattr(assembly, split) is not None]
    if wanted is None:
        if filled[0] == "train":
            raise InputError("the run kept no rows for validation or test; evaluate it on those it learned: train")
        return filled[0]
    if wanted not in SPLITS:
        raise InputError(unknown("split", wanted, SPLITS))
    if wanted not in filled:
        raise InputError(f"the run kept no rows for {wanted}; there is {listed(filled)}")
    return wanted


def _names(schema: Schema, loss: str) -> list[str]:
    """Every metric that says something; of the family of top_k the one with 5 guesses, if there are more classes.

    Where a row has one class, micro averages are the accuracy and not said again.
    """
    able = [name for name in fitting(schema.task, loss) if schema.task != "classification" or "_micro" not in name]
    names = {name: name for name in able} | {"top_k": f"top_{GUESSES}"}
    return [names[name] for name in able if name != "top_k" or len(schema.classes) > GUESSES]


def _labels(schema: Schema, labels: Array) -> Array:
    """Stored labels as metrics take them: several labels at once are stored as numbers 0 and 1."""
    task: str = schema.task
    return labels > 0 if task == "multilabel" else labels


def _by_class(schema: Schema, outputs: Array, labels: Array) -> tuple[tuple[str, ...], PerClass | None, Array | None]:
    task: str = schema.task
    if task == "regression":
        return (), None, None
    if task == "multilabel":
        return schema.targets, nn.per_label(outputs, labels), None
    confusion = nn.confusion(outputs, labels, len(schema.classes))
    return schema.classes, nn.per_class(confusion), confusion
