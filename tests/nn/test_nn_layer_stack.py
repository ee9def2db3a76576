"""Every layer: a member of a stack has the bytes that the same network has alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import (
    LAYERS,
    Activation,
    Adam,
    AveragePool,
    BatchNorm,
    Buffers,
    Conv1d,
    Conv2d,
    CrossEntropy,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Network,
    Reshape,
    Residual,
)

IMAGE, SEQUENCE, WORDS = (9, 8, 3), (11, 3), (7,)
CASES = {
    "conv2d": ([Conv2d(4, 3, activation="relu")], IMAGE),
    "conv2d padded": ([Conv2d(5, 3, stride=2, padding="same"), Conv2d(1, 2, dilation=2)], IMAGE),
    "conv2d pooled": ([Conv2d(7, 2, activation="relu"), MaxPool(2), Conv2d(2, 2, padding=1), MaxPool(2)], IMAGE),
    "conv2d one": ([Conv2d(1, 8, padding=1)], (8, 8, 1)),
    "conv1d": ([Conv1d(4, 3, activation="tanh"), Conv1d(2, 2, stride=2)], SEQUENCE),
    "max_pool": ([Conv2d(2, 2), MaxPool(2), MaxPool(2, stride=1, padding="same")], IMAGE),
    "average_pool": ([Conv2d(2, 2), AveragePool(2), AveragePool(3, padding=1)], IMAGE),
    "global_average_pool": ([Conv2d(6, 2), GlobalAveragePool()], IMAGE),
    "flatten": ([Conv2d(2, 3), Flatten()], IMAGE),
    "reshape": ([Dense(12), Reshape((2, 2, 3)), Conv2d(2, 2)], WORDS),
    "batch_norm": ([BatchNorm(), Conv2d(4, 3), BatchNorm(), Activation("relu")], IMAGE),
    "batch_norm dense": ([Dense(1), BatchNorm(), Dense(9), BatchNorm()], WORDS),
    "layer_norm": ([LayerNorm(), Conv2d(4, 3), LayerNorm()], IMAGE),
    "embedding": ([Embedding(5, 3), Conv1d(2, 2)], WORDS),
    "residual": ([Residual((Conv2d(3, 3, padding="same"), Dropout(0.3), Residual((BatchNorm(),)))), MaxPool()], IMAGE),
    "dropout": ([Conv2d(4, 3), Dropout(0.4)], IMAGE),
    "dense": ([Dense(4)], WORDS),
    "activation": ([Conv2d(4, 3), Activation("sigmoid")], IMAGE),
}


def steps(network, members, x, labels, seeds):
    """Three steps with Adam, each member with its own noise; the parameters, in one vector each."""
    parameters = network.initialise([np.random.default_rng(seed) for seed in members])
    noise = [np.random.default_rng(seed + 100) for seed in members]
    if len(members) == 1:
        parameters, noise = parameters.member(0), noise[0]
        x, labels = x[0], labels[0]
    gradients, buffers, loss_buffers, optimizer = parameters.like(), Buffers(), Buffers(), Adam(0.01)
    state = optimizer.init(parameters.flat)
    for _ in range(3):
        outputs, caches = network.forward(parameters, x, rng=noise, training=True, buffers=buffers)
        _, gradient = CrossEntropy()(outputs, labels, loss_buffers)
        network.backward(parameters, gradients, caches, gradient, buffers=buffers)
        state = optimizer.update(state, parameters.flat, gradients.flat)
    return [member.tobytes() for member in np.atleast_2d(parameters.flat)]


@pytest.mark.parametrize("name", CASES)
@law
@given(batch=st.integers(1, 40), seeds=st.lists(st.integers(0, 99), min_size=2, max_size=4))
def test_a_member_has_the_bytes_it_has_alone(name, batch, seeds):
    layers, shape = CASES[name]
    network = Network([*layers, Flatten(), Dense(3)], shape)
    rng = np.random.default_rng(seeds[0])
    size = (len(seeds), batch, *shape)
    x = rng.integers(0, 5, size).astype(np.float32) if name == "embedding" else rng.random(size, np.float32)
    labels = rng.integers(0, 3, (len(seeds), batch))
    together = steps(network, seeds, x, labels, seeds)
    for index, seed in enumerate(seeds):
        part = slice(index, index + 1)
        assert steps(network, [seed], x[part], labels[part], seeds) == together[part]


def test_every_layer_is_tested_in_a_stack():
    assert set(LAYERS) <= set(CASES)


def test_an_input_shared_by_the_stack_gives_what_each_member_gives():
    layers = [Conv2d(4, 3, activation="relu"), BatchNorm(), LayerNorm(), MaxPool(2), Dropout(0.5)]
    network = Network([*layers, Residual((Conv2d(4, 1),)), Flatten(), Dense(2)], (8, 8, 1))
    parameters = network.initialise([np.random.default_rng(seed) for seed in range(3)])
    x = np.random.default_rng(5).random((6, 8, 8, 1), np.float32)
    together = network.predict(parameters, x)
    for index in range(3):
        alone = network.predict(parameters.member(index), x)
        assert together[index].tobytes() == alone.tobytes()
