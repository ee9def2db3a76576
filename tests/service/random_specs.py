"""Random specs over small datasets of every kind, for tests that hold for all of them.

Values are drawn from what the registries say of each setting, so that a new layer or optimizer is tried without a word
here. About half of the specs fit their data; the others have something wrong.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from hypothesis import strategies as st

from nn import LAYERS, LOSSES, METRICS, OPTIMIZERS, SCALERS, SCHEDULES, metric
from nn.registry import field_types, item_type

ROWS = 60
TASKS = {  # the shape of a row, and what its labels are
    "numbers": ((6,), "three"),
    "pairs": ((4,), "two"),
    "many": ((5,), "twelve"),
    "grey": ((6, 7), "three"),
    "colours": ((5, 6, 3), "two"),
    "pictures": ((8, 8), "three"),
    "maps": ((4, 5, 2), "two"),
    "series": ((12, 3), "two"),
    "words": ((5,), "three"),
    "price": ((4,), "number"),
    "prices": ((4,), "numbers"),
    "scans": ((7, 7), "number"),
    "tags": ((6,), "tags"),
}
BYTES = ("grey", "colours")
RARELY = st.sampled_from([False] * 79 + [True])
OFTEN = st.sampled_from([True] * 6 + [False])
WRONG = st.sampled_from([-1, 0, 1.5, 1e-300, 10**6, 2**31 - 1, "many", True, None, [], [2], {"a": 1}, ""])


def write_datasets(folder: Path) -> None:
    """A file for each kind of dataset, and a table with words, gaps, weights, groups and parts."""
    rng = np.random.default_rng(0)
    for name, (shape, labels) in TASKS.items():
        np.savez(folder / f"{name}.npz", x=_features(rng, name, shape), y=_labels(rng, labels))
    frame = {
        "size": [None if row % 9 == 0 else float(row) for row in range(ROWS)],
        "district": [None if row == 5 else ("north", "south", "west")[row % 3] for row in range(ROWS)],
        "floor": [row % 4 for row in range(ROWS)],
        "house": [f"h{row % 15}" for row in range(ROWS)],
        "sure": [0.5 + row % 2 for row in range(ROWS)],
        "part": [("train", "train", "validation", "test")[row % 4] for row in range(ROWS)],
        "kind": [("dear", "cheap", "odd")[row * 7 % 3] for row in range(ROWS)],
        "rent": [row * 1.25 for row in range(ROWS)],
        "old": [row % 2 for row in range(ROWS)],
        "new": [row // 2 % 2 for row in range(ROWS)],
    }
    pl.DataFrame(frame).write_csv(folder / "flats.csv")


def _features(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    if name in BYTES:
        return rng.integers(0, 256, (ROWS, *shape)).astype(np.uint8)
    if name == "words":
        return rng.integers(0, 9, (ROWS, *shape))
    return rng.normal(3, 2, (ROWS, *shape))


def _labels(rng: np.random.Generator, kind: str) -> np.ndarray:
    if kind in ("number", "numbers"):
        return rng.normal(0, 1, (ROWS, 3) if kind == "numbers" else ROWS)
    if kind == "tags":
        return rng.integers(0, 2, (ROWS, 3))
    return np.arange(ROWS) % {"two": 2, "three": 3, "twelve": 12}[kind]


@st.composite
def settings_of(draw: st.DrawFn, part: type, layers: st.SearchStrategy[Any] | None = None) -> Any:
    """Settings for a part: each that it needs and some of the others, now and then a wrong one."""
    types, chosen = field_types(part), {}
    for field in dataclasses.fields(part):
        needed = field.default is dataclasses.MISSING
        if not needed and draw(st.integers(0, 2)):
            continue
        chosen[field.name] = draw(WRONG if draw(RARELY) else _value(field, types[field.name], layers))
    if chosen.get("nesterov") is True:
        chosen.setdefault("momentum", 0.5)
    return chosen or None


def _value(field: Any, types: tuple[Any, ...], layers: st.SearchStrategy[Any] | None) -> st.SearchStrategy[Any]:
    facts, kinds = field.metadata, []
    if field.name == "learning_rate":
        return st.sampled_from([0.01, 0.001, 1e-5])
    if field.name == "monitor":
        return MONITORS
    for kind in types:
        if kind is bool:
            kinds.append(st.booleans())
        elif kind is str:
            kinds.append(st.sampled_from(list(facts["choices"])))
        elif kind is int:
            low = int(facts["least"] or 0)
            kinds.append(st.integers(low, int(min(facts["most"] or low + 3, low + 9))))
        elif kind is float:
            kinds.append(_number(facts))
        elif item_type(kind) is int:
            kinds.append(st.lists(st.integers(1, 8), min_size=1, max_size=3))
        elif item_type(kind) is not None:
            assert layers is not None
            kinds.append(st.lists(layers, min_size=1, max_size=2))
    return st.one_of(kinds)


def _number(facts: Any) -> st.SearchStrategy[float]:
    """Between the limits, and not far from 0: what is tried is whether things fit, not what too large numbers do."""
    low = facts["above"] if facts["above"] is not None else facts["least"] or 0.0
    high = min(limit for limit in (facts["below"], facts["most"], low + 2.0) if limit is not None)
    shares = [0.01, 0.1, 0.5, 0.9] + ([0.0] if facts["above"] is None else [])
    return st.sampled_from(shares).map(lambda share: low + share * (high - low))


MONITORS = st.sampled_from(["val_loss", "loss", "val_accuracy", "accuracy", "val_r2", "val_roc_auc", "roc_auc", "acc"])
FITTING = {  # by the axes of what goes in: layers that usually can take it
    1: ("dense", "activation", "dropout", "batch_norm", "layer_norm", "residual"),
    2: ("conv1d", "max_pool", "average_pool", "global_average_pool", "flatten", "activation", "batch_norm", "residual"),
    3: ("conv2d", "max_pool", "average_pool", "global_average_pool", "flatten", "layer_norm", "dropout", "residual"),
}
KEEPING = ("activation", "dropout", "batch_norm", "layer_norm", "residual")  # the shape, so that a branch may end so
AXES_AFTER = {"flatten": 1, "global_average_pool": 1, "embedding": 2}


@st.composite
def layer(draw: st.DrawFn, names: tuple[str, ...] = tuple(LAYERS), depth: int = 2) -> Any:
    name = draw(st.sampled_from([name for name in names if depth or name != "residual"]))
    inner = KEEPING if draw(OFTEN) else names
    settings = draw(settings_of(LAYERS[name], layer(inner, depth - 1) if depth else None))
    return name if settings is None else {name: settings}


@st.composite
def networks(draw: st.DrawFn, shape: tuple[int, ...], axes: int, numbers: bool) -> list[Any]:
    """Any layers, or more often layers of which each can take as many axes as the one before gives.

    `shape` is that of a row, `axes` as many as the first layer takes; `numbers` are whole ones for an embedding.
    """
    if not draw(OFTEN):
        return draw(st.lists(layer(), max_size=6))
    chosen: list[Any] = []
    if numbers and draw(OFTEN):
        chosen.append({"embedding": {"vocabulary": draw(st.integers(9, 12)), "units": draw(st.integers(1, 4))}})
        axes = 2
    elif not draw(OFTEN):
        new = draw(st.permutations([*shape, 1]))
        chosen.append({"reshape": new})
        axes = len(new)
    for _ in range(draw(st.integers(0, 5))):
        if axes > 3:
            break
        chosen.append(draw(layer(FITTING[axes])))
        name = chosen[-1] if isinstance(chosen[-1], str) else next(iter(chosen[-1]))
        axes = AXES_AFTER.get(name, axes)
    return chosen


def some(draw: st.DrawFn, **keys: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Each key with a chance of one in four."""
    return {key: draw(values) for key, values in keys.items() if draw(st.integers(0, 3)) == 0}


