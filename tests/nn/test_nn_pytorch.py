"""The engine beside PyTorch 2.13, whose numbers record_pytorch.py wrote down. A new case is an entry in both files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nn import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    AdaGrad,
    Adam,
    AdamW,
    AmsGrad,
    Buffers,
    ConstantRate,
    CosineDecay,
    Dense,
    ExponentialDecay,
    Loss,
    Momentum,
    Nadam,
    Nesterov,
    Network,
    OneCycle,
    PolynomialDecay,
    ReduceOnPlateau,
    RmsProp,
    Sgd,
    StepDecay,
    warmed,
)

RECORDED = Path(__file__).parent / "recorded"

# Our layer's name and settings for each recorded case.
LAYER_CASES = {
    "conv2d": ("conv2d", {"units": 3, "size": 3}),
    "conv2d stride 2": ("conv2d", {"units": 3, "size": 3, "stride": 2}),
    "conv2d padding 2": ("conv2d", {"units": 3, "size": 3, "padding": 2}),
    "conv2d dilation 2": ("conv2d", {"units": 3, "size": 3, "dilation": 2}),
    "conv2d all at once": (
        "conv2d",
        {"units": 4, "size": 2, "stride": 3, "padding": 1, "dilation": 2, "bias": False},
    ),
    "conv2d same": ("conv2d", {"units": 3, "size": 3, "padding": "same"}),
    "conv2d same, even size": ("conv2d", {"units": 3, "size": 2, "padding": "same"}),
    "conv1d": ("conv1d", {"units": 4, "size": 3}),
    "conv1d all at once": ("conv1d", {"units": 4, "size": 3, "stride": 2, "padding": 3, "dilation": 2}),
    "max_pool": ("max_pool", {}),
    "max_pool stride 1, padding 1": ("max_pool", {"size": 3, "stride": 1, "padding": 1}),
    "max_pool of sequences": ("max_pool", {"size": 3, "stride": 2}),
    "average_pool": ("average_pool", {}),
    "average_pool padding 1": ("average_pool", {"size": 3, "stride": 2, "padding": 1}),
    "average_pool of sequences": ("average_pool", {"size": 3, "stride": 2}),
    "global_average_pool": ("global_average_pool", {}),
    "batch_norm": ("batch_norm", {}),
    "batch_norm of images": ("batch_norm", {}),
    "batch_norm in evaluation": ("batch_norm", {}),
    "layer_norm": ("layer_norm", {}),
    "layer_norm of sequences": ("layer_norm", {}),
    "embedding": ("embedding", {"vocabulary": 7, "units": 3}),
}
CHANNELS_FIRST = {"conv2d", "conv1d", "max_pool", "average_pool", "global_average_pool", "batch_norm"}  # in PyTorch

# PyTorch's parameter, ours, and how its axes become ours.
PARAMETERS: dict[str, dict[str, tuple[str, Callable[[np.ndarray], np.ndarray]]]] = {
    "dense": {"weight": ("weight", np.transpose)},
    "conv2d": {"weight": ("weight", lambda weight: weight.transpose(2, 1, 3, 0))},  # (height, channels, width, units)
    "conv1d": {"weight": ("weight", lambda weight: weight.transpose(1, 2, 0)[None])},  # height 1
    "batch_norm": {
        "weight": ("scale", np.asarray),
        "bias": ("shift", np.asarray),
        "running_mean": ("mean", np.asarray),
        "running_var": ("variance", np.asarray),
    },
    "layer_norm": {"weight": ("scale", np.asarray), "bias": ("shift", np.asarray)},
}

LOSS_CASES = {
    "cross_entropy": ("cross_entropy", {}),
    "cross_entropy smoothed": ("cross_entropy", {"label_smoothing": 0.1}),
    "binary_cross_entropy": ("binary_cross_entropy", {}),
    "mse": ("mse", {}),
    "quadratic": ("quadratic", {}),
    "mae": ("mae", {}),
    "huber": ("huber", {}),
    "huber delta 0.3": ("huber", {"delta": 0.3}),
    "hinge": ("hinge", {}),
    "hinge margin 2.5": ("hinge", {"margin": 2.5}),
}

OPTIMIZER_CASES = {
    "sgd": Sgd(0.1),
    "momentum": Momentum(0.1),
    "nesterov": Nesterov(0.1),
    "adagrad": AdaGrad(),
    "rmsprop": RmsProp(),
    "rmsprop with momentum": RmsProp(0.02, rho=0.9, momentum=0.8),
    "adam": Adam(),
    "adam with a large epsilon": Adam(0.1, 0.8, 0.95, 0.01),
    "adamw": AdamW(),
    "adamw that decays fast": AdamW(0.1, weight_decay=0.5),
    "amsgrad": AmsGrad(0.05),
    "nadam": Nadam(),
    "nadam that hurries": Nadam(0.05, momentum_decay=0.3),
}

# The schedule and the steps of its warm-up.
SCHEDULE_CASES = {
    "constant": (ConstantRate(), 0),
    "step": (StepDecay(3, 0.5), 0),
    "exponential": (ExponentialDecay(), 0),
    "polynomial": (PolynomialDecay(power=2.0), 0),
    "cosine": (CosineDecay(0.1), 0),
    "cosine with restarts": (CosineDecay(restarts=2, growth=2.0), 0),
    "one_cycle": (OneCycle(), 0),
    "cosine, warmed": (CosineDecay(), 5),
}


@cache
def recorded(family: str) -> dict[str, dict[str, np.ndarray]]:
    """The arrays of every case of a family."""
    cases: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    with np.load(RECORDED / f"{family}.npz", allow_pickle=False) as arrays:
        for name, array in arrays.items():
            case, _, key = name.partition("/")
            cases[case][key] = array
    return dict(cases)


def test_every_recorded_case_is_compared():
    tables = {
        "activations": ACTIVATIONS,
        "layers": LAYER_CASES,
        "losses": LOSS_CASES,
        "optimizers": OPTIMIZER_CASES,
        "schedules": SCHEDULE_CASES,
    }
    for family, table in tables.items():
        assert list(recorded(family)) == list(table)


def assert_near(found: np.ndarray, wanted: np.ndarray, dtype: type) -> None:
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype is np.float32 else 1e-10
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)


both_types = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def ours(case: dict[str, np.ndarray], moment: str, layers: dict[str, str]) -> dict[str, np.ndarray]:
    """What was recorded before, after, or as gradient, by our names and with our axes.

    `layers` has the name of our layer for each that PyTorch has.
    """
    found = {}
    for key, array in case.items():
        when, _, parameter = key.partition(".")
        if when == moment:
            layer, _, name = parameter.rpartition(".")
            kind = layers[layer].partition(".")[2]
            short, turn = PARAMETERS.get(kind, {}).get(name, (name, np.asarray))
            found[f"{layers[layer]}.{short}"] = turn(array)
    return found


def check_network(
    network: Network, case: dict[str, np.ndarray], layers: dict[str, str], dtype: type, training: bool = True
) -> None:
    """Outputs, every gradient, and the running values that training leaves behind."""
    parameters = network.initialise(np.random.default_rng(0), dtype)
    for name, array in ours(case, "before", layers).items():
        parameters.views[name][...] = array
    gradients, buffers = parameters.like(), Buffers()
    outputs, caches = network.forward(parameters, case["x"].astype(dtype), training=training, buffers=buffers)
    assert_near(outputs, case["y"], dtype)
    dy = case["dy"].astype(dtype)
    dx = network.backward(parameters, gradients, caches, dy, buffers=buffers, input_gradient=True)
    if "dx" in case:
        assert dx is not None
        assert_near(dx, case["dx"], dtype)
    for name, array in ours(case, "gradient", layers).items():
        assert_near(gradients.views[name], array, dtype)
    for name, array in ours(case, "after", layers).items():
        assert_near(parameters.views[name], array, dtype)


@both_types
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_dense_layers_with_an_activation_are_pytorchs(name, dtype):
    network = Network([Dense(6, name), Dense(4, name)], (5,))
    check_network(network, recorded("activations")[name], {"0": "1.dense", "2": "2.dense"}, dtype)


@both_types
@pytest.mark.parametrize("name", LAYER_CASES)
def test_a_layer_is_pytorchs(name, dtype):
    kind, settings = LAYER_CASES[name]
    case = dict(recorded("layers")[name])
    if kind in CHANNELS_FIRST:
        case |= {key: np.moveaxis(case[key], 1, -1) for key in ("x", "y", "dy", "dx")}
    network = Network([LAYERS[kind](**settings)], case["x"].shape[1:])
    check_network(network, case, {"": f"1.{kind}"}, dtype, training="evaluation" not in name)


def made_loss(name: str) -> Loss:
    kind, settings = LOSS_CASES[name]
    return LOSSES[kind](**settings)


def typed(case: dict[str, np.ndarray], dtype: type) -> tuple[np.ndarray, ...]:
    """Outputs, targets and weights in this type; class labels stay whole numbers."""
    targets = case["targets"]
    targets = targets if targets.dtype.kind == "i" else targets.astype(dtype)
    return case["outputs"].astype(dtype), targets, case["weights"].astype(dtype)


@both_types
@pytest.mark.parametrize("name", LOSS_CASES)
def test_a_loss_is_pytorchs(name, dtype):
    loss, case = made_loss(name), recorded("losses")[name]
    outputs, targets, _ = typed(case, dtype)
    value, gradient = loss(outputs, targets, Buffers())
    assert_near(value, case["value"], dtype)
    assert_near(gradient, case["gradient"], dtype)
    assert_near(loss.value(outputs, targets), case["value"], dtype)


@both_types
@pytest.mark.parametrize("name", LOSS_CASES)
def test_a_weighted_loss_is_pytorchs(name, dtype):
    loss, case = made_loss(name), recorded("losses")[name]
    outputs, targets, weights = typed(case, dtype)
    value, gradient = loss(outputs, targets, Buffers(), weights)
    assert_near(value, case["weighted.value"], dtype)
    assert_near(gradient, case["weighted.gradient"], dtype)


@both_types
@pytest.mark.parametrize("name", OPTIMIZER_CASES)
def test_ten_steps_end_where_pytorchs_do(name, dtype):
    optimizer, case = OPTIMIZER_CASES[name], recorded("optimizers")[name]
    parameters = case["start"].astype(dtype)
    state = optimizer.init(parameters)
    for gradient, place in zip(case["gradients"].astype(dtype), case["places"], strict=True):
        parameters *= 1 - optimizer.learning_rate * optimizer.weight_decay  # as the training does
        state = optimizer.update(state, parameters, gradient)
        assert_near(parameters, place, dtype)


@pytest.mark.parametrize("name", SCHEDULE_CASES)
def test_a_schedule_is_pytorchs(name):
    (schedule, warmup), wanted = SCHEDULE_CASES[name], recorded("schedules")[name]["factors"]
    found = [warmed(schedule, warmup, step, len(wanted), 1) for step in range(len(wanted))]
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


def test_a_plateau_lowers_the_learning_rate_when_pytorchs_does():
    case = recorded("plateaus")["reduce_on_plateau"]
    schedule = ReduceOnPlateau(gamma=0.5, patience=3, min_delta=0.1, floor=0.1)  # PyTorch's patience of 2
    best, waited, scale, scales = None, 0, 1.0, []
    for value in case["values"].tolist():
        best, waited, scale = schedule.after(value, best, waited, scale)
        scales.append(scale)
    assert len(set(scales)) > 3
    np.testing.assert_allclose(scales, case["scales"], rtol=1e-12)
