"""Spec and dataset put together: the network with its output layer, the splits, the preparation, the plan.

`outline` knows everything that needs no arithmetic on the features and finds every error; `check` reports it to a
person before anything is stored; `assemble` adds the scaled data and is what a worker trains on. All follow from the
spec and the dataset alone, so a worker gets what the submitter saw.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nn import (
    LOSSES,
    METRICS,
    Activation,
    Array,
    Data,
    Dense,
    ImageAugmentation,
    LayerSummary,
    Loss,
    Network,
    Plan,
    Preparation,
    ShapeError,
)
from service.datasets import Dataset, Schema
from service.division import check_weights, split, with_stratify
from service.inputs import check_augment, indicated, input_shape, preparation, prepared
from service.spec import Spec
from service.spec.errors import listed, nearest
from service.spec.schema import LayerChoice, LossChoice

MANY_CLASSES = 50
EVALUATION_ROWS = 256  # of one forward pass over the validation split


@dataclass(frozen=True)
class Outline:
    """What will be trained, without the data. `spec` is resolved: its loss is named and its output layer there."""

    spec: Spec
    schema: Schema
    plan: Plan
    train_rows: Array  # indices into the dataset, each in order
    validation_rows: Array
    test_rows: Array
    preparation: Preparation
    output_layer_added: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Assembly:
    """All that a training needs. `validation` and `test` are None where the split leaves them no rows.

    `scaler` holds the arrays of the preparation, measured on the training rows.
    """

    outline: Outline
    train: Data
    validation: Data | None
    test: Data | None
    scaler: Mapping[str, Array]

    @property
    def plan(self) -> Plan:
        return self.outline.plan

    @property
    def spec(self) -> Spec:
        return self.outline.spec


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


def check(spec: Spec, dataset: Dataset) -> Report:
    """Everything that submitting checks, for a person to read. Raises SpecError at the place of what does not fit."""
    found = outline(spec, dataset)
    plan, network = found.plan, found.plan.network
    return Report(
        name=found.spec.name or "",
        source=spec.data.source,
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
        steps_per_epoch=math.ceil(len(found.train_rows) / plan.batch_size),
        memory=memory_estimate(plan, dataset),
        notes=found.notes,
    )


def assemble(spec: Spec, dataset: Dataset) -> Assembly:
    """The outline with its data prepared by the training rows' statistics. The same bytes for the same arguments."""
    found = outline(spec, dataset)
    train_rows = dataset.features[found.train_rows]
    scaler = found.preparation.fit(train_rows)
    train = _data(found, dataset, scaler, found.train_rows, train_rows)
    if spec.data.augment is not None:
        train = replace(train, augment=ImageAugmentation(spec.data.augment.build(), dataset.schema.image_shape))
    validation, test = (
        _data(found, dataset, scaler, rows, dataset.features[rows]) if len(rows) else None
        for rows in (found.validation_rows, found.test_rows)
    )
    return Assembly(found, train, validation, test, scaler)


def _data(found: Outline, dataset: Dataset, scaler: Mapping[str, Array], rows: Array, features: Array) -> Data:
    """The rows with these features in the shape the network takes. Images are scaled when they are used, see `Data`."""
    shape = found.plan.network.input_shape
    weights = dataset.weights[rows] if dataset.weights is not None and found.spec.data.weights is not None else None
    labels = dataset.labels[rows]
    if dataset.schema.dtype == "uint8" or found.spec.data.augment is not None:
        images = found.preparation.filled(features, scaler).reshape(-1, *shape)
        shift, scale = (scaler[name].reshape(shape) if name in scaler else None for name in ("shift", "scale"))
        return Data(images, labels, weights, shift, scale)
    return Data(prepared(found.preparation, features, scaler).reshape(-1, *shape), labels, weights)


