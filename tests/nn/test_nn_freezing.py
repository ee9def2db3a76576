"""Frozen layers keep what they have, and other runs' parameters are what a training begins with."""

import numpy as np
import pytest
from nn_tools import assert_close, blobs, slope, trained

from nn import (
    OPTIMIZERS,
    Adam,
    BatchNorm,
    Buffers,
    Conv2d,
    CrossEntropy,
    Data,
    Dense,
    Dropout,
    Flatten,
    MaxPool,
    Network,
    Plan,
    Residual,
    Sgd,
    State,
    train,
)

LAYERS = [Dense(6, "tanh"), BatchNorm(), Dropout(0.2), Dense(5, "tanh"), BatchNorm(), Dense(3)]


def plan_of(frozen=(1, 2, 5), layers=LAYERS, shape=(5,), **changes) -> Plan:
    given = {"optimizer": Adam(0.05), "epochs": 3, "batch_size": 8, "metrics": ("accuracy",), "seed": 4, **changes}
    return Plan(Network(layers, shape, frozen), CrossEntropy(), **given)


def frozen_bytes(plan: Plan, parameters) -> dict[str, bytes]:
    views = parameters.views.items()
    return {name: view.tobytes() for name, view in views if int(name.partition(".")[0]) in plan.network.frozen}


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_parameters_and_statistics_keep_their_bytes_whatever_else_is_asked(name, accumulate):
    settings = {"momentum": 0.9} if name in ("sgd", "rmsprop") else {}
    decay = {"weight_decay": 0.5} if name in ("sgd", "momentum", "nesterov", "adamw") else {}
    optimizer = OPTIMIZERS[name](learning_rate=0.01, **settings, **decay)
    plan = plan_of(
        optimizer=optimizer, accumulate=accumulate, l1=0.1, l2=0.1, average=0.9, clip_norm=1.0, clip_value=0.5
    )
    start = State.start(plan)
    state, _ = trained(plan, blobs(44), blobs(20, seed=1))
    wanted = frozen_bytes(plan, start.parameters)
    assert len(wanted) == 2 + 4 + 4
    for kept in (state.parameters, state.average, state.best):
        assert frozen_bytes(plan, kept) == wanted
    others = [name for name in plan.network.parameter_shapes if name not in wanted]
    assert all((state.parameters.views[name] != start.parameters.views[name]).any() for name in others)


def test_what_is_below_the_first_layer_that_learns_is_not_differentiated(monkeypatch):
    asked = []
    backward = Dense.backward

    def spy(layer, parameters, gradients, cache, dy, *, buffers, input_gradient=True):
        asked.append((layer.units, input_gradient))
        return backward(layer, parameters, gradients, cache, dy, buffers=buffers, input_gradient=input_gradient)

    monkeypatch.setattr(Dense, "backward", spy)
    plan = plan_of((1, 3), [Dense(6), Dropout(0.1), Dense(5), Dense(4), Dense(3)], epochs=1, batch_size=60)
    trained(plan, blobs(60))
    assert asked == [(3, True), (4, False)]


