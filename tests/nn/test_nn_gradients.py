"""Every gradient against central differences in float64, on odd shapes."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nn_tools import assert_close, law, slope

from nn import (
    ACTIVATIONS,
    LAYERS,
    LOSSES,
    Activation,
    Buffers,
    CrossEntropy,
    Dense,
    Dropout,
    FlatBuffer,
    Layer,
    MeanSquaredError,
    Network,
    one_hot,
)

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)
stacks = st.sampled_from([(), (1,), (3,), (2, 2)])


def check_layer(layer: Layer, shape: tuple[int, ...], batch: int, stack: tuple[int, ...], seed: int) -> None:
    """Both the parameters' and the input's gradient of sum(y * weights)."""
    rng = np.random.default_rng(seed)
    network = Network([layer], shape)
    parameters = FlatBuffer(network.parameter_shapes, np.float64, stack=stack)
    parameters.flat[...] = rng.normal(size=parameters.flat.shape)
    x = rng.normal(size=(*stack, batch, *shape))
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
    assert_close(found[0], slope(lambda: float((run()[0] * weights).sum()), x))
    assert_close(found[1], slope(lambda: float((run()[0] * weights).sum()), parameters.flat))


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


def test_every_layer_has_a_gradient_test():
    assert set(LAYERS) == {"dense", "dropout", "activation"}, "add the new layer's gradient test above, then its name"


@law
@given(sizes, sizes, stacks, seeds)
def test_cross_entropy_has_the_gradient_of_central_differences(batch, classes, stack, seed):
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 3, (*stack, batch, classes))
    labels = rng.integers(0, classes, (*stack, batch))
    _, gradient = CrossEntropy()(outputs, labels, Buffers())
    assert_close(gradient, slope(lambda: float(CrossEntropy().value(outputs, labels).sum()), outputs))


@law
@given(sizes, sizes, stacks, seeds)
def test_mse_has_the_gradient_of_central_differences(batch, width, stack, seed):
    rng = np.random.default_rng(seed)
    outputs, targets = rng.normal(size=(2, *stack, batch, width))
    _, gradient = MeanSquaredError()(outputs, targets, Buffers())
    assert_close(gradient, slope(lambda: float(MeanSquaredError().value(outputs, targets).sum()), outputs))


@law
@given(st.lists(sizes, min_size=1, max_size=3), st.sampled_from(sorted(LOSSES)), sizes, seeds)
def test_a_whole_network_has_the_gradient_of_central_differences(widths, loss_name, batch, seed):
    rng = np.random.default_rng(seed)
    layers = [Dropout(0.2), *(Dense(width, "tanh") for width in widths), Activation("sigmoid"), Dense(3)]
    network, loss = Network(layers, (4,)), LOSSES[loss_name]()
    parameters = network.initialise(rng, np.float64)
    x, labels = rng.normal(size=(batch, 4)), rng.integers(0, 3, batch)
    targets = loss.targets(labels, 3)
    gradients, buffers = parameters.like(), Buffers()

    def outputs_and_caches():
        return network.forward(parameters, x, rng=np.random.default_rng(seed), training=True, buffers=buffers)

    outputs, caches = outputs_and_caches()
    _, gradient = loss(outputs, targets, buffers)
    assert network.backward(parameters, gradients, caches, gradient, buffers=buffers) is None
    found = gradients.flat.copy()
    assert_close(found, slope(lambda: float(loss.value(outputs_and_caches()[0], targets)), parameters.flat))


@pytest.mark.parametrize("size", [1e4, -1e4])
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_finite_for_huge_outputs(name, size):
    outputs = np.array([[size, 0, 0], [0, size, -size], [size, size, size]], np.float32)
    loss = LOSSES[name]()
    value, gradient = loss(outputs, loss.targets(np.array([1, 2, 0]), 3), Buffers())
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_finite_and_silent_for_huge_inputs(name):
    x = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    function, y = ACTIVATIONS[name](), np.empty(5, np.float32)
    function.forward(x, y)
    assert np.isfinite(y).all()
    assert np.isfinite(function.backward(x, y, np.ones(5, np.float32), Buffers())).all()


def test_cross_entropy_of_known_logits():
    outputs = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    value, gradient = CrossEntropy()(outputs, np.array([0, 1]), Buffers())
    assert value == pytest.approx(-(np.log(0.7) + np.log(0.8)) / 2)
    np.testing.assert_allclose(gradient, [[-0.15, 0.1, 0.05], [0.05, -0.1, 0.05]])


def test_mse_is_the_mean_over_batch_and_outputs():
    value, gradient = MeanSquaredError()(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]), Buffers())
    assert value == 2.5
    np.testing.assert_allclose(gradient, [[1.0, 2.0]])


def test_integer_labels_become_one_hot_for_mse():
    targets = MeanSquaredError().targets(np.array([2, 0]), 3)
    np.testing.assert_array_equal(targets, [[0, 0, 1], [1, 0, 0]])
    assert targets.dtype == np.float32


@pytest.mark.parametrize("labels", [np.array([0, 3]), np.array([-1, 0]), np.array([0.5])])
def test_labels_the_network_cannot_answer_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        one_hot(labels, 3)
    with pytest.raises(ValueError, match="labels"):
        CrossEntropy().targets(labels, 3)


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
