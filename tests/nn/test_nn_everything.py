"""A convolutional network with everything switched on at once: stopped, written down, and watched for its memory."""

import dataclasses
import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tools import law, through_json, trained

from nn import (
    OPTIMIZERS,
    SCHEDULES,
    Augmentation,
    BatchNorm,
    Conv2d,
    CosineDecay,
    CrossEntropy,
    Data,
    Dense,
    Dropout,
    EarlyStopping,
    Flatten,
    ImageAugmentation,
    LayerNorm,
    MaxPool,
    Momentum,
    Network,
    Plan,
    ReduceOnPlateau,
    Residual,
    State,
    Target,
    evaluate,
    train,
)

SIDE, SAMPLES = 6, 27
LAYERS = [
    Conv2d(4, 3, padding="same", activation="relu"),
    MaxPool(2),
    Residual((Conv2d(4, 3, padding="same"), BatchNorm())),
    BatchNorm(),
    Dropout(0.2),
    Flatten(),
    Dense(6, "tanh"),
    LayerNorm(),
    Dense(3),
]
AUGMENTATIONS = [
    Augmentation(1, "horizontal"),
    Augmentation(rotate=20.0, noise=0.1),
    Augmentation(1, "both", 10.0, 0.1),
]


def images(samples: int, seed: int, augment: Augmentation | None = None) -> Data:
    """Bytes of which classes can be told, with weights, and with shift and scale for the batches."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, samples)
    pixels = rng.integers(0, 120, (samples, SIDE, SIDE, 1))
    pixels[np.arange(samples), 2 * labels, :, 0] += 100
    shift, scale = (np.full((SIDE, SIDE, 1), value, np.float32) for value in (90, 60))
    weights = rng.choice([0.5, 1, 3], samples).astype(np.float32)
    changed = ImageAugmentation(augment, (SIDE, SIDE)) if augment else None
    return Data(pixels.astype(np.uint8), labels, weights, shift, scale, changed)


def plan_of(**changes) -> Plan:
    given = {
        "optimizer": Momentum(0.01), "schedule": CosineDecay(), "epochs": 4, "batch_size": 4, "accumulate": 2,
        "warmup": 0.7, "metrics": ("accuracy", "f1"), "seed": 5, "l1": 1e-4, "l2": 1e-3, "clip_norm": 2.0,
        "clip_value": 1.0, "average": 0.8, "early_stopping": EarlyStopping("val_accuracy", 2),
        "target": Target("val_loss", 0.01), "max_seconds": 1e6, **changes,
    }  # fmt: skip
    return Plan(Network(LAYERS, (SIDE, SIDE, 1), frozen=(4,)), CrossEntropy(0.05), **given)


@st.composite
def optimizers(draw: st.DrawFn):
    kind = draw(st.sampled_from(sorted(OPTIMIZERS)))
    settings = {"learning_rate": draw(st.sampled_from([0.001, 0.01]))}
    if kind in ("sgd", "rmsprop") and draw(st.booleans()):
        settings["momentum"] = 0.9
    if kind in ("sgd", "momentum", "nesterov", "adamw"):
        settings["weight_decay"] = 0.1
    return OPTIMIZERS[kind](**settings)


@st.composite
def plans(draw: st.DrawFn):
    waiting = ReduceOnPlateau("val_accuracy", 0.5, patience=2)
    schedules = [waiting if schedule is ReduceOnPlateau else schedule() for schedule in SCHEDULES.values()]
    changes = {
        "optimizer": draw(optimizers()),
        "schedule": draw(st.sampled_from([waiting, *schedules])),  # twice, for it keeps a state of its own
        "accumulate": draw(st.integers(1, 3)),
        "warmup": draw(st.sampled_from([0.0, 0.7, 5.0])),
        "average": draw(st.sampled_from([None, 0.8])),
        "seed": draw(st.integers(0, 100)),
    }
    return plan_of(**changes)


def comparable(state: State) -> tuple:
    arrays, counters = state.snapshot()
    bytes_of = {name: array.tobytes() for name, array in arrays.items()}
    return bytes_of, {**counters, "seconds": None, "elapsed": None}


@settings(law, max_examples=40)
@given(plans(), st.lists(st.integers(0, 12), min_size=1, max_size=4), st.sampled_from(AUGMENTATIONS))
def test_stopping_anywhere_with_everything_switched_on_changes_no_byte(plan, stops, augment):
    data, validation = images(SAMPLES, 0, augment), images(10, 1)
    whole, history = trained(plan, data, validation)
    state, records = State.start(plan), []
    for stop in [*stops, 10**6]:
        polls = itertools.count()
        epochs = train(plan, state, data, validation, lambda polls=polls, stop=stop: next(polls) >= stop)
        records += [epoch.metrics for epoch in epochs]
        assert comparable(through_json(plan, state)) == comparable(state)
        state = through_json(plan, state)
    assert comparable(state) == comparable(whole)
    assert records == history


def test_the_same_plan_gives_the_same_bytes_and_another_augmentation_others():
    first, second, other = (
        comparable(trained(plan_of(), images(SAMPLES, 0, augment), images(10, 1))[0])
        for augment in (AUGMENTATIONS[0], AUGMENTATIONS[0], AUGMENTATIONS[1])
    )
    assert first == second
    assert first[0]["parameters"] != other[0]["parameters"]


def test_it_learns_nonetheless():
    plan = plan_of(optimizer=Momentum(0.1), epochs=60, early_stopping=None, target=None, average=None)
    data = images(90, 0, AUGMENTATIONS[0])
    state, _ = trained(plan, data, images(40, 1))
    assert evaluate(plan, state.best_parameters, images(60, 2))["accuracy"] > 0.8


# Memory


LOOSE = 16_384  # bytes: what Python's own free lists gather. An array a step would be ten times as much


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "rows"])
def test_no_memory_is_kept_from_epoch_to_epoch(kind):
    """What is allocated after an epoch, and the most that one needs at once: both stay as in the second epoch."""
    plan = plan_of(epochs=8, early_stopping=None, target=None)
    data, other = images(100, 0, AUGMENTATIONS[2]), images(40, 1)
    if kind == "rows":
        hidden = [Dense(20, "relu"), Dropout(0.2), BatchNorm(), Dense(20, "gelu"), LayerNorm(), Dense(3)]
        plan = dataclasses.replace(plan, network=Network(hidden, (SIDE * SIDE,)), metrics=("accuracy", "roc_auc"))
        data, other = (Data(part.features.reshape(len(part), -1), part.labels, part.weights) for part in (data, other))
    kept, peaks = [], []
    tracemalloc.start()
    try:
        for _ in train(plan, State.start(plan), data, other):
            gc.collect()
            held, peak = tracemalloc.get_traced_memory()
            kept.append(held)
            peaks.append(peak)
            tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert max(kept[2:]) < kept[1] + LOOSE
    assert max(peaks[2:]) < peaks[1] + LOOSE
