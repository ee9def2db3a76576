"""What the layers beyond dense compute, and what they refuse."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nn_tools import kernels, law, seeds

from nn import (
    LAYERS,
    Activation,
    AveragePool,
    BatchNorm,
    Buffers,
    Conv1d,
    Conv2d,
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
    ShapeError,
)

few, sides = st.integers(1, 3), st.integers(1, 7)


def run(layer, x, parameters=None, **how):
    network = Network([layer], x.shape[1:])
    flat = network.initialise(np.random.default_rng(0), np.float64) if parameters is None else parameters
    return network.forward(flat, x, **how)[0]


def padded(x, size, stride, padding, dilation, value):
    """The images with a border, by the rules of TensorFlow for "same"."""
    borders = []
    for length in x.shape[1:3]:
        reach = (size - 1) * dilation + 1
        need = max((-(-length // stride) - 1) * stride + reach - length, 0) if padding == "same" else 0
        before = need // 2 if isinstance(padding, str) else padding
        borders.append((before, need - before if isinstance(padding, str) else padding))
    return np.pad(x, [(0, 0), *borders, (0, 0)], constant_values=value)


def naive_windows(x, size, stride, padding, dilation=1, value=0.0):
    """(batch, height', width', size, size, channels), window by window."""
    x, reach = padded(x, size, stride, padding, dilation, value), (size - 1) * dilation + 1
    rows = range(0, x.shape[1] - reach + 1, stride)
    columns = range(0, x.shape[2] - reach + 1, stride)
    cut = [
        [x[:, row : row + reach : dilation, column : column + reach : dilation] for column in columns] for row in rows
    ]
    return np.moveaxis(np.array(cut), 2, 0)


@law
@given(st.data(), few, sides, sides, few, few, seeds)
def test_conv2d_is_a_product_with_every_window(data, batch, height, width, channels, units, seed):
    settings = data.draw(kernels(height, width))
    x = np.random.default_rng(seed).normal(size=(batch, height, width, channels))
    network = Network([Conv2d(units, **settings)], x.shape[1:])
    parameters = network.initialise(np.random.default_rng(seed), np.float64)
    parameters.views["1.conv2d.bias"][...] = np.arange(units)
    found = network.forward(parameters, x)[0]
    wanted = np.einsum("nhwijc,icju->nhwu", naive_windows(x, **settings), parameters.views["1.conv2d.weight"])
    assert found.shape[1:] == network.output_shape
    np.testing.assert_allclose(found, wanted + np.arange(units), atol=1e-12)


@law
@given(st.data(), few, sides, few, few, seeds)
def test_conv1d_is_conv2d_of_height_1(data, batch, length, channels, units, seed):
    settings = data.draw(kernels(length)) | {"padding": "valid"}
    settings["size"] = min(settings["size"], (length - 1) // settings["dilation"] + 1)
    x = np.random.default_rng(seed).normal(size=(batch, length, channels))
    network = Network([Conv1d(units, **settings)], x.shape[1:])
    parameters = network.initialise(np.random.default_rng(seed), np.float64)
    weight = parameters.views["1.conv1d.weight"][0]
    reach = (settings["size"] - 1) * settings["dilation"] + 1
    for place in range(network.output_shape[0]):
        start = place * settings["stride"]
        window = x[:, start : start + reach : settings["dilation"]]
        found = network.forward(parameters, x)[0][:, place]
        np.testing.assert_allclose(found, np.einsum("njc,cju->nu", window, weight), atol=1e-12)


@law
@given(st.data(), few, sides, sides, few, seeds)
def test_pooling_takes_the_largest_or_the_mean_of_what_is_not_padding(data, batch, height, width, channels, seed):
    settings = data.draw(kernels(height, width, dilated=False))
    x = np.random.default_rng(seed).normal(size=(batch, height, width, channels))
    cut = naive_windows(x, **settings, value=np.nan)
    np.testing.assert_array_equal(run(MaxPool(**settings), x), np.nanmax(cut, axis=(3, 4)))
    np.testing.assert_allclose(run(AveragePool(**settings), x), np.nanmean(cut, axis=(3, 4)), atol=1e-12)


@law
@given(st.data(), few, st.integers(4, 9), st.integers(4, 9), few, st.integers(1, 9), seeds)
def test_pooling_computed_with_the_convolution_is_that_of_the_two_layers(
    data, batch, height, width, channels, units, seed
):
    """Ones, zeros and minus ones, so that many cells are equal and nothing is rounded."""
    activation, bias = data.draw(st.sampled_from(["linear", "relu"])), data.draw(st.booleans())
    convolution = Conv2d(units, **data.draw(kernels(4)) | {"stride": 1}, activation=activation, bias=bias)
    assume(min(convolution.output_shape((height, width, channels))[:2]) >= 2)
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (batch, height, width, channels)).astype(float)
    flat = rng.integers(-1, 2, Network([convolution], x.shape[1:]).size).astype(float)
    found = []
    for between in ((), (Activation("linear"),)):
        network, buffers = Network([convolution, *between, MaxPool(2)], x.shape[1:]), Buffers()
        parameters = network.parameters(flat)
        gradients = parameters.like()
        y, caches = network.forward(parameters, x, buffers=buffers)
        y, dy = y.copy(), np.random.default_rng(seed).integers(1, 9, y.shape).astype(float)
        dx = network.backward(parameters, gradients, caches, dy, buffers=buffers, input_gradient=True)
        found.append((y, gradients.flat, dx))
    for merged, apart in zip(*found, strict=True):
        np.testing.assert_array_equal(merged, apart)


def test_the_first_of_equal_cells_gets_the_gradient_of_max_pooling():
    x = np.array([[1, 2, 2], [2, 2, 0], [0, 2, 2]], float)[None, :, :, None]
    for layer, dy, wanted in (
        (MaxPool(3), np.ones((1, 1, 1, 1)), [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
        (MaxPool(2, stride=1), np.array([[1, 2], [3, 4]], float)[None, :, :, None], [[0, 3, 0], [3, 4, 0], [0, 0, 0]]),
        (MaxPool(2, padding="same"), np.ones((1, 2, 2, 1)), [[0, 1, 1], [0, 0, 0], [0, 1, 1]]),
    ):
        network, buffers = Network([layer], (3, 3, 1)), Buffers()
        parameters = network.initialise(np.random.default_rng(0), np.float64)
        _, caches = network.forward(parameters, x, buffers=buffers)
        dx = network.backward(parameters, parameters.like(), caches, dy, buffers=buffers, input_gradient=True)
        np.testing.assert_array_equal(dx[0, :, :, 0], wanted)


def test_sequences_are_pooled_along_their_length():
    x = np.array([1, 5, 2, 4, 9], float)[None, :, None]
    np.testing.assert_array_equal(run(MaxPool(2), x)[0, :, 0], [5, 4])
    np.testing.assert_array_equal(run(AveragePool(2, padding="same"), x)[0, :, 0], [3, 3, 9])
    np.testing.assert_allclose(run(GlobalAveragePool(), x), [[4.2]])


@pytest.mark.parametrize("layers", [(), (Conv2d(3, 2),), (Conv2d(3, 2), MaxPool(2))])
def test_flatten_follows_the_logical_order_whatever_lies_in_memory(layers):
    x = np.random.default_rng(0).normal(size=(2, 5, 6, 2))
    whole, alone = Network([*layers, Flatten()], x.shape[1:]), Network([*layers, Activation("linear")], x.shape[1:])
    parameters = whole.initialise(np.random.default_rng(0), np.float64)
    images = alone.forward(alone.parameters(parameters.flat), x)[0]
    np.testing.assert_array_equal(whole.forward(parameters, x)[0], images.reshape(2, -1))
    assert np.array_equal(run(Reshape((6, 5, 2)), x), x.reshape(2, 6, 5, 2))


def test_batch_norm_makes_mean_0_and_variance_1_and_remembers_them():
    rng = np.random.default_rng(0)
    x = rng.normal(3, 2, (50, 4, 5, 3))
    network = Network([BatchNorm(momentum=0.75)], (4, 5, 3))
    parameters = network.initialise(rng, np.float64)
    y, caches = network.forward(parameters, x, training=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(0, 1, 2)), 1, atol=1e-4)
    flat, views = x.reshape(-1, 3), parameters.group("1.batch_norm")
    np.testing.assert_allclose(views["mean"], 0.25 * flat.mean(axis=0))
    np.testing.assert_allclose(views["variance"], 0.75 + 0.25 * flat.var(axis=0, ddof=1))
    gradients = parameters.like()
    gradients.flat[...] = 7
    network.backward(parameters, gradients, caches, np.ones_like(y))
    assert not gradients.group("1.batch_norm")["mean"].any()
    assert not gradients.group("1.batch_norm")["variance"].any()


def test_batch_norm_outside_training_uses_what_it_remembers_and_changes_nothing():
    x = np.random.default_rng(0).normal(size=(4, 2))
    network = Network([BatchNorm(epsilon=1e-3)], (2,))
    parameters = network.initialise(np.random.default_rng(0), np.float64)
    for name, value in (("mean", [1, 2]), ("variance", [4, 9]), ("scale", [2, 1]), ("shift", [0, 5])):
        parameters.group("1.batch_norm")[name][...] = value
    before = parameters.flat.copy()
    wanted = (x - [1, 2]) / np.sqrt([4.001, 9.001]) * [2, 1] + [0, 5]
    np.testing.assert_allclose(network.forward(parameters, x)[0], wanted)
    np.testing.assert_allclose(network.forward(parameters, x[:1])[0], wanted[:1])
    np.testing.assert_array_equal(parameters.flat, before)


def test_layer_norm_makes_mean_0_and_variance_1_in_each_sample():
    x = np.random.default_rng(0).normal(3, 2, (5, 7, 6))
    y = run(LayerNorm(), x)
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=-1), 1, atol=1e-4)


def test_embedding_looks_vectors_up_and_adds_their_gradients():
    network, x = Network([Embedding(4, 2)], (3,)), np.array([[3, 0, 3], [3, 1, 0]], np.float32)
    parameters, buffers = network.initialise(np.random.default_rng(0)), Buffers()
    y, caches = network.forward(parameters, x, buffers=buffers)
    np.testing.assert_array_equal(y, parameters.views["1.embedding.weight"][x.astype(int)])
    gradients, dy = parameters.like(), np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    gradients.flat[...] = 7
    network.backward(parameters, gradients, caches, dy, buffers=buffers)
    np.testing.assert_array_equal(gradients.views["1.embedding.weight"], [[12, 14], [8, 9], [0, 0], [10, 13]])


@pytest.mark.parametrize("wrong", [4, -1, 1.5, np.nan, np.inf])
def test_what_is_not_in_the_vocabulary_is_refused(wrong):
    with pytest.raises(ValueError, match="takes the whole numbers 0 to 3, and the input has"):
        run(Embedding(4, 2), np.array([[0, wrong]]))


def test_a_residual_branch_is_added_and_its_parameters_are_named_below_it():
    inner = Residual((Dense(3, "relu"), BatchNorm()))
    network = Network([Dense(3), Residual((inner, Dense(3, bias=False)))], (2,))
    names = "1.dense.weight 1.dense.bias 2.residual.1.residual.1.dense.weight 2.residual.1.residual.1.dense.bias "
    names += "2.residual.1.residual.2.batch_norm.scale 2.residual.1.residual.2.batch_norm.shift "
    names += "2.residual.1.residual.2.batch_norm.mean 2.residual.1.residual.2.batch_norm.variance "
    assert list(network.parameter_shapes) == [*names.split(), "2.residual.2.dense.weight"]
    inside = "2.residual.1.residual.2.batch_norm"
    assert network.statistics == {f"{inside}.mean", f"{inside}.variance"}
    assert network.decayed == {name for name in network.parameter_shapes if name.endswith("weight")}
    assert (network.least_batch, Network([Dense(1)], (2,)).least_batch) == (2, 1)
    x = np.random.default_rng(0).normal(size=(5, 3))
    parameters = (block := Network([Residual((Dense(3),))], (3,))).initialise(np.random.default_rng(0), np.float64)
    weight = parameters.views["1.residual.1.dense.weight"]
    np.testing.assert_allclose(block.forward(parameters, x)[0], x + x @ weight)


def test_a_summary_writes_lists_as_a_spec_does():
    network = Network([Reshape((2, 3)), Residual((Dropout(0.5), Residual((LayerNorm(),))))], (6,))
    assert [row.settings for row in network.summary()] == ["shape=[2, 3]", "layers=[dropout, residual]"]


@pytest.mark.parametrize(
    ("layers", "shape", "sentence"),
    [
        ([Conv2d(2, 3)], (8,), r"layer 1 (conv2d) needs (height, width, channels) and got (8,)"),
        ([Conv1d(2, 3)], (8, 8, 1), r"layer 1 (conv1d) needs (length, channels) and got (8, 8, 1)"),
        ([Conv2d(2, 5)], (8, 4, 1), r"layer 1 (conv2d) needs at least 5 along each axis and got (8, 4, 1)"),
        ([Conv2d(2, 3, dilation=3)], (6, 9, 1), r"layer 1 (conv2d) needs at least 7 along each axis and got (6, 9, 1)"),
        ([Conv2d(2, 5, padding=1)], (2, 4, 1), r"layer 1 (conv2d) needs at least 3 along each axis and got (2, 4, 1)"),
        ([MaxPool()], (8,), r"(max_pool) needs (length, channels) or (height, width, channels) and got (8,)"),
        ([MaxPool()], (1, 2), r"layer 1 (max_pool) needs at least 2 along each axis and got (1, 2)"),
        ([GlobalAveragePool()], (4,), r"needs (length, channels) or (height, width, channels) and got (4,)"),
        ([Embedding(3, 4)], (4, 4), r"layer 1 (embedding) needs (length,) and got (4, 4)"),
        ([Flatten(), Reshape((8, 8))], (65,), r"layer 2 (reshape) needs 64 values for the shape (8, 8) and got (65,)"),
        (
            [Dense(4), Residual((Dense(4), Residual((Conv2d(2, 3),))))],
            (3,),
            "layer 2 (residual) needs (height, width, channels) at its layer 1 (conv2d) at its layer 2 (residual) "
            "and got (4,)",
        ),
        (
            [Residual((Dropout(0.5), Dense(5)))],
            (4,),
            "layer 1 (residual) needs a branch that keeps the shape (its last layer, dense, makes (5,)) and got (4,)",
        ),
    ],
)
def test_a_shape_that_does_not_fit_is_told(layers, shape, sentence):
    with pytest.raises(ShapeError) as caught:
        Network(layers, shape)
    assert sentence in str(caught.value)


def test_a_layer_takes_the_number_of_axes_it_says():
    makers = {"dense": Dense(2), "conv1d": Conv1d(2, 1), "conv2d": Conv2d(2, 1), "embedding": Embedding(3, 2)}
    makers |= {name: LAYERS[name]() for name in ("max_pool", "average_pool", "global_average_pool")}
    for layer in [*makers.values(), Flatten(), BatchNorm(), LayerNorm(), Dropout(0.5), Activation("relu")]:
        for axes in (1, 2, 3):
            if layer.input_axes is None or axes in layer.input_axes:
                layer.output_shape((2,) * axes)
            else:
                with pytest.raises(ShapeError):
                    layer.output_shape((2,) * axes)


def test_the_output_activation_is_the_last_one_that_was_applied():
    def found(*layers, shape=(4, 4, 1)):
        return Network(layers, shape).output_activation

    assert found(Conv2d(2, 3, activation="sigmoid"), MaxPool(), Flatten()) == "sigmoid"
    assert found(Conv2d(2, 3, activation="sigmoid"), GlobalAveragePool()) == "sigmoid"
    assert found(Conv2d(2, 3, activation="sigmoid"), BatchNorm(), Flatten()) == "linear"
    assert found(Conv2d(2, 3, activation="sigmoid"), Residual((Activation("tanh"),)), Flatten()) == "linear"
    assert found(Flatten(), Reshape((2, 8))) == "linear"


def test_batch_norm_of_single_numbers_needs_two_samples():
    assert BatchNorm().least_batch((3,)) == 2
    assert BatchNorm().least_batch((2, 3)) == 1
    assert Residual((BatchNorm(),)).least_batch((1, 1, 5)) == 2


def test_images_in_another_order_in_memory_train_the_same():
    layers = [Conv2d(3, 3, padding="same"), BatchNorm(), Activation("tanh"), Dropout(0.4), MaxPool(2), LayerNorm()]
    network = Network([*layers, Residual((Conv2d(3, 1),)), GlobalAveragePool()], (6, 6, 2))
    parameters = network.initialise(np.random.default_rng(0), np.float64)
    x = np.random.default_rng(1).normal(size=(4, 6, 6, 2))
    found = []
    for order in ("C", "F"):
        gradients, buffers = parameters.like(), Buffers()
        taken = np.asarray(x, order=order)
        rng = np.random.default_rng(2)
        y, caches = network.forward(parameters, taken, rng=rng, training=True, buffers=buffers)
        network.backward(parameters, gradients, caches, y.copy(), buffers=buffers)
        found.append(gradients.flat)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-12)
