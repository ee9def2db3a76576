"""The gradients of layers beyond dense, against central differences in float64, on odd shapes."""

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from nn_tools import check_layer, kernels, law, seeds, sizes, stacks

from nn import (
    ACTIVATIONS,
    LAYERS,
    Activation,
    AveragePool,
    BatchNorm,
    Conv1d,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GlobalAveragePool,
    LayerNorm,
    MaxPool,
    Reshape,
    Residual,
)

few = st.integers(1, 3)
sides = st.integers(1, 7)
activations = st.sampled_from(sorted(ACTIVATIONS))


@law
@given(st.data(), few, sides, sides, few, few, stacks, activations, st.booleans(), seeds)
def test_conv2d(data, batch, height, width, channels, units, stack, activation, bias, seed):
    settings = data.draw(kernels(height, width))
    layer = Conv2d(units, activation=activation, bias=bias, **settings)
    check_layer(layer, (height, width, channels), batch, stack, seed)


@law
@given(st.data(), few, st.integers(2, 7), st.integers(2, 7), few, st.integers(1, 7), stacks, activations, seeds)
def test_conv2d_with_the_pooling_above_it(data, batch, height, width, channels, units, stack, activation, seed):
    settings = data.draw(kernels(height, width))
    layer = Conv2d(units, activation=activation, **settings)
    assume(min(layer.output_shape((height, width, channels))[:2]) >= 2)
    check_layer([layer, MaxPool(2)], (height, width, channels), batch, stack, seed)


@law
@given(st.data(), sizes, sides, few, few, stacks, activations, st.booleans(), seeds)
def test_conv1d(data, batch, length, channels, units, stack, activation, bias, seed):
    layer = Conv1d(units, activation=activation, bias=bias, **data.draw(kernels(length)))
    check_layer(layer, (length, channels), batch, stack, seed)


@law
@given(
    st.data(), st.sampled_from([MaxPool, AveragePool]), few, st.lists(sides, min_size=1, max_size=2), few, stacks, seeds
)
def test_pooling(data, kind, batch, lengths, channels, stack, seed):
    check_layer(kind(**data.draw(kernels(*lengths, dilated=False))), (*lengths, channels), batch, stack, seed)


@law
@given(few, st.lists(sizes, min_size=1, max_size=2), few, stacks, seeds)
def test_global_average_pool(batch, lengths, channels, stack, seed):
    check_layer(GlobalAveragePool(), (*lengths, channels), batch, stack, seed)


@law
@given(few, st.lists(sizes, min_size=1, max_size=3), stacks, seeds)
def test_flatten_and_reshape(batch, shape, stack, seed):
    check_layer(Flatten(), tuple(shape), batch, stack, seed)
    check_layer(Reshape((*reversed(shape), 1)), tuple(shape), batch, stack, seed)


@law
@given(st.integers(3, 6), st.lists(few, max_size=2), few, stacks, seeds)
def test_batch_norm(batch, places, channels, stack, seed):
    check_layer(BatchNorm(epsilon=0.01), (*places, channels), batch, stack, seed)


@law
@given(few, st.lists(few, max_size=2), st.integers(2, 5), stacks, seeds)
def test_layer_norm(batch, places, features, stack, seed):
    check_layer(LayerNorm(epsilon=0.01), (*places, features), batch, stack, seed)


@law
@given(few, sizes, sizes, few, stacks, seeds)
def test_embedding(batch, length, vocabulary, units, stack, seed):
    numbers = np.random.default_rng(seed).integers(0, vocabulary, (*stack, batch, length)).astype(float)
    check_layer(Embedding(vocabulary, units), (length,), batch, stack, seed, ids=numbers)


@law
@given(few, sizes, sizes, stacks, seeds)
def test_residual(batch, features, units, stack, seed):
    inner = Residual((Dropout(0.3), Dense(units, "tanh")))
    check_layer(Residual((Dense(units, "tanh"), inner, Dense(features))), (features,), batch, stack, seed)
    check_layer(Residual((Activation("tanh"),)), (features,), batch, stack, seed)


@law
@given(few, few, few, stacks, seeds)
def test_residual_with_layers_that_choose_their_order_in_memory(batch, side, channels, stack, seed):
    layers = (Conv2d(channels + 1, 3, padding="same", activation="tanh"), Dropout(0.2), Conv2d(channels, 1))
    check_layer(Residual(layers), (side, side + 1, channels), batch, stack, seed)


def test_every_layer_has_a_gradient_test():
    elsewhere = {"dense", "dropout", "activation"}
    here = {"conv1d", "conv2d", "max_pool", "average_pool", "global_average_pool", "flatten", "reshape"}
    here |= {"batch_norm", "layer_norm", "embedding", "residual"}
    assert set(LAYERS) == elsewhere | here, "add the new layer's gradient test, then its name"
