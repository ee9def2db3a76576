import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import INITIALIZERS

FAN_IN, FAN_OUT = 300, 200
DEVIATIONS = {
    "glorot_uniform": math.sqrt(2 / 500),
    "glorot_normal": math.sqrt(2 / 500),
    "he_uniform": math.sqrt(2 / 300),
    "he_normal": math.sqrt(2 / 300),
    "lecun_uniform": math.sqrt(1 / 300),
    "lecun_normal": math.sqrt(1 / 300),
    "orthogonal": math.sqrt(1 / 300),  # each of 200 columns of 300 numbers has the length 1
    "normal": 0.05,
    "uniform": 0.05 / math.sqrt(3),
    "constant": 0.0,
    "zeros": 0.0,
}


def drawn(name: str, shape: tuple[int, ...] = (FAN_IN, FAN_OUT), seed: int = 0, dtype=np.float32) -> np.ndarray:
    weight = np.full(shape, np.nan, dtype)
    INITIALIZERS[name](weight, FAN_IN, FAN_OUT, np.random.default_rng(seed))
    return weight


def test_every_initializer_is_tested_here():
    assert set(DEVIATIONS) == set(INITIALIZERS)


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_deviation_is_the_stated_one_and_the_mean_is_zero(name):
    weight = drawn(name)
    assert weight.std() == pytest.approx(DEVIATIONS[name], rel=0.02, abs=1e-7)
    assert weight.mean() == pytest.approx(0.05 if name == "constant" else 0, abs=4 * DEVIATIONS[name] / 245 + 1e-7)


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if "uniform" in name])
def test_uniform_fills_its_range_and_does_not_leave_it(name):
    limit = DEVIATIONS[name] * math.sqrt(3)
    assert 0.999 * limit < np.abs(drawn(name)).max() <= limit * (1 + 1e-6)


@pytest.mark.parametrize("name", [name for name in INITIALIZERS if "normal" in name])
def test_normal_is_normal(name):
    weight = drawn(name)
    within = [np.mean(np.abs(weight) < deviations * DEVIATIONS[name]) for deviations in (1, 2, 3)]
    np.testing.assert_allclose(within, [0.6827, 0.9545, 0.9973], atol=0.006)


@law
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_orthogonal_has_columns_or_rows_of_length_1_at_right_angles(others, outputs, seed):
    """A dense weight (inputs, outputs) and a convolution's (height, channels, width, outputs)."""
    weight = np.empty((*others, outputs))
    INITIALIZERS["orthogonal"](weight, 1, 1, np.random.default_rng(seed))
    matrix = weight.reshape(-1, outputs)
    smaller = matrix.T @ matrix if len(matrix) >= outputs else matrix @ matrix.T
    np.testing.assert_allclose(smaller, np.eye(len(smaller)), atol=1e-12)


def test_orthogonal_draws_no_sign_more_often_than_the_other():
    """A bare QR has the same sign on every diagonal entry."""
    corners = [drawn("orthogonal", (2, 2), seed)[0, 0] > 0 for seed in range(200)]
    assert 70 < sum(corners) < 130


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_same_seed_draws_the_same_in_both_types(name):
    assert drawn(name).tobytes() == drawn(name).tobytes()
    np.testing.assert_array_equal(drawn(name), drawn(name, dtype=np.float64).astype(np.float32))
    if DEVIATIONS[name]:
        assert drawn(name).tobytes() != drawn(name, seed=1).tobytes()
