"""How a training is judged: the loss, the metrics, what watches them, and how much each row counts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nn import LOSSES, METRICS, Array, Loss, base_name, fitting, metric
from service.assembly.division import told
from service.datasets import Dataset, Schema
from service.spec import Spec
from service.spec.errors import Path
from service.spec.schema import LossChoice
from service.wording import listed, nearest

_USUAL_LOSS = {"classification": "cross_entropy", "regression": "mse", "multilabel": "binary_cross_entropy"}


def with_loss(spec: Spec, schema: Schema) -> Spec:
    """The spec with the usual loss for the labels, if it names none."""
    return spec if spec.loss else spec.model_copy(update={"loss": LossChoice.model_validate(_USUAL_LOSS[schema.task])})


def loss_of(spec: Spec, schema: Schema) -> Loss:
    """The loss. Raises SpecError if it does not fit the labels."""
    assert spec.loss is not None
    loss: Loss = spec.loss.build()
    if schema.task not in loss.tasks:
        able = [name for name, other in LOSSES.items() if schema.task in other.tasks and _counts(other(), schema)]
        problem = f"{loss.kind} does not fit the labels of {spec.data.source}, which are {schema.label_kind}"
        raise spec.error(("loss",), f"{problem}; use {listed(able, 'or')}")
    return loss


def _counts(loss: Loss, schema: Schema) -> bool:
    """Whether the loss can be used for so many classes or targets."""
    try:
        return loss.units(len(schema.classes), len(schema.targets)) > 0
    except ValueError:
        return False


def with_metrics(spec: Spec, schema: Schema, loss: Loss) -> Spec:
    """The spec that says what is measured. Raises SpecError for a metric that cannot judge these labels or outputs."""
    able = fitting(schema.task, loss.kind)
    if spec.metrics is None:
        return spec.model_copy(update={"metrics": [name for name in able if METRICS[name].usual]})
    for place, name in enumerate(spec.metrics):
        if spec.metrics.index(name) != place:
            raise spec.error(("metrics", place), f"'{name}' is listed twice")
        part = metric(name)
        if part.kind not in able:
            several = schema.task == "regression" and len(schema.targets) > 1
            yes_or_no = "; if the targets are 0 and 1, set data.task: multilabel" if several else ""
            losses = f" and the loss {listed(sorted(part.losses), 'or')}" if part.losses else ""
            fits = f"{listed(sorted(part.tasks), 'or')}{losses}"
            there = listed("top_3" if name == "top_k" else name for name in able)
            sentence = f"{name} is for {fits}; here {schema.task} with {loss.kind} is judged"
            raise spec.error(("metrics", place), f"{sentence}, for which there are {there}{yes_or_no}")
        if part.kind == "top_k" and (guesses := int(name.removeprefix("top_"))) >= len(schema.classes):
            sentence = f"{guesses} guesses of {len(schema.classes)} classes are always right"
            raise spec.error(("metrics", place), f"{sentence}; take fewer")
    return spec


def check_warmup(spec: Spec) -> None:
    """Raise SpecError if the schedule would never begin."""
    if spec.train.warmup >= spec.train.epochs:
        sentence = f"a warm-up of {spec.train.warmup:g} epochs takes all of the {spec.train.epochs}; make it shorter"
        raise spec.error(("train", "warmup"), sentence)


def check_monitors(spec: Spec, able: Sequence[str], validated: bool) -> None:
    """Raise SpecError if early stopping, the target or the schedule watches what is not measured every epoch.

    `able` are the metrics that could be measured.
    """
    watched: dict[Path, str] = {}
    if spec.train.early_stopping is not None:
        watched["train", "early_stopping", "monitor"] = spec.train.early_stopping.build().monitor
    if spec.train.target is not None:
        watched["train", "target", "monitor"] = spec.train.target.build().monitor
    if spec.schedule.name == "reduce_on_plateau":
        watched["schedule", "reduce_on_plateau", "monitor"] = spec.schedule.build().monitor
    for place, monitor in watched.items():
        _check_monitor(spec, place, monitor, able, validated)


def _check_monitor(spec: Spec, place: Path, monitor: str, able: Sequence[str], validated: bool) -> None:
    measured = ["loss", *(spec.metrics or ())]
    running = [name for name in measured if name == "loss" or not metric(name).whole]
    known = [*(f"val_{name}" for name in measured if validated), *running]
    if monitor in known:
        return
    if monitor.removeprefix("val_") in measured and not validated:
        raise spec.error(place, f"there is no '{monitor}' without validation rows; set data.split.validation")
    near = nearest(f"val_{monitor.removesuffix('_val')}" if monitor.endswith("_val") else monitor, known)
    suggestion = f"; did you mean '{near}'?" if near else ""
    name = base_name(monitor)
    if monitor == name and name in measured:
        suggestion = f"; it is measured on the validation rows alone, as 'val_{name}'" if validated else ""
    elif name in able and monitor in (name, f"val_{name}"):
        instead = f"watch 'val_{name}' and " if metric(name).whole and monitor == name else ""
        suggestion = f"; {instead}add {name} to metrics: [{', '.join([*(spec.metrics or ()), name])}]"
    raise spec.error(place, f"'{monitor}' is not measured{suggestion} (measured: {', '.join(known)})")


def class_weights(spec: Spec, dataset: Dataset, train_rows: Array) -> Array | None:
    """How much a row of each class counts (classes,), float32. Raises SpecError for classes that there are not."""
    wanted, place, schema = spec.train.class_weights, ("train", "class_weights"), dataset.schema
    if wanted is None:
        return None
    if schema.task != "classification":
        raise spec.error(place, f"only classes can be weighted, and the labels are {schema.label_kind}; remove it")
    if wanted == "balanced":
        # King & Zeng (2001), as in scikit-learn: every class counts the same in all.
        counts = np.bincount(dataset.labels[train_rows], minlength=len(schema.classes))
        return (len(train_rows) / (len(counts) * np.maximum(counts, 1))).astype(np.float32)
    for name in wanted:
        if name not in schema.classes:
            near = nearest(name, schema.classes)
            suggestion = f"; did you mean '{near}'?" if near else ""
            known = listed(schema.classes[:12]) + (" …" if len(schema.classes) > 12 else "")
            raise spec.error((*place, name), f"there is no class '{name}'{suggestion} (classes: {known})")
    return np.array([wanted.get(name, 1.0) for name in schema.classes], np.float32)


def row_weights(spec: Spec, dataset: Dataset, by_class: Array | None, rows: Array) -> Array | None:
    """How much each of the rows counts: its own weight times its class's. The losses of all splits are weighted."""
    own = None if spec.data.weights is None else told(spec, dataset.weights, ("data", "weights"))[rows]
    if by_class is None:
        return own
    found: Array = by_class[dataset.labels[rows]]
    return found if own is None else np.multiply(own, found)


def check_weights(spec: Spec, dataset: Dataset, by_class: Array | None, parts: Sequence[Array]) -> None:
    """Raise SpecError if the training, validation or test rows all count nothing: their mean loss would be of none."""
    for part, rows in zip(("training", "validation", "test"), parts, strict=True):
        weights = row_weights(spec, dataset, by_class, rows)
        if weights is None or not len(rows) or weights.any():
            continue
        by_row = row_weights(spec, dataset, None, rows)
        if by_row is not None and not by_row.any():
            sentence = f"the weights of all {part} rows are 0; make one larger, or divide them otherwise"
            raise spec.error(("data", "weights"), sentence)
        raise spec.error(("train", "class_weights"), f"with these weights no {part} row counts; raise one above 0")
