"""Spec and dataset put together: the network with its output layer, the splits, the preparation, the plan.

`outline` knows everything that needs no arithmetic on the features and finds every error; `check` reports it to a
person before anything is stored; `assemble` adds the scaled data and is what a worker trains on. All follow from the
spec and the dataset alone (and from the weights that the spec begins with), so a worker gets what the submitter saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nn import Array, Data, ImageAugmentation, Loss, Network, Plan, Preparation, fitting
from service.assembly.division import split, with_stratify
from service.assembly.inputs import check_augment, indicated, preparation, prepared
from service.assembly.judging import (
    check_monitors,
    check_warmup,
    check_weights,
    class_weights,
    loss_of,
    row_weights,
    with_loss,
    with_metrics,
)
from service.assembly.layers import check_batches, check_numbers, input_shape, network, with_output_layer
from service.assembly.memory import check_memory, memory_estimate
from service.assembly.report import Report, far_targets, notes, report
from service.datasets import Dataset, Schema
from service.spec import Spec
from service.wording import listed

if TYPE_CHECKING:
    from service.weights import Weights

__all__ = ["Assembly", "Outline", "Report", "assemble", "check", "outline", "prepared"]


@dataclass(frozen=True)
class Outline:
    """What will be trained, without the data. `spec` is resolved: its loss is named and its output layer there."""

    spec: Spec
    schema: Schema
    plan: Plan
    train_rows: Array  # indices into the dataset, each in order
    validation_rows: Array
    test_rows: Array
    class_weights: Array | None
    preparation: Preparation
    output_layer_added: bool
    begin: Weights | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Assembly:
    """All that a training needs. `validation` and `test` are None where the split leaves them no rows.

    `scaler` holds the arrays of the preparation, measured on the training rows, or taken from the weights that the
    training begins with.
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

    @property
    def begin(self) -> Mapping[str, Array] | None:
        """The parameters by name that the training begins with."""
        return self.outline.begin.parameters.views if self.outline.begin else None


def check(spec: Spec, dataset: Dataset, begin: Weights | None = None) -> Report:
    """Everything that submitting checks, for a person to read. Raises SpecError at the place of what does not fit."""
    return report(outline(spec, dataset, begin), dataset)


def outline(spec: Spec, dataset: Dataset, begin: Weights | None = None) -> Outline:
    """Resolve what the spec leaves open and check all of it against the dataset. Raises SpecError with the place."""
    schema = dataset.schema
    resolved = with_loss(spec, schema)
    loss = loss_of(resolved, schema)
    resolved = with_metrics(resolved, schema, loss)
    resolved = with_stratify(resolved, dataset)
    rows = split(resolved, dataset)
    weights = class_weights(resolved, dataset, rows[0])
    check_weights(resolved, dataset, weights, rows)
    made = preparation(resolved, schema, indicated(resolved, dataset, rows[0]))
    shape = input_shape(resolved, schema, made)
    check_augment(resolved, schema, made, shape)
    resolved, added = with_output_layer(resolved, schema, loss, shape)
    made_of = network(resolved, shape)
    check_numbers(resolved, dataset)
    check_batches(resolved, made_of, len(rows[0]))
    check_warmup(resolved)
    check_monitors(resolved, fitting(schema.task, loss.kind), len(rows[1]) > 0)
    plan = _plan(resolved, made_of, loss)
    check_memory(resolved, plan, memory_estimate(plan, dataset, len(rows[0]), len(rows[1])))
    told = (
        *notes(spec, resolved, made, dataset, shape, added),
        *far_targets(dataset, rows[0]),
        *_begun(resolved, plan.network, begin),
    )
    return Outline(resolved, schema, plan, *rows, weights, made, added, begin, told)


def _plan(spec: Spec, network: Network, loss: Loss) -> Plan:
    train = spec.train
    return Plan(
        network=network,
        loss=loss,
        optimizer=spec.optimizer.build(),
        schedule=spec.schedule.build(),
        epochs=train.epochs,
        batch_size=train.batch_size,
        accumulate=train.accumulate,
        warmup=train.warmup,
        metrics=tuple(spec.metrics or ()),
        seed=spec.seed,
        l1=train.l1,
        l2=train.l2,
        clip_norm=train.clip_norm,
        clip_value=train.clip_value,
        average=train.average,
        early_stopping=train.early_stopping.build() if train.early_stopping else None,
        target=train.target.build() if train.target else None,
        max_seconds=train.max_seconds,
        log_every=train.log_every,
    )