def outline(spec: Spec, dataset: Dataset) -> Outline:
    """Resolve what the spec leaves open and check all of it against the dataset. Raises SpecError with the place."""
    schema = dataset.schema
    resolved = spec if spec.loss else spec.model_copy(update={"loss": _usual_loss(schema)})
    loss = _loss(resolved, schema)
    resolved, added = _with_output_layer(resolved, schema, loss)
    resolved = with_stratify(resolved, dataset)
    train_rows, validation_rows, test_rows = split(resolved, dataset)
    check_weights(resolved, dataset, train_rows, validation_rows)
    made = preparation(resolved, schema, indicated(resolved, dataset, train_rows))
    check_augment(resolved, schema, made)
    network = _network(resolved, made)
    metrics = tuple(name for name, metric in METRICS.items() if schema.task in metric.tasks)
    _check_batch_size(resolved, len(train_rows))
    _check_monitor(resolved, metrics, len(validation_rows) > 0)
    stopping = resolved.train.early_stopping
    plan = Plan(
        network=network,
        loss=loss,
        optimizer=resolved.optimizer.build(),
        epochs=resolved.train.epochs,
        batch_size=resolved.train.batch_size,
        metrics=metrics,
        seed=resolved.seed,
        early_stopping=stopping.build() if stopping else None,
    )
    notes = _notes(spec, resolved, schema, added)
    return Outline(resolved, schema, plan, train_rows, validation_rows, test_rows, made, added, notes)


def memory_estimate(plan: Plan, dataset: Dataset) -> dict[str, int]:
    """Bytes that a training of this plan holds at once, by what holds them; float32 unless said.

    weights: parameters, gradients, the best epoch's copy and the optimizer's vectors. checkpoint: a copy of all of
    them but the gradients while one is written. activations: for the larger of a batch and an evaluation batch, each
    layer's output three times (value, gradient, mask or slope). data: the dataset as stored and its rows by part, which
    for images of bytes are bytes and otherwise the inputs.
    """
    vector = plan.network.size * 4
    slots = plan.optimizer.slots
    rows = max(plan.batch_size, EVALUATION_ROWS)
    inputs = math.prod(plan.network.input_shape)
    width = sum(layer.output_shape[0] if layer.output_shape else 1 for layer in plan.network.summary())
    return {
        "weights": (3 + slots) * vector,
        "checkpoint": (2 + slots) * vector,
        "activations": rows * (3 * width + inputs) * 4,
        "data": dataset.nbytes + len(dataset) * (inputs * dataset.features.itemsize + plan.outputs * 4),
    }


_USUAL_LOSS = {"classification": "cross_entropy", "regression": "mse", "multilabel": "binary_cross_entropy"}


def _usual_loss(schema: Schema) -> LossChoice:
    return LossChoice.model_validate(_USUAL_LOSS[schema.task])


def _loss(spec: Spec, schema: Schema) -> Loss:
    assert spec.loss is not None
    loss: Loss = spec.loss.build()
    if schema.task not in loss.tasks:
        able = [name for name, other in LOSSES.items() if schema.task in other.tasks]
        labels = f"are {schema.label_kind}"
        sentence = (
            f"{loss.kind} does not fit the labels of {spec.data.source}, which {labels}; use {listed(able, 'or')}"
        )
        raise spec.error(("loss",), sentence)
    return loss


def _with_output_layer(spec: Spec, schema: Schema, loss: Loss) -> tuple[Spec, bool]:
    """The spec whose last layer gives one number for each class or target, and whether it was added.

    The last dense layer is the output layer if its activation suits the loss and its units are as many as needed. One
    that is linear with other units is a mistake. Anything else is a hidden layer, and a linear dense is added.
    """
    index, dense, activation = _last_dense(spec)
    needed = schema.outputs
    if dense is not None and activation in loss.output_activations:
        if dense.units == needed:
            return spec, False
        if activation == "linear":
            names = listed([*(schema.classes or schema.targets)][:12]) + (" …" if needed > 12 else "")
            what = "classes" if schema.task == "classification" else "targets" if needed > 1 else "target"
            sentence = f"layer {index + 1} (dense) is the output layer and has {dense.units} units, but the labels have"
            advice = "change it, or give it an activation to make it a hidden layer"
            raise spec.error(("network", index, "dense", "units"), f"{sentence} {needed} {what} ({names}); {advice}")
    output = LayerChoice.model_validate({"dense": {"units": needed, "activation": "linear"}})
    return spec.model_copy(update={"network": [*spec.network, output]}), True