def test_a_frozen_layer_above_one_that_learns_hands_the_gradient_down():
    plan = plan_of((2,), [Dense(6, "tanh"), Dense(3)])
    start = State.start(plan).parameters
    state, history = trained(plan, blobs(60))
    assert (state.parameters.views["1.dense.weight"] != start.views["1.dense.weight"]).all()
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize("shape", [(4,), (3, 3, 2)])
@pytest.mark.parametrize("stack", [(), (3,)])
def test_a_frozen_batch_norm_uses_its_statistics_and_has_their_gradient(shape, stack):
    rng = np.random.default_rng(0)
    first = Dense(4) if len(shape) == 1 else Conv2d(2, 2)
    layers = [first, BatchNorm(), Flatten(), Dense(3)]
    network = Network(layers, shape, frozen=(2,))
    parameters = network.initialise([rng] * 3 if stack else rng, np.float64)
    parameters.flat[...] = rng.normal(size=parameters.flat.shape)
    parameters.views["2.batch_norm.variance"][...] = rng.uniform(
        0.5, 2, (*stack, parameters.shapes["2.batch_norm.mean"][0])
    )
    x, weights = rng.normal(size=(*stack, 5, *shape)), rng.normal(size=(*stack, 5, 3))
    gradients, buffers, before = parameters.like(), Buffers(), parameters.flat.copy()

    def run():
        return network.forward(parameters, x, training=True, buffers=buffers)

    outputs, caches = run()
    evaluated, _ = network.forward(parameters, x, training=False)
    assert outputs.tobytes() == evaluated.tobytes()
    dx = network.backward(parameters, gradients, caches, weights.copy(), buffers=buffers, input_gradient=True).copy()
    assert parameters.flat.tobytes() == before.tobytes()
    assert_close(dx, slope(lambda: float((run()[0] * weights).sum()), x))
    for name in (
        "1.dense.weight" if len(shape) == 1 else "1.conv2d.weight",
        "2.batch_norm.scale",
        "2.batch_norm.shift",
    ):
        view, found = parameters.views[name], gradients.views[name].copy()
        assert_close(found, slope(lambda: float((run()[0] * weights).sum()), view))
    assert not gradients.views["2.batch_norm.mean"].any()


def test_a_frozen_residual_branch_and_a_frozen_convolution_that_pools_keep_their_bytes():
    rng = np.random.default_rng(0)
    branch = Residual((Conv2d(4, 3, padding="same"), BatchNorm()))
    layers = [Conv2d(4, 3, activation="relu"), MaxPool(2), branch, Flatten(), Dense(3)]
    plan = plan_of((1, 3), layers, (8, 8, 1), epochs=2)
    data = Data(rng.normal(size=(30, 8, 8, 1)), rng.integers(0, 3, 30))
    state, _ = trained(plan, data)
    wanted = frozen_bytes(plan, State.start(plan).parameters)
    assert len(wanted) == 2 + 6
    assert frozen_bytes(plan, state.parameters) == wanted


def test_nothing_to_train_is_refused():
    with pytest.raises(ValueError, match="every layer with parameters is frozen"):
        Network([Dense(4), Dropout(0.1), Dense(3)], (5,), frozen=(1, 3))


# Another network's parameters


def test_parameters_of_the_same_name_and_shape_are_taken_and_the_others_drawn_as_without():
    donor, _ = trained(plan_of(()), blobs(60))
    layers = [Dense(6, "tanh"), BatchNorm(), Dropout(0.2), Dense(9, "tanh"), BatchNorm(), Dense(3)]
    plan = plan_of((1, 2), layers)
    state, alone = State.start(plan, begin=donor.parameters.views), State.start(plan)
    for name, view in state.parameters.views.items():
        taken = name.startswith(("1.dense", "2.batch_norm", "6.dense.bias"))
        source = donor.parameters if taken else alone.parameters
        assert view.tobytes() == source.views[name].tobytes(), name
    assert state.noise.bit_generator.state == alone.noise.bit_generator.state
    assert state.shuffle.bit_generator.state == alone.shuffle.bit_generator.state
    donor.parameters.flat[...] = 0
    assert state.parameters.views["1.dense.weight"].any()  # a copy


def test_the_average_begins_with_what_was_taken():
    donor, _ = trained(plan_of(()), blobs(60))
    state = State.start(plan_of((), average=0.9), begin=donor.parameters.views)
    assert state.average.flat.tobytes() == donor.parameters.flat.tobytes() == state.parameters.flat.tobytes()


def test_a_training_that_begins_with_the_end_of_another_goes_on_learning():
    plan, data = plan_of((), optimizer=Sgd(0.05), epochs=4), blobs(60)
    donor, history = trained(plan, data)
    state = State.start(plan, begin=donor.parameters.views)
    losses = [epoch.metrics["loss"] for epoch in train(plan, state, data)]
    assert max(losses) < history[0]["loss"]