def _begun(spec: Spec, network: Network, begin: Weights | None) -> tuple[str, ...]:
    """Which layers begin with another run's parameters. Raises SpecError if none can, or a frozen one cannot."""
    if spec.begin is None or begin is None:
        if not network.frozen:
            return ()
        numbers = f"layer{'s' if len(network.frozen) > 1 else ''} {listed(map(str, sorted(network.frozen)))}"
        return (f"frozen as drawn, since no run is named in begin: {numbers}",)
    views = begin.parameters.views
    fitting = {name for name, shape in network.parameter_shapes.items() if name in views and views[name].shape == shape}
    taken = [name for name, sizes in zip(network.names, network.sizes, strict=True) if sizes and fitting >= set(sizes)]
    new = [name for name, sizes in zip(network.names, network.sizes, strict=True) if sizes and not fitting & set(sizes)]
    parts = [name for sizes in network.sizes for name in sizes if name not in fitting]  # of layers taken in part
    new += [name for name in parts if not name.startswith(tuple(f"{layer}." for layer in new))]
    if not taken:
        sentence = f"no layer has the name and shape of one of run {spec.begin.run} ({', '.join(views)})"
        raise spec.error(("begin", "run"), f"{sentence}; `trainyard runs show {spec.begin.run} --json` shows its spec")
    if stuck := [name for name in new if int(name.partition(".")[0]) in network.frozen]:
        raise spec.error(("train", "freeze"), f"{stuck[0]} is frozen but not taken from run {spec.begin.run}")
    other = f"; new: {', '.join(new)}" if new else ""
    scales = spec.data.scale, begin.spec.data.scale
    anew = (f"the inputs are scaled anew: {scales[0]}, not {scales[1]} as in that run",) if len(set(scales)) > 1 else ()
    return (f"taken from run {spec.begin.run}: {', '.join(taken)}{other}", *anew, *_mixed(spec, begin.spec))


def _mixed(spec: Spec, earlier: Spec) -> tuple[str, ...]:
    """A warning where rows that the earlier run trained on may judge this one."""
    same_data = spec.data.source == earlier.data.source
    if not same_data or (spec.seed, spec.data.split) == (earlier.seed, earlier.data.split):
        return ()
    return ("seed or split differ from that run's on the same data: rows it learned may judge this one",)


def assemble(spec: Spec, dataset: Dataset, begin: Weights | None = None) -> Assembly:
    """The outline with its data prepared by the training rows' statistics. The same bytes for the same arguments."""
    found = outline(spec, dataset, begin)
    train_rows = dataset.features[found.train_rows]
    scaler = _kept_scaler(found) or found.preparation.fit(train_rows)
    train = _data(found, dataset, scaler, found.train_rows, train_rows)
    if spec.data.augment is not None:
        train = replace(train, augment=ImageAugmentation(spec.data.augment.build(), dataset.schema.image_shape))
    validation, test = (
        _data(found, dataset, scaler, rows, dataset.features[rows]) if len(rows) else None
        for rows in (found.validation_rows, found.test_rows)
    )
    return Assembly(found, train, validation, test, scaler)


def _kept_scaler(found: Outline) -> Mapping[str, Array] | None:
    """The scaler of the weights that the training begins with: they expect their inputs as they had them."""
    begin = found.begin
    if begin is None or begin.preparation != found.preparation or begin.schema.features != found.schema.features:
        return None
    return begin.scaler


def _data(found: Outline, dataset: Dataset, scaler: Mapping[str, Array], rows: Array, features: Array) -> Data:
    """The rows with these features in the shape the network takes. Images are scaled when they are used, see `Data`."""
    shape, labels = found.plan.network.input_shape, dataset.labels[rows]
    weights = row_weights(found.spec, dataset, found.class_weights, rows)
    if dataset.schema.dtype == "uint8" or found.spec.data.augment is not None:
        images = found.preparation.filled(features, scaler).reshape(-1, *shape)
        shift, scale = (scaler[name].reshape(shape) if name in scaler else None for name in ("shift", "scale"))
        return Data(images, labels, weights, shift, scale)
    return Data(prepared(found.preparation, features, scaler).reshape(-1, *shape), labels, weights)