def _last_dense(spec: Spec) -> tuple[int, Dense | None, str]:
    """The dense layer that ends the network, its index, and the activation of its outputs, its own or that after it."""
    layers = [choice.build() for choice in spec.network]
    index = len(layers) - 1
    if len(layers) > 1 and isinstance(layers[-1], Activation) and isinstance(layers[-2], Dense):
        if layers[-2].activation == "linear":
            return index - 1, layers[-2], layers[-1].function
    elif layers and isinstance(layers[-1], Dense):
        return index, layers[-1], layers[-1].activation
    return index, None, ""


def _network(spec: Spec, preparation: Preparation) -> Network:
    try:
        return Network([choice.build() for choice in spec.network], input_shape(preparation))
    except ShapeError as error:
        number = error.layer_number or 1
        raise spec.error(("network", number - 1, error.kind), str(error)) from None


def _check_batch_size(spec: Spec, rows: int) -> None:
    size = spec.train.batch_size
    if size > rows:
        raise spec.error(
            ("train", "batch_size"), f"a batch of {size} is larger than the {rows} training rows; lower it"
        )


def _check_monitor(spec: Spec, metrics: tuple[str, ...], validated: bool) -> None:
    if spec.train.early_stopping is None:
        return
    monitor: str = spec.train.early_stopping.build().monitor
    measured = ["loss", *metrics]
    known = [*(f"val_{name}" for name in measured if validated), *measured]
    if monitor in known:
        return
    place = ("train", "early_stopping", "monitor")
    if monitor.removeprefix("val_") in measured:
        raise spec.error(place, f"there is no '{monitor}' without validation rows; set data.split.validation")
    near = nearest(monitor, known)
    suggestion = f"; did you mean '{near}'?" if near else ""
    raise spec.error(place, f"'{monitor}' is not measured{suggestion} (measured: {', '.join(known)})")


def _notes(given: Spec, resolved: Spec, schema: Schema, added: bool) -> tuple[str, ...]:
    """What was decided for the person, in sentences."""
    notes = []
    if given.loss is None and resolved.loss is not None:
        labels = f"{len(schema.classes)} classes" if schema.classes else "numbers"
        notes.append(f"the loss is {resolved.loss.name}, since the labels are {labels}")
    if added:
        each = "class" if schema.classes else "target"
        units = "1 unit" if schema.outputs == 1 else f"{schema.outputs} units"
        notes.append(f"an output layer was added: dense, {units}, one for each {each}")
    chosen = resolved.data.split
    shared = chosen.column is None and chosen.group is None
    if given.data.split.stratify is None and schema.classes and shared and not chosen.stratify:
        notes.append("the split is not stratified, since a class has too few rows to stand in every part")
    if len(schema.classes) > MANY_CLASSES and schema.classes[0].lstrip("-").isdecimal():
        notes.append(
            f"the labels are {len(schema.classes)} whole numbers taken as classes; for quantities use loss: mse"
        )
    if spread := [(name, len(of)) for name, of in zip(schema.features, schema.categories, strict=False) if of]:
        names = listed([f"{name} ({count})" for name, count in spread[:8]] + (["…"] if len(spread) > 8 else []))
        notes.append(f"words and categories are spread over inputs, one for each value: {names}")
    if chosen.folds is not None:
        notes.append(f"fold {chosen.fold} of {chosen.folds} validates")
    if schema.image_shape:
        notes.append(f"each image of {' × '.join(map(str, schema.image_shape))} is a row of {schema.width} features")
    return tuple(notes)
