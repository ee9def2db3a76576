"""A member of a stack ends with the same bytes as the same network trained alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import blobs, labels_for, law, targets_for, trained

import nn
from nn import (
    ACTIVATIONS,
    LOSSES,
    Activation,
    Adam,
    Buffers,
    CrossEntropy,
    Data,
    Dense,
    Dropout,
    Network,
    Plan,
    State,
)

# Small steps, so that none diverges. Weight decay is the training's own affair: adamw's update is adam's.
OPTIMIZERS = [optimizer(0.001) for optimizer in nn.OPTIMIZERS.values() if not optimizer().weight_decay]


def train_together(plan: Plan, seeds: list[int], features, targets) -> np.ndarray:
    """Every member with its own weights, order and noise; the same calls as in the training loop."""
    alone = [State.start(Plan(plan.network, plan.loss, plan.optimizer, seed=seed)) for seed in seeds]
    parameters = plan.network.initialise([np.random.default_rng(0) for _ in seeds])
    parameters.flat[...] = np.stack([state.parameters.flat for state in alone])
    gradients, buffers, loss_buffers = parameters.like(), Buffers(), Buffers()
    state, noise = plan.optimizer.init(parameters.flat), [member.noise for member in alone]
    for _ in range(plan.epochs):
        orders = np.stack([member.shuffle.permutation(len(features)) for member in alone])
        for start in range(0, len(features), plan.batch_size):
            chosen = orders[:, start : start + plan.batch_size]
            outputs, caches = plan.network.forward(
                parameters, features[chosen], rng=noise, training=True, buffers=buffers
            )
            _, gradient = plan.loss(outputs, targets[chosen], loss_buffers)
            plan.network.backward(parameters, gradients, caches, gradient, buffers=buffers)
            state = plan.optimizer.update(state, parameters.flat, gradients.flat)
    return parameters.flat


def check(widths, activation, rate, loss_name, optimizer, samples, features, batch_size, seeds):
    classes = widths[-1]
    data, loss = blobs(samples, features, classes), LOSSES[loss_name]()
    data = Data(data.features, labels_for(loss, np.random.default_rng(0), (samples, classes)))
    hidden = [layer for width in widths[:-1] for layer in (Dense(width, activation), Dropout(rate))]
    network = Network([*hidden, Activation("tanh"), Dense(classes)], (features,))
    plan = Plan(network, loss, optimizer, epochs=2, batch_size=batch_size)
    together = train_together(plan, seeds, data.features, loss.targets(data.labels, classes))
    for seed, member in zip(seeds, together, strict=True):
        state, _ = trained(Plan(network, loss, optimizer, epochs=2, batch_size=batch_size, seed=seed), data)
        assert np.isfinite(member).all()
        assert member.tobytes() == state.parameters.flat.tobytes()


@law
@given(
    widths=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    activation=st.sampled_from(sorted(ACTIVATIONS)),
    rate=st.sampled_from([0.0, 0.3]),
    loss_name=st.sampled_from(sorted(LOSSES)),
    optimizer=st.sampled_from(OPTIMIZERS),
    samples=st.integers(1, 50),
    features=st.integers(1, 70),
    batch_size=st.integers(1, 35),
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=4),
)
def test_a_member_ends_with_the_bytes_it_has_alone(**case):
    check(**case)


@pytest.mark.parametrize(
    ("widths", "samples", "features", "batch_size"),
    [
        ([1], 7, 1, 1),  # everything as small as can be
        ([33, 1], 300, 3, 300),  # one output, a batch longer than NumPy's summation blocks
        ([129, 17], 67, 257, 33),  # odd, beyond the kernels' tiles
        ([10], 401, 5, 200),
        ([100, 10], 64, 784, 32),
    ],
)
@pytest.mark.parametrize("loss_name", LOSSES)
def test_a_member_ends_with_the_bytes_it_has_alone_in_hard_shapes(widths, samples, features, batch_size, loss_name):
    check(widths, "relu", 0.25, loss_name, Adam(0.01), samples, features, batch_size, [3, 1, 4])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_of_a_stack_are_those_of_its_members(name, weighted):
    rng, loss = np.random.default_rng(0), LOSSES[name]()
    for batch, width in ((1, 1), (200, 1), (33, 10), (1, 300)):
        outputs = rng.normal(size=(3, batch, width)).astype(np.float32)
        targets = targets_for(loss, rng, outputs.shape)
        weights = rng.random((3, batch), np.float32) if weighted else np.array([None] * 3)
        value, gradient = loss(outputs, targets, Buffers(), weights if weighted else None)
        assert loss.value(outputs, targets, None, weights if weighted else None).tobytes() == value.tobytes()
        for index in range(3):
            alone = loss(outputs[index], targets[index], Buffers(), weights[index])
            assert (value[index].tobytes(), gradient[index].tobytes()) == (alone[0].tobytes(), alone[1].tobytes())


def test_two_axes_of_members_are_as_good_as_one():
    network = Network([Dense(4, "relu"), Dropout(0.5), Dense(3)], (6,))
    flat = network.initialise([np.random.default_rng(seed) for seed in range(6)]).flat
    x, labels = np.random.default_rng(1).normal(size=(6, 5, 6)).astype(np.float32), np.arange(30).reshape(6, 5) % 3
    found = []
    for stack in ((6,), (2, 3)):
        parameters = network.parameters(flat.reshape(*stack, -1))
        gradients, buffers = parameters.like(), Buffers()
        noise = [np.random.default_rng(seed) for seed in range(6)]
        outputs, caches = network.forward(
            parameters, x.reshape(*stack, 5, 6), rng=noise, training=True, buffers=buffers
        )
        _, gradient = CrossEntropy()(outputs, labels.reshape(*stack, 5), Buffers())
        network.backward(parameters, gradients, caches, gradient, buffers=buffers)
        found.append(gradients.flat.tobytes())
    assert found[0] == found[1]
