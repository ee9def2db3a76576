import numpy as np
import pytest

from nn import ACTIVATIONS, INITIALIZERS, Activation, Buffers, Dense, Dropout, FlatBuffer, Network, ShapeError


def digits_network() -> Network:
    return Network([Dense(32, "relu"), Dropout(0.2), Dense(10)], (64,))


def test_shapes_and_sizes_follow_from_the_layers():
    network = digits_network()
    assert network.parameter_shapes == {
        "1.dense.weight": (64, 32),
        "1.dense.bias": (32,),
        "3.dense.weight": (32, 10),
        "3.dense.bias": (10,),
    }
    assert (network.input_shape, network.output_shape, network.size) == ((64,), (10,), 2410)
    assert [(row.number, row.kind, row.settings, row.output_shape, row.parameters) for row in network.summary()] == [
        (1, "dense", "units=32, activation=relu", (32,), 2080),
        (2, "dropout", "rate=0.2", (32,), 0),
        (3, "dense", "units=10", (10,), 330),
    ]


def test_a_wrong_shape_names_the_layer_and_both_shapes():
    with pytest.raises(ShapeError, match=r"layer 2 \(dense\) needs \(features,\) and got \(28, 28\)") as caught:
        Network([Activation("relu"), Dense(3)], (28, 28))
    error = caught.value
    assert (error.layer_number, error.kind, error.input_shape) == (2, "dense", (28, 28))


def test_a_network_without_layers_is_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        Network([], (3,))


def test_views_share_the_vector_and_come_in_the_order_of_the_layers():
    parameters = FlatBuffer({"1.dense.weight": (2, 3), "1.dense.bias": (3,)}, stack=(2,))
    parameters.flat[...] = np.arange(18).reshape(2, 9)
    np.testing.assert_array_equal(parameters.views["1.dense.bias"], [[6, 7, 8], [15, 16, 17]])
    parameters.member(1).views["1.dense.weight"][...] = 0
    assert not parameters.flat[1, :6].any()
    assert parameters.flat[0, :6].any()
    assert parameters.group("1.dense")["weight"] is parameters.views["1.dense.weight"]
    assert dict(parameters.group("2.dropout")) == {}


def test_a_group_is_everything_below_a_name_and_is_made_once():
    shapes = {"1.residual.1.dense.weight": (2, 2), "1.residual.2.dense.bias": (2,), "10.dense.bias": (3,)}
    parameters = FlatBuffer(shapes)
    group = parameters.group("1.residual")
    assert list(group) == ["1.dense.weight", "2.dense.bias"]
    assert group.group("2.dense")["bias"] is parameters.views["1.residual.2.dense.bias"]
    assert parameters.group("1.residual") is group
    assert list(parameters.group("1")) == ["residual.1.dense.weight", "residual.2.dense.bias"]


def test_a_buffer_like_an_array_has_its_order_in_memory_and_is_kept():
    buffers = Buffers()
    x = np.zeros((2, 3, 4), np.float32).transpose(2, 0, 1)
    found = buffers.like("y", x, np.bool_)
    assert (found.shape, found.dtype) == (x.shape, np.bool_)
    assert found.transpose(1, 2, 0).flags.c_contiguous
    assert buffers.like("y", x, np.bool_) is found
    assert buffers.like("y", x.copy(), np.bool_) is not found
    assert buffers.like("y", np.broadcast_to(x, (5, *x.shape))).flags.c_contiguous


def test_a_vector_of_another_size_is_refused():
    with pytest.raises(ValueError, match="2410 numbers"):
        digits_network().parameters(np.zeros(2411, np.float32))


@pytest.mark.parametrize(("name", "variance"), [("glorot", 2 / 500), ("he", 2 / 400)])
@pytest.mark.parametrize("shape", ["uniform", "normal"])
def test_an_initializer_has_its_variance_and_its_bounds(name, variance, shape):
    weight = np.empty((400, 100), np.float32)
    INITIALIZERS[f"{name}_{shape}"](weight, 400, 100, np.random.default_rng(0))
    assert weight.mean() == pytest.approx(0, abs=0.002)
    assert weight.var() == pytest.approx(variance, rel=0.03)
    beyond = np.abs(weight) > np.sqrt(3 * variance)
    assert beyond.any() == (shape == "normal")


def test_the_default_initializer_fits_the_activation():
    for activation in ("relu", "tanh", "selu"):
        name = {"relu": "he_uniform", "tanh": "glorot_uniform", "selu": "lecun_normal"}[activation]
        found = Network([Dense(5, activation)], (4,)).initialise(np.random.default_rng(3))
        wanted = Network([Dense(5, activation, initializer=name)], (4,)).initialise(np.random.default_rng(3))
        assert found.flat.tobytes() == wanted.flat.tobytes()


def test_every_member_of_a_stack_begins_as_it_would_alone():
    for dtype in (np.float32, np.float64):
        stack = digits_network().initialise([np.random.default_rng(seed) for seed in (5, 2)], dtype)
        for index, seed in enumerate((5, 2)):
            alone = digits_network().initialise(np.random.default_rng(seed), dtype)
            assert stack.flat[index].tobytes() == alone.flat.tobytes()


def test_forward_leaves_its_input_alone():
    for layer in (Dense(3, "relu"), Dropout(0.5), *map(Activation, ACTIVATIONS)):
        network, x = Network([layer], (3,)), np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
        before = x.copy()
        parameters = network.initialise(np.random.default_rng(0))
        network.forward(parameters, x, rng=np.random.default_rng(0), training=True)
        np.testing.assert_array_equal(x, before)


def test_predict_in_batches_is_predict_at_once():
    network, rng = digits_network(), np.random.default_rng(0)
    parameters = network.initialise(rng)
    x = rng.normal(size=(21, 64))
    whole = network.predict(parameters, x)
    assert whole.shape == (21, 10)
    assert whole.dtype == np.float32
    np.testing.assert_allclose(network.predict(parameters.flat, x, batch_size=4), whole, rtol=1e-5, atol=1e-6)
    assert network.predict(parameters, x[:0]).shape == (0, 10)


def test_predict_refuses_another_shape():
    network = digits_network()
    with pytest.raises(ValueError, match="64"):
        network.predict(network.initialise(np.random.default_rng(0)), np.zeros((3, 63)))


def test_a_stack_predicts_for_shared_and_for_own_inputs():
    network = digits_network()
    stack = network.initialise([np.random.default_rng(seed) for seed in range(3)])
    x = np.random.default_rng(9).normal(size=(5, 64)).astype(np.float32)
    shared = network.predict(stack, x)
    own = network.predict(stack, np.stack([x] * 3))
    assert shared.shape == (3, 5, 10)
    assert shared.tobytes() == own.tobytes()
    for index in range(3):
        assert shared[index].tobytes() == network.predict(stack.member(index), x).tobytes()
