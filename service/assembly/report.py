"""What `trainyard check` tells of a spec: layers, shapes, rows, memory, and what was decided for the person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nn import Array, LayerSummary, Preparation
from service.assembly.memory import memory_estimate
from service.datasets import Dataset
from service.spec import Spec
from service.wording import listed

if TYPE_CHECKING:
    from service.assembly import Outline

MANY_CLASSES = 50
FAR = 1000  # of a target: with the usual learning rate of Adam that is as many steps


@dataclass(frozen=True)
class Report:
    """What `trainyard check` tells. Numbers of bytes are an estimate, see `memory_estimate`."""

    name: str
    source: str
    task: str
    loss: str
    metrics: tuple[str, ...]
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    input_shape: tuple[int, ...]
    layers: tuple[LayerSummary, ...]
    output_layer_added: bool
    parameters: int
    train_rows: int
    validation_rows: int
    test_rows: int
    batch_size: int
    epochs: int
    steps_per_epoch: int
    memory: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def memory_bytes(self) -> int:
        return sum(self.memory.values())

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "memory_bytes": self.memory_bytes}


def report(found: Outline, dataset: Dataset) -> Report:
    plan, network = found.plan, found.plan.network
    return Report(
        name=found.spec.name or "",
        source=found.spec.data.source,
        task=dataset.schema.task,
        loss=plan.loss.kind,
        metrics=plan.metrics,
        classes=dataset.schema.classes,
        targets=dataset.schema.targets,
        input_shape=network.input_shape,
        layers=tuple(network.summary()),
        output_layer_added=found.output_layer_added,
        parameters=network.size,
        train_rows=len(found.train_rows),
        validation_rows=len(found.validation_rows),
        test_rows=len(found.test_rows),
        batch_size=plan.batch_size,
        epochs=plan.epochs,
        steps_per_epoch=plan.updates_per_epoch(len(found.train_rows)),
        memory=memory_estimate(plan, dataset, len(found.train_rows), len(found.validation_rows)),
        notes=found.notes,
    )


def notes(
    given: Spec, resolved: Spec, preparation: Preparation, dataset: Dataset, shape: tuple[int, ...], added: bool
) -> tuple[str, ...]:
    """What was decided for the person, in sentences."""
    schema, found = dataset.schema, []
    if given.loss is None and resolved.loss is not None:
        labels = f"{len(schema.classes)} classes" if schema.classes else schema.label_kind
        found.append(f"the loss is {resolved.loss.name}, since the labels are {labels}")
    if added:
        units = resolved.network[-1].build().units
        counted = "1 unit" if units == 1 else f"{units} units"
        each = "class" if schema.classes else "target"
        what = f"one for each {each}" if units == (len(schema.classes) or len(schema.targets)) else "for two classes"
        flattened = "flatten and " if len(resolved.network) - len(given.network) > 1 else ""
        found.append(f"an output layer was added: {flattened}dense, {counted}, {what}")
    found += _about_rows(given, resolved, dataset)
    if count := len(preparation.indicated):
        found.append(f"{count} more input{'s tell' if count > 1 else ' tells'} which cells were empty")
    if schema.image_shape and len(shape) == 1:
        image = " × ".join(map(str, schema.image_shape))
        found.append(f"each image of {image} is a row of {schema.width} features")
    return tuple(found)


def far_targets(dataset: Dataset, train_rows: Array) -> tuple[str, ...]:
    """A warning where a network, whose outputs begin near 0, would have a long way to go."""
    if dataset.schema.task != "regression":
        return ()
    labels = dataset.labels[train_rows]
    far = np.abs(labels).mean(axis=0)
    column = int(far.argmax())
    if far[column] < FAR:
        return ()
    name, low, high = dataset.schema.targets[column], labels[:, column].min(), labels[:, column].max()
    advice = "targets are not scaled, so the learning has a long way to go: write them in a larger unit"
    return (f"'{name}' goes from {low:.4g} to {high:.4g}, and outputs begin near 0; {advice}",)


def _about_rows(given: Spec, resolved: Spec, dataset: Dataset) -> list[str]:
    schema, found = dataset.schema, []
    chosen = resolved.data.split
    shared = chosen.column is None and chosen.group is None
    if given.data.split.stratify is None and schema.classes and shared and not chosen.stratify:
        counts = np.bincount(dataset.labels, minlength=len(schema.classes))
        rows = f"{counts.min()} row{'' if counts.min() == 1 else 's'}"
        rare = f"class '{schema.classes[int(counts.argmin())]}' has {rows}, too few to stand in every part"
        found.append(f"the split is not stratified, since {rare}")
    if len(schema.classes) > MANY_CLASSES and schema.classes[0].lstrip("-").isdecimal():
        found.append(
            f"the labels are {len(schema.classes)} whole numbers taken as classes; for quantities use loss: mse"
        )
    if spread := [(name, len(of)) for name, of in zip(schema.features, schema.categories, strict=False) if of]:
        names = listed([f"{name} ({count})" for name, count in spread[:8]] + (["…"] if len(spread) > 8 else []))
        found.append(f"words and categories are spread over inputs, one for each value: {names}")
    if chosen.folds is not None:
        found.append(f"fold {chosen.fold} of {chosen.folds} validates")
    return found
