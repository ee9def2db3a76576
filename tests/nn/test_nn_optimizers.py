import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import OPTIMIZERS, AdaGrad, Adam, AdamW, AmsGrad, Momentum, Nadam, Nesterov, Optimizer, RmsProp, Sgd

EVERY = [
    Sgd(0.05),
    Sgd(0.02, momentum=0.9),
    Sgd(0.02, momentum=0.9, nesterov=True),
    Momentum(0.02),
    Nesterov(0.02),
    AdaGrad(0.5),
    RmsProp(0.001),
    RmsProp(0.0005, momentum=0.9),
    Adam(0.05),
    AdamW(0.05),
    AmsGrad(0.05),
    Nadam(0.05),
]
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
    for _ in range(4000):
        state = optimizer.update(state, parameters, curvature * (parameters - lowest))
    np.testing.assert_allclose(parameters, lowest, atol=1e-3)
    assert state.step == 4000


ROSENBROCK_RATES = {
    "sgd": 0.001,
    "momentum": 0.0005,
    "nesterov": 0.0005,
    "adagrad": 0.5,
    "rmsprop": 0.001,
    "adam": 0.02,
    "adamw": 0.02,
    "amsgrad": 0.05,
    "nadam": 0.02,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_follows_rosenbrocks_valley_to_its_end(name: str):
    """(1 - x)² + 100 (y - x²)²: a bent valley, flat along its floor and steep at its sides, lowest at (1, 1)."""
    optimizer = OPTIMIZERS[name](ROSENBROCK_RATES[name])
    place = np.array([-1.2, 1.0])
    state = optimizer.init(place)
    for _ in range(20_000):
        x, y = place
        side = y - x * x
        state = optimizer.update(state, place, np.array([-2 * (1 - x) - 400 * x * side, 200 * side]))
    assert math.dist(place, (1, 1)) < 0.01


def textbook_sgd(gradients, rate, momentum, nesterov):
    p, v = 1.0, 0.0
    for g in gradients:
        v = momentum * v + g
        p -= rate * ((g + momentum * v) if nesterov else v)
    return p


def textbook_adagrad(gradients, rate, epsilon):
    p, s = 1.0, 0.0
    for g in gradients:
        s += g * g
        p -= rate * g / (math.sqrt(s) + epsilon)
    return p


def textbook_rmsprop(gradients, rate, rho, epsilon, momentum):
    p, s, v = 1.0, 0.0, 0.0
    for g in gradients:
        s = rho * s + (1 - rho) * g * g
        v = momentum * v + g / (math.sqrt(s) + epsilon)
        p -= rate * v
    return p


def textbook_adam(gradients, rate, beta1, beta2, epsilon, largest=False):
    p, m, v, most = 1.0, 0.0, 0.0, 0.0
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        most = max(most, v) if largest else v
        p -= rate * (m / (1 - beta1**t)) / (math.sqrt(most / (1 - beta2**t)) + epsilon)
    return p


def textbook_nadam(gradients, rate, beta1, beta2, epsilon, decay):
    p, m, v = 1.0, 0.0, 0.0
    momenta = [beta1 * (1 - 0.5 * 0.96 ** (t * decay)) for t in range(1, len(gradients) + 2)]
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        ahead = momenta[t] * m / (1 - math.prod(momenta[: t + 1]))
        ahead += (1 - momenta[t - 1]) * g / (1 - math.prod(momenta[:t]))
        p -= rate * ahead / (math.sqrt(v / (1 - beta2**t)) + epsilon)
    return p


def after(optimizer: Optimizer, gradients: list[float]) -> float:
    parameters = np.array([1.0])
    state = optimizer.init(parameters)
    for g in gradients:
        state = optimizer.update(state, parameters, np.array([g]))
    return float(parameters[0])


def near(wanted: float) -> object:
    return pytest.approx(wanted, rel=1e-9, abs=1e-9)


steps = st.lists(st.floats(-3, 3), min_size=1, max_size=8)
rates = st.floats(1e-4, 1)
shares = st.floats(0.01, 0.99)
epsilons = st.floats(1e-8, 1e-1)


@law
@given(steps, rates, shares, st.booleans())
def test_sgd_is_the_textbooks_under_each_of_its_names(gradients, rate, momentum, nesterov):
    wanted = textbook_sgd(gradients, rate, momentum, nesterov)
    assert after(Sgd(rate, momentum, nesterov), gradients) == near(wanted)
    assert after((Nesterov if nesterov else Momentum)(rate, momentum), gradients) == near(wanted)


@law
@given(steps, rates)
def test_sgd_without_momentum_is_the_textbooks(gradients, rate):
    assert after(Sgd(rate), gradients) == near(textbook_sgd(gradients, rate, 0, False))


@law
@given(steps, rates, epsilons)
def test_adagrad_divides_by_the_root_of_the_sum_of_squares(gradients, rate, epsilon):
    assert after(AdaGrad(rate, epsilon), gradients) == near(textbook_adagrad(gradients, rate, epsilon))


@law
@given(steps, rates, shares, epsilons, st.one_of(st.just(0.0), shares))
def test_rmsprop_divides_by_the_root_of_the_running_mean_of_squares(gradients, rate, rho, epsilon, momentum):
    found = after(RmsProp(rate, rho, epsilon, momentum), gradients)
    assert found == near(textbook_rmsprop(gradients, rate, rho, epsilon, momentum))


@law
@given(steps, rates, shares, shares, epsilons)
def test_adam_is_algorithm_1_with_its_epsilon_outside_the_correction(gradients, rate, beta1, beta2, epsilon):
    wanted = textbook_adam(gradients, rate, beta1, beta2, epsilon)
    assert after(Adam(rate, beta1, beta2, epsilon), gradients) == near(wanted)
    assert after(AdamW(rate, beta1, beta2, epsilon, 0.3), gradients) == near(wanted)  # the training decays, not adamw


@law
@given(steps, rates, shares, shares, epsilons)
def test_amsgrad_divides_by_the_largest_mean_of_squares(gradients, rate, beta1, beta2, epsilon):
    found = after(AmsGrad(rate, beta1, beta2, epsilon), gradients)
    assert found == near(textbook_adam(gradients, rate, beta1, beta2, epsilon, largest=True))


@law
@given(steps, rates, shares, shares, epsilons, st.floats(0, 1))
def test_nadam_is_adam_that_looks_ahead(gradients, rate, beta1, beta2, epsilon, decay):
    found = after(Nadam(rate, beta1, beta2, epsilon, decay), gradients)
    assert found == near(textbook_nadam(gradients, rate, beta1, beta2, epsilon, decay))


def random_gradients(shape: tuple[int, ...], count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_blocks_change_no_byte(optimizer: Optimizer, monkeypatch: pytest.MonkeyPatch):
    start, *gradients = random_gradients((1001,), 4)
    results = []
    for block in (1 << 20, 256):
        monkeypatch.setattr("nn.optimizers.base.BLOCK", block)
        parameters = start.copy()
        state = optimizer.init(parameters)
        for gradient in gradients:
            state = optimizer.update(state, parameters, gradient.copy())
        results.append(parameters.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_a_member_of_a_stack_is_stepped_to_the_bytes_it_has_alone(optimizer: Optimizer, monkeypatch):
    monkeypatch.setattr("nn.optimizers.base.BLOCK", 256)  # so that blocks begin and end inside the members
    start, *gradients = random_gradients((2, 3, 101), 4)
    together = start.copy()
    state = optimizer.init(together)
    for gradient in gradients:
        state = optimizer.update(state, together, gradient.copy())
    for member in np.ndindex(2, 3):
        alone = start[member].copy()
        own = optimizer.init(alone)
        for gradient in gradients:
            own = optimizer.update(own, alone, gradient[member].copy())
        assert alone.tobytes() == together[member].tobytes()


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_a_given_learning_rate_takes_the_place_of_the_setting(optimizer: Optimizer):
    start, *gradients = random_gradients((7,))
    other = dataclasses.replace(optimizer, learning_rate=0.003)
    results = []
    for used, given_rate in ((other, None), (optimizer, 0.003)):
        parameters = start.copy()
        state = used.init(parameters)
        for gradient in gradients:
            state = used.update(state, parameters, gradient.copy(), given_rate)
        results.append(parameters.tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_the_vectors_and_the_step_are_the_whole_state(optimizer: Optimizer):
    """A checkpoint holds no more: what was restored from them goes on to the same bytes."""
    start, *gradients = random_gradients((7,), 9)
    parameters = start.copy()
    state = optimizer.init(parameters)
    for gradient in gradients:
        fresh = optimizer.init(parameters)
        vectors = {name: value for name, value in state._asdict().items() if isinstance(value, np.ndarray)}
        restored, copy = fresh._replace(step=state.step, **vectors), parameters.copy()
        restored = restored._replace(**{name: vector.copy() for name, vector in vectors.items()})
        state = optimizer.update(state, parameters, gradient.copy())
        optimizer.update(restored, copy, gradient.copy())
        assert copy.tobytes() == parameters.tobytes()


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_slots_are_the_vectors_of_the_state(optimizer: Optimizer):
    state = optimizer.init(np.zeros(5, np.float32))
    assert optimizer.slots == sum(isinstance(value, np.ndarray) for value in state)


@pytest.mark.parametrize("optimizer", EVERY, ids=repr)
def test_a_gradient_of_zero_moves_nothing_and_warns_of_nothing(optimizer: Optimizer):
    parameters = np.ones(3, np.float32)
    optimizer.update(optimizer.init(parameters), parameters, np.zeros(3, np.float32))
    np.testing.assert_array_equal(parameters, 1)


def test_weight_decay_is_a_setting_of_four_and_the_others_have_none():
    decays = {name: optimizer().weight_decay for name, optimizer in OPTIMIZERS.items()}
    assert {name for name, decay in decays.items() if decay} == {"adamw"}
    able = {name for name, part in OPTIMIZERS.items() if "weight_decay" in {f.name for f in dataclasses.fields(part)}}
    assert able == {"sgd", "momentum", "nesterov", "adamw"}
    assert AdamW().weight_decay == 0.01


def test_nadam_goes_on_from_any_step_at_once_and_to_the_same_bytes():
    """The product of its momenta is found again in a moment, where it matters no more too."""
    optimizer, start = Nadam(), random_gradients((7,), 1)[0]
    state = optimizer.init(start)
    for step in range(200):
        state = optimizer.update(state, start.copy(), start.copy())
        results = []
        for product in (state.product, None):
            parameters, vectors = start.copy(), {"mean": state.mean.copy(), "square": state.square.copy()}
            optimizer.update(state._replace(product=product, **vectors), parameters, start.copy())
            results.append(parameters.tobytes())
        assert results[0] == results[1], step
    assert optimizer.product(10**12) == optimizer.product(200) < 1e-17


def test_nesterov_without_momentum_is_refused():
    with pytest.raises(ValueError, match="momentum"):
        Sgd(nesterov=True)
    with pytest.raises(ValueError, match="nesterov: momentum must be above 0, got 0"):
        Nesterov(momentum=0)
