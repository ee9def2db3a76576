"""The values of the activations. Their gradients are compared with central differences in test_nn_gradients."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import ACTIVATIONS, INITIALIZERS, Buffers, Dense, Network
from nn.activations import activation_function
from nn.activations.base import BLOCK, pieces


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > 0 else math.exp(x) / (1 + math.exp(x))


def normal_share(x: float) -> float:
    return math.erfc(-x / math.sqrt(2)) / 2


SELU = (1.0507009873554805, 1.6732632423543772)  # Klambauer et al. (2017), eq. 14
TEXTBOOK = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "selu": lambda x: SELU[0] * (x if x > 0 else SELU[1] * math.expm1(x)),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "gelu": lambda x: x * normal_share(x),
    "silu": lambda x: x * sigmoid(x),
    "tanh": math.tanh,
    "sigmoid": sigmoid,
}
ELEMENTWISE = sorted(TEXTBOOK)


def test_every_activation_is_tested_here():
    assert {*TEXTBOOK, "softmax"} == set(ACTIVATIONS)


def computed(name: str, x: np.ndarray) -> np.ndarray:
    return activation_function(name).forward(x, np.empty_like(x))


@law
@given(st.sampled_from(ELEMENTWISE), st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=20))
def test_an_activation_is_the_textbooks(name, numbers):
    wanted = [TEXTBOOK[name](x) for x in numbers]
    np.testing.assert_allclose(computed(name, np.array(numbers)), wanted, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(computed(name, np.array(numbers, np.float32)), wanted, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize(("dtype", "error"), [(np.float32, 4e-7), (np.float64, 3e-15)])
def test_gelu_and_its_slope_are_exact_to_the_last_digits_everywhere(dtype, error):
    x = np.linspace(-13, 13, 20_001).astype(dtype)
    y = computed("gelu", x)
    slope = activation_function("gelu").backward(x, y, np.ones_like(x), Buffers())
    bell = np.exp(-(x.astype(float) ** 2) / 2) / math.sqrt(2 * math.pi)
    shares = np.array([normal_share(number) for number in x.tolist()])
    np.testing.assert_allclose(y, x * shares, rtol=error, atol=error)
    np.testing.assert_allclose(slope, shares + x * bell, rtol=0, atol=error)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_huge_inputs_give_the_limits_without_a_warning(name, dtype):
    x = np.array([-1e4, -100, 0, 100, 1e4], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        y = computed(name, x)
        slope = activation_function(name).backward(x, y, np.ones_like(x), Buffers())
    bounded, saturated = name in ("tanh", "sigmoid"), name not in ("linear", "leaky_relu")
    np.testing.assert_allclose(y[3:], [1, 1] if bounded else x[3:] * (SELU[0] if name == "selu" else 1), rtol=1e-6)
    np.testing.assert_allclose(slope[3:], 0 if bounded else SELU[0] if name == "selu" else 1, rtol=1e-6)
    if saturated:
        np.testing.assert_allclose(slope[:2], 0, atol=1e-6)
        assert y[0] == pytest.approx(TEXTBOOK[name](-700.0), abs=1e-6)


@pytest.mark.parametrize("shape", [(7,), (3, 5), (70, 300), (2, 3, 40, 100)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_over_its_own_input_in_pieces_and_in_a_stack_it_has_the_same_bytes(name, shape):
    """(70, 300) is longer than a piece of the cache."""
    rng = np.random.default_rng(0)
    x, dy = rng.normal(0, 3, (2, *shape)).astype(np.float32)
    function, y = activation_function(name), computed(name, x)
    over = x.copy()
    assert function.forward(over, over) is over
    assert over.tobytes() == y.tobytes()
    dx = function.backward(x, y, dy.copy(), Buffers())
    for index in np.ndindex(shape[:-2]):
        assert computed(name, x[index].copy()).tobytes() == y[index].tobytes()
        alone = function.backward(x[index].copy(), y[index].copy(), dy[index].copy(), Buffers())
        assert alone.tobytes() == dx[index].tobytes()


ORDERS = [(0, 1, 2), (2, 0, 1), (1, 2, 0)]


@pytest.mark.parametrize("order", ORDERS)
def test_pieces_fit_the_cache_in_any_order_of_memory(order):
    first, second = np.zeros((2, 40, 30, 20)).transpose(0, *(axis + 1 for axis in order))
    found = list(pieces(first, second))
    assert all(one.nbytes <= BLOCK and one.shape == other.shape for one, other in found)
    for number, (one, other) in enumerate(found, 1):
        one += number
        other -= number
    assert first.all()
    np.testing.assert_array_equal(first, -second)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"softmax"}))
def test_the_order_of_memory_does_not_matter(name, order):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(0, 3, (2, 40, 30, 20))
    plain, function = computed(name, x), activation_function(name)
    slopes = function.backward(x, plain, dy.copy(), Buffers())
    back = np.argsort(order)
    turned, turned_dy = (np.ascontiguousarray(array.transpose(order)).transpose(back) for array in (x, dy))
    for out in (np.empty_like(turned), np.empty(turned.shape)):
        np.testing.assert_allclose(function.forward(turned, out), plain, rtol=1e-14)
        np.testing.assert_allclose(function.backward(turned, out, turned_dy.copy("K"), Buffers()), slopes, rtol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_only_a_function_that_needs_its_input_reads_it(name):
    function, x = activation_function(name), np.random.default_rng(0).normal(size=(4, 5))
    y = computed(name, x)
    kept = [function.backward(given, y, np.ones_like(y), Buffers()) for given in (x, np.full_like(x, 7))]
    assert np.array_equal(*kept) != function.needs_input


@law
@given(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=12), st.floats(-100, 100, width=32))
def test_softmax_is_shares_of_one_whatever_is_added_to_all(row, shift):
    shares = computed("softmax", np.array([row, row]))
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=-1), 1, rtol=1e-12)
    np.testing.assert_allclose(computed("softmax", np.array(row) + shift), shares[0], rtol=1e-9, atol=1e-300)


def size_after(name: str, layers: int, width: int = 256) -> float:
    """The root mean square of what comes out of a deep network when standard normal numbers go in."""
    network = Network([Dense(width, name)] * layers, (width,))
    parameters = network.initialise(np.random.default_rng(0))
    outputs, _ = network.forward(parameters, np.random.default_rng(1).normal(size=(200, width)).astype(np.float32))
    return float(np.sqrt(np.mean(outputs**2)))


def test_every_default_initializer_exists():
    assert {function.initializer for function in ACTIVATIONS.values()} <= set(INITIALIZERS)


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"silu", "softmax"}))
def test_the_default_initializer_keeps_the_signals_size_through_20_layers(name):
    assert 1 / 10 < size_after(name, 20) < 5


def test_silu_lets_the_signal_fade_by_a_quarter_with_each_layer():
    assert size_after("silu", 20) == pytest.approx(0.75**20, rel=1)


def test_selu_holds_the_signals_size_at_one():
    assert size_after("selu", 40) == pytest.approx(1, abs=0.15)
