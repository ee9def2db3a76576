"""Small helpers of the engine's tests."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
from hypothesis import settings

from nn import CrossEntropy, Data, Dense, Dropout, Loss, Network, Optimizer, Plan, Sgd, State, train

law = settings(deadline=None, max_examples=60)
"""For every @given: a busy machine is slow, not wrong."""


def slope(function: Callable[[], float], array: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences of a number by every entry of an array that the function reads."""
    result = np.empty_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + step
        above = function()
        array[place] = kept - step
        below = function()
        array[place] = kept
        result[place] = (above - below) / (2 * step)
    return result


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def blobs(samples: int = 60, features: int = 5, classes: int = 3, seed: int = 0) -> Data:
    """Classes around different centres, so that a network can learn them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    centres = rng.normal(0, 2, (classes, features))
    return Data(centres[labels] + rng.normal(0, 1, (samples, features)), labels)


def labels_for(loss: Loss, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Labels that the loss can learn with outputs of the shape (n, outputs): classes, 0 and 1, or numbers."""
    if "multilabel" in loss.tasks:
        return rng.integers(0, 2, shape).astype(np.float32)
    return rng.integers(0, shape[-1], shape[0]) if "classification" in loss.tasks else rng.normal(size=shape)


def targets_for(loss: Loss, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Targets for outputs of the shape (..., batch, outputs)."""
    rows = int(np.prod(shape[:-1]))
    targets = loss.targets(labels_for(loss, rng, (rows, shape[-1])), shape[-1])
    return targets.reshape(*shape[:-1], *targets.shape[1:])


def small_plan(optimizer: Optimizer | None = None, **changes: object) -> Plan:
    layers = [Dense(7, "relu"), Dropout(0.3), Dense(3)]
    given = {"epochs": 3, "batch_size": 8, "metrics": ("accuracy",), "seed": 4, **changes}
    return Plan(Network(layers, (5,)), CrossEntropy(), optimizer or Sgd(0.1), **given)  # type: ignore[arg-type]


def through_json(plan: Plan, state: State) -> State:
    """What another process would have: the snapshot as bytes and text, restored."""
    arrays, counters = state.snapshot()
    text = json.dumps(counters, allow_nan=False, sort_keys=True)
    frozen = {name: np.frombuffer(array.tobytes(), array.dtype) for name, array in arrays.items()}
    return State.restore(plan, frozen, json.loads(text))


def trained(plan: Plan, data: Data, validation: Data | None = None) -> tuple[State, list[dict[str, float]]]:
    state = State.start(plan)
    return state, [epoch.metrics for epoch in train(plan, state, data, validation)]
