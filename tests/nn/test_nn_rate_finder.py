"""The learning-rate finder suggests a rate that trains, and says so when none does."""

import dataclasses
from functools import cache

import numpy as np
import pytest
from nn_tools import blobs, small_plan, trained

from nn import (
    OPTIMIZERS,
    Adam,
    CosineDecay,
    CrossEntropy,
    Data,
    Dense,
    EarlyStopping,
    Network,
    Plan,
    Sgd,
    Target,
    find_rate,
)


@cache
def digits() -> Data:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Data(images / 16, labels)


def plan_of(optimizer, **changes) -> Plan:
    return Plan(Network([Dense(64, "relu"), Dense(10)], (64,)), CrossEntropy(), optimizer, seed=1, **changes)


# 3 epochs of the digits reach their highest accuracy with these rates, within a factor of 2.
@pytest.mark.parametrize(("name", "good"), [("sgd", 0.5), ("adam", 0.01)])
def test_the_suggestion_is_within_a_factor_of_ten_of_a_good_rate_and_trains(name, good):
    plan = plan_of(OPTIMIZERS[name](), epochs=3, metrics=("accuracy",))
    found = find_rate(plan, digits())
    assert good / 10 < found.suggestion < good * 10
    _, history = trained(dataclasses.replace(plan, optimizer=OPTIMIZERS[name](found.suggestion)), digits())
    assert history[-1]["accuracy"] > 0.9


def test_inputs_a_hundred_times_as_large_get_a_much_smaller_rate():
    large = dataclasses.replace(digits(), features=digits().features * np.float32(100))
    usual, other = (find_rate(plan_of(Sgd()), data, lowest=1e-9, steps=400).suggestion for data in (digits(), large))
    assert other < usual / 20


def test_the_search_is_the_same_every_time_and_leaves_nothing_behind():
    data = blobs(60)
    before = data.features.tobytes()
    first, second = (find_rate(small_plan(Adam()), data) for _ in range(2))
    assert (first.rates.tobytes(), first.losses.tobytes()) == (second.rates.tobytes(), second.losses.tobytes())
    assert first.suggestion == second.suggestion
    assert first.suggestion in first.rates
    assert data.features.tobytes() == before


def test_what_a_plan_has_for_its_epochs_does_not_matter():
    extra = {
        "schedule": CosineDecay(), "warmup": 2.0, "accumulate": 4, "early_stopping": EarlyStopping(patience=1),
        "target": Target("loss", 100.0), "max_seconds": 1e-9, "average": 0.9, "epochs": 1,
    }  # fmt: skip
    plain, full = find_rate(small_plan(Sgd()), blobs(60)), find_rate(small_plan(Sgd(), **extra), blobs(60))
    assert plain.losses.tobytes() == full.losses.tobytes()


def test_the_rates_grow_evenly_on_a_logarithmic_scale_from_the_lowest():
    found = find_rate(small_plan(Sgd()), blobs(60), lowest=1e-4, highest=1.0, steps=101)
    np.testing.assert_allclose(found.rates, 1e-4 * 10 ** (0.04 * np.arange(len(found.rates))), rtol=1e-9)
    assert len(found.losses) == len(found.rates) <= 101


def test_an_explosion_ends_the_search():
    found = find_rate(plan_of(Sgd()), digits(), lowest=1e-3, highest=1e6, steps=200)
    assert len(found.rates) < 170
    assert found.suggestion < 10
    assert np.isfinite(found.losses).all()


def test_the_search_begins_with_the_parameters_it_is_given():
    plan = plan_of(Adam(0.01), epochs=3)
    state, _ = trained(plan, digits())
    new, found = find_rate(plan, digits()), find_rate(plan, digits(), begin=state.parameters.views)
    assert found.losses[:20].max() < new.losses[:20].min() / 5
    assert found.suggestion < 0.1


def test_an_easy_first_batch_is_not_taken_for_the_lowest_loss(monkeypatch):
    """What the first batches happen to hold says nothing about a rate, and must not end the search either."""
    losses = [0.01, 1.0, *np.linspace(1, 0.2, 90), *np.linspace(0.2, 3, 108)]
    monkeypatch.setattr("nn.rate_finder._losses", lambda loop, rates: iter(losses))
    found = find_rate(small_plan(Sgd()), blobs(60))
    assert len(found.losses) > 120
    assert found.rates[20] <= found.suggestion < found.rates[110]


@pytest.mark.parametrize(
    ("data", "bounds"),
    [
        (blobs(60), (1e20, 1e30)),  # diverges at once
        (dataclasses.replace(blobs(60), weights=np.zeros(60, np.float32)), (1e-6, 1.0)),  # nothing to learn
    ],
    ids=["too high", "nothing to learn"],
)
def test_a_loss_that_never_falls_is_told(data, bounds):
    with pytest.raises(ValueError, match="the loss does not fall at any of these learning rates"):
        find_rate(small_plan(Sgd()), data, *bounds)
