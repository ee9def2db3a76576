"""Small helpers of the engine's tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import assume, settings
from hypothesis import strategies as st

from nn import (
    Buffers,
    CrossEntropy,
    Data,
    Dense,
    Dropout,
    FlatBuffer,
    Layer,
    Loss,
    Network,
    Optimizer,
    Plan,
    Sgd,
    State,
    train,
)

law = settings(deadline=None, max_examples=60)
"""For every @given: a busy machine is slow, not wrong."""

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)
stacks = st.sampled_from([(), (1,), (3,), (2, 2)])


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


@st.composite
def kernels(draw: st.DrawFn, *lengths: int, dilated: bool = True) -> dict[str, Any]:
    """Settings of a window that fits these lengths: as large as the input, steps beyond the window, padding."""
    dilation = draw(st.integers(1, 3)) if dilated else 1
    padding = draw(st.sampled_from(["valid", "same", 0, 1, 2]))
    room = min(lengths) + 2 * (padding if isinstance(padding, int) else 0)
    most = 4 if padding == "same" else min(4, (room - 1) // dilation + 1)
    size = draw(st.integers(1, most))
    if not dilated and isinstance(padding, int):
        padding = min(padding, size - 1)
    chosen = {"size": size, "stride": draw(st.integers(1, 5)), "padding": padding}
    return {**chosen, "dilation": dilation} if dilated else chosen


def check_layer(
    layer: Layer | Sequence[Layer],
    shape: tuple[int, ...],
    batch: int,
    stack: tuple[int, ...],
    seed: int,
    ids: np.ndarray | None = None,
) -> None:
    """Both the parameters' and the input's gradient of sum(y * weights), against central differences in float64."""
    rng = np.random.default_rng(seed)
    network = Network([layer] if isinstance(layer, Layer) else layer, shape)
    parameters = FlatBuffer(network.parameter_shapes, np.float64, stack=stack)
    parameters.flat[...] = rng.normal(size=parameters.flat.shape)
    x = rng.normal(size=(*stack, batch, *shape)) if ids is None else ids
    weights = rng.normal(size=(*stack, batch, *network.output_shape))
    gradients, buffers = parameters.like(), Buffers()

    def run() -> tuple[np.ndarray, list]:
        noise = np.random.default_rng(seed)
        members = [np.random.default_rng(seed + index) for index in range(int(np.prod(stack)))] if stack else noise
        return network.forward(parameters, x, rng=members, training=True, buffers=buffers)

    outputs, caches = run()
    # A kink within a step of 0 has no slope to compare with.
    if getattr(layer, "activation", getattr(layer, "function", "")) in ("relu", "leaky_relu", "selu"):
        assume(not np.any((np.abs(outputs) < 1e-4) & (outputs != 0)))
    dx = network.backward(parameters, gradients, caches, weights.copy(), buffers=buffers, input_gradient=True)
    assert dx is not None
    found = dx.copy(), gradients.flat.copy()
    if ids is None:
        assert_close(found[0], slope(lambda: float((run()[0] * weights).sum()), x))
    else:
        assert not found[0].any()  # whole numbers have no slope
    assert_close(found[1], slope(lambda: float((run()[0] * weights).sum()), parameters.flat))


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