@st.composite
def parts(draw: st.DrawFn, registry: Any) -> Any:
    name = draw(st.sampled_from(list(registry)))
    settings = draw(settings_of(registry[name]))
    return name if settings is None else {name: settings}


@st.composite
def splits(draw: st.DrawFn, table: bool) -> Any:
    chosen = some(draw, validation=st.sampled_from([0, 0.2, 0.5]), test=st.sampled_from([0, 0.1, 0.3]))
    chosen |= some(draw, stratify=st.booleans())
    if draw(st.integers(0, 4)) == 0:
        chosen |= {"folds": 4, "fold": draw(st.integers(1, 5))}
    if table and draw(st.integers(0, 2)) == 0:
        chosen[draw(st.sampled_from(["group", "column"]))] = draw(st.sampled_from(["house", "part"]))
    return chosen


AUGMENT = st.fixed_dictionaries(
    {},
    optional={
        "shift": st.integers(0, 9),
        "flip": st.sampled_from(["none", "horizontal", "vertical", "both"]),
        "rotate": st.sampled_from([0, 10.0, 180]),
        "noise": st.sampled_from([0, 0.1]),
    },
)


@st.composite
def sections(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...], str]:
    """The data section, the shape of a row, and what its labels are for."""
    name = draw(st.sampled_from([*TASKS, "iris", "flats", "flats"]))
    if name == "flats":
        target = draw(st.sampled_from(["kind", "rent", ["old", "new"], ["rent", "floor"], "old"]))
        data = {"source": "flats.csv", "target": target, "missing": draw(st.sampled_from(["mean", "most_frequent"]))}
        if draw(st.booleans()):
            data["missing"] = {"fill": "median", "indicator": True}
        data |= some(draw, weights=st.just("sure"), one_hot=st.just("floor"))
    else:
        data = {"source": name if name == "iris" else f"{name}.npz"}
        data |= some(draw, missing=st.sampled_from(["mean", "error"]))
    if name in ("grey", "colours", "pictures", "maps", "scans") or draw(st.integers(0, 9)) == 0:
        data |= some(draw, augment=AUGMENT)
    scale = draw(st.sampled_from([*SCALERS])) if draw(st.booleans()) else None
    data |= {"scale": "none"} if name == "words" else {"scale": scale} if scale else {}
    data |= some(draw, split=splits(name == "flats"))
    shape, labels = TASKS.get(name, ((4,), _flats_labels(data.get("target", ""))))
    tasks = {"number": "regression", "numbers": "regression", "tags": "multilabel"}
    return data, shape, tasks.get(labels, "classification")


