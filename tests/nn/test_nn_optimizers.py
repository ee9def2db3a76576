import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import OPTIMIZERS, Adam, Optimizer, Sgd

EVERY = [Sgd(0.05), Sgd(0.02, momentum=0.9), Sgd(0.02, momentum=0.9, nesterov=True), Adam(0.05)]
CURVATURES = {"parabola": np.array([1.0]), "bowl": np.array([0.5, 1.0, 5.0])}


def test_every_optimizer_is_tested_here():
    assert {optimizer.kind for optimizer in EVERY} == set(OPTIMIZERS)


@pytest.mark.parametrize("surface", CURVATURES)
@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_an_optimizer_finds_the_lowest_point(optimizer: Optimizer, surface: str):
    curvature = CURVATURES[surface]
    lowest = np.arange(1.0, 1 + curvature.size)
    parameters = np.zeros_like(lowest)
    state = optimizer.init(parameters)
    for _ in range(2000):
        state = optimizer.update(state, parameters, curvature * (parameters - lowest))
    np.testing.assert_allclose(parameters, lowest, atol=1e-3)
    assert state.step == 2000


def textbook_sgd(gradients, rate, momentum, nesterov):
    p, v = 1.0, 0.0
    for g in gradients:
        v = momentum * v + g
        p -= rate * ((g + momentum * v) if nesterov else v)
    return p


def textbook_adam(gradients, rate, beta1, beta2, epsilon):
    p, m, v = 1.0, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        p -= rate * (m / (1 - beta1**t)) / (math.sqrt(v / (1 - beta2**t)) + epsilon)
    return p


def after(optimizer: Optimizer, gradients: list[float]) -> float:
    parameters = np.array([1.0])
    state = optimizer.init(parameters)
    for g in gradients:
        state = optimizer.update(state, parameters, np.array([g]))
    return float(parameters[0])


steps = st.lists(st.floats(-3, 3), min_size=1, max_size=8)
shares = st.floats(0.01, 0.99)


@law
@given(steps, st.floats(1e-4, 1), shares, st.booleans())
def test_sgd_is_the_textbooks(gradients, rate, momentum, nesterov):
    found = after(Sgd(rate, momentum, nesterov), gradients)
    assert found == pytest.approx(textbook_sgd(gradients, rate, momentum, nesterov), rel=1e-9, abs=1e-9)


@law
@given(steps, st.floats(1e-4, 1))
def test_sgd_without_momentum_is_the_textbooks(gradients, rate):
    assert after(Sgd(rate), gradients) == pytest.approx(textbook_sgd(gradients, rate, 0, False), rel=1e-9, abs=1e-9)


@law
@given(steps, st.floats(1e-4, 1), shares, shares, st.floats(1e-8, 1e-1))
def test_adam_is_algorithm_1_with_its_epsilon_outside_the_correction(gradients, rate, beta1, beta2, epsilon):
    found = after(Adam(rate, beta1, beta2, epsilon), gradients)
    assert found == pytest.approx(textbook_adam(gradients, rate, beta1, beta2, epsilon), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_blocks_change_no_byte(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch):
    rng = np.random.default_rng(0)
    start, gradient = rng.normal(size=(2, 1001)).astype(np.float32)
    results = []
    for block in (1 << 20, 256):
        monkeypatch.setattr("nn.optimizers.BLOCK", block)
        parameters = start.copy()
        state = optimizer.init(parameters)
        for _ in range(3):
            state = optimizer.update(state, parameters, gradient.copy())
        results.append(parameters.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_slots_are_the_vectors_of_the_state(optimizer: Optimizer):
    state = optimizer.init(np.zeros(5, np.float32))
    assert optimizer.slots == sum(isinstance(value, np.ndarray) for value in state)


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="momentum"):
        Sgd(nesterov=True)
