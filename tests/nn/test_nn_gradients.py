"""Every gradient against central differences in float64, on odd shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import assert_close, check_layer, law, seeds, sizes, slope, stacks, targets_for

from nn import (
    ACTIVATIONS,
    LOSSES,
    Activation,
    Buffers,
    Dense,
    Dropout,
    Network,
)


@law
@given(sizes, sizes, sizes, stacks, st.sampled_from(sorted(ACTIVATIONS)), st.booleans(), seeds)
def test_dense_has_the_gradient_of_central_differences(batch, fan_in, units, stack, activation, bias, seed):
    check_layer(Dense(units, activation, bias=bias), (fan_in,), batch, stack, seed)


@law
@given(sizes, st.lists(sizes, min_size=1, max_size=3), stacks, st.sampled_from(sorted(ACTIVATIONS)), seeds)
def test_activation_has_the_gradient_of_central_differences(batch, shape, stack, function, seed):
    check_layer(Activation(function), tuple(shape), batch, stack, seed)


@law
@given(sizes, st.lists(sizes, min_size=1, max_size=3), stacks, st.floats(0, 0.9), seeds)
def test_dropout_has_the_gradient_of_central_differences(batch, shape, stack, rate, seed):
    check_layer(Dropout(rate), tuple(shape), batch, stack, seed)


@law
@given(st.lists(sizes, min_size=1, max_size=3), st.sampled_from(sorted(LOSSES)), sizes, seeds)
def test_a_whole_network_has_the_gradient_of_central_differences(widths, loss_name, batch, seed):
    rng = np.random.default_rng(seed)
    layers = [Dropout(0.2), *(Dense(width, "tanh") for width in widths), Activation("sigmoid"), Dense(3)]
    network, loss = Network(layers, (4,)), LOSSES[loss_name]()
    parameters = network.initialise(rng, np.float64)
    x, targets = rng.normal(size=(batch, 4)), targets_for(loss, rng, (batch, 3))
    gradients, buffers = parameters.like(), Buffers()

    def outputs_and_caches():
        return network.forward(parameters, x, rng=np.random.default_rng(seed), training=True, buffers=buffers)

    outputs, caches = outputs_and_caches()
    _, gradient = loss(outputs, targets, buffers)
    assert network.backward(parameters, gradients, caches, gradient, buffers=buffers) is None
    found = gradients.flat.copy()
    assert_close(found, slope(lambda: float(loss.value(outputs_and_caches()[0], targets)), parameters.flat))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_finite_and_silent_for_huge_inputs(name):
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    function, y = ACTIVATIONS[name](), np.empty(5, np.float32)
    function.forward(x, y)
    assert np.isfinite(y).all()
    assert np.isfinite(function.backward(x, y, np.ones(5, np.float32), Buffers())).all()


def test_dropout_keeps_the_mean_and_does_nothing_outside_training():
    network = Network([Dropout(0.25)], (1000,))
    parameters = network.initialise(np.random.default_rng(0))
    x = np.ones((50, 1000), np.float32)
    dropped, _ = network.forward(parameters, x, rng=np.random.default_rng(1), training=True)
    assert set(np.unique(dropped)) == {np.float32(0), np.float32(4 / 3)}
    assert (dropped == 0).mean() == pytest.approx(0.25, abs=0.01)
    assert network.forward(parameters, x)[0] is x


def test_dropout_in_training_without_a_generator_is_refused():
    network = Network([Dropout(0.5)], (2,))
    with pytest.raises(ValueError, match="generator"):
        network.forward(network.initialise(np.random.default_rng(0)), np.ones((1, 2)), training=True)