def _flats_labels(target: Any) -> str:
    return {"rent": "number", "['old', 'new']": "tags", "['rent', 'floor']": "numbers"}.get(str(target), "two")


@st.composite
def training(draw: st.DrawFn, task: str) -> dict[str, Any]:
    sizes = [1, 4, 7, 10, 14, 20] if draw(OFTEN) else [41, 42, 54, 500]
    chosen = {"epochs": draw(st.integers(1, 3)), "batch_size": draw(st.sampled_from(sizes))}
    early = st.one_of(MONITORS, st.fixed_dictionaries({"monitor": MONITORS, "patience": st.integers(1, 3)}))
    if task == "classification" or not draw(OFTEN):
        weights = st.sampled_from(["balanced", {"1": 2.0}, {"dear": 0.0}, {"0": 0.0, "setosa": 2.0}])
        chosen |= some(draw, class_weights=weights)
    return chosen | some(
        draw,
        accumulate=st.integers(1, 3),
        warmup=st.sampled_from([0.5, 1, 7.5]),
        l1=st.sampled_from([0.001, 0.1]),
        l2=st.sampled_from([0.001, 0.1]),
        clip_norm=st.sampled_from([0.1, 5.0]),
        clip_value=st.sampled_from([0.01, 1.0]),
        average=st.sampled_from([0.5, 0.999]),
        log_every=st.sampled_from([1, 3]),
        freeze=st.lists(st.integers(1, 2), max_size=1),
        early_stopping=early,
        target=st.fixed_dictionaries({"monitor": MONITORS, "value": st.sampled_from([0.1, 0.9])}),
    )


NAMES = [*(name for name in METRICS if name != "top_k"), "top_2", "top_3"]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A whole spec as plain values."""
    data, shape, task = draw(sections())
    axes = 1 if len(shape) == 1 else draw(st.sampled_from([1, 3, 3] if len(shape) == 3 else [1, 2, 3]))
    network = draw(networks(shape, axes, "words" in data["source"]))
    document = {"version": 1, "data": data, "network": network, "train": draw(training(task))}
    fitting = {name: loss for name, loss in LOSSES.items() if task in loss.tasks} if draw(OFTEN) else LOSSES
    able = [name for name in NAMES if task in metric(name).tasks] if draw(OFTEN) else NAMES
    metrics = st.lists(st.sampled_from(able), max_size=3, unique=draw(OFTEN))
    document |= some(draw, loss=parts(fitting), metrics=metrics, schedule=parts(SCHEDULES))
    return document | {"optimizer": draw(parts(OPTIMIZERS)), "seed": draw(st.integers(0, 3))}
