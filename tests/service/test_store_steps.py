"""Points of steps: each is stored once, whoever repeats what, and a curve that is thinned still shows its spikes."""

from __future__ import annotations

import math

import pytest
from sqlalchemy import func, select

from service.store import history, points
from service.store.points import StepPoint
from service.store.tables import StepMetric
from service.store.transitions import LeaseLost


@pytest.fixture
def claim(yard):
    return yard.claimed()


def losses(values, every=1):
    return [StepPoint("loss", number * every, value) for number, value in enumerate(values, 1)]


def told(yard, claim, **wanted):
    return [(row["step"], row["value"]) for row in yard.ask(history.steps, claim.run_id, **wanted)]


def test_points_of_steps_come_back_by_metric_and_step(yard, claim):
    yard.record(claim, steps=[StepPoint("rate", 2, 0.1), *reversed(losses([0.5, 0.25]))])
    rows = [
        {"step": 1, "name": "loss", "value": 0.5},
        {"step": 2, "name": "loss", "value": 0.25},
        {"step": 2, "name": "rate", "value": 0.1},
    ]
    assert yard.ask(history.steps, claim.run_id) == rows
    assert yard.ask(history.steps, claim.run_id, ["rate"]) == rows[2:]
    assert yard.ask(history.steps, claim.run_id, ["nothing"]) == []
    assert yard.ask(history.steps, yard.claimed().run_id) == []


def test_a_point_that_is_told_again_stays_as_it_is(yard, claim):
    yard.record(claim, steps=losses([0.5, 0.25]))
    yard.record(claim, steps=losses([0.5, 9.0, 0.125]))
    assert told(yard, claim) == [(1, 0.5), (2, 0.25), (3, 0.125)]


def test_a_late_attempt_cannot_store_points_of_steps(yard, claim):
    yard.lose(claim)
    with pytest.raises(LeaseLost):
        yard.record(claim, steps=losses([0.5]))
    assert told(yard, claim) == []


def test_a_value_that_is_no_number_comes_back_as_one(yard, claim):
    """Infinite, as the norm of a gradient may be before a training diverges, or NaN."""
    yard.record(claim, steps=losses([math.inf, math.nan, -math.inf]))
    [(_, above), (_, neither), (_, below)] = told(yard, claim)
    assert (above, below) == (math.inf, -math.inf)
    assert math.isnan(neither)
    assert yard.ask(lambda session: session.scalar(count().where(StepMetric.value.is_(None)))) == 1


def test_a_thinned_curve_has_its_ends_and_its_spikes_and_only_points_that_are_stored(yard, claim):
    values = [1 / number for number in range(1, 3001)]
    values[1233], values[1234], values[2345] = math.nan, 7.0, -5.0
    stored = losses(values, every=5)
    yard.record(claim, steps=stored)
    thinned = told(yard, claim, points=50)
    assert 25 < len(thinned) <= 50
    assert thinned == sorted(thinned)
    assert set(thinned) <= {(step, value) for _, step, value in stored}
    assert (thinned[0], thinned[-1]) == ((5, 1.0), (15000, 1 / 3000))
    assert {(1235 * 5, 7.0), (2346 * 5, -5.0)} < set(thinned)
    assert len(told(yard, claim, points=None)) == yard.ask(lambda session: session.scalar(count())) == 3000


def count():
    return select(func.count()).select_from(StepMetric)


@pytest.mark.parametrize("points", [1, 4, 5, 9])
def test_a_curve_is_thinned_to_at_most_so_many_points_but_no_fewer_than_four(yard, claim, points):
    yard.record(claim, steps=losses([0.5] * 4 + [0.25, 9.0] + [0.5] * 4, every=1000))
    thinned = told(yard, claim, points=points)
    assert len(thinned) <= max(points, 4)
    assert {(1000, 0.5), (5000, 0.25), (6000, 9.0), (10000, 0.5)} <= set(thinned)


def test_a_curve_that_is_short_enough_is_told_as_it_is(yard, claim):
    yard.record(claim, steps=losses([0.5] * 9))
    assert told(yard, claim, points=9) == [(step, 0.5) for step in range(1, 10)]
    assert len(told(yard, claim, points=8)) < 9


def test_thinning_goes_by_the_points_of_this_run_and_metric_alone(yard, claim):
    def spike(at, height):
        return [height if step == at else 0.5 for step in range(1, 101)]

    yard.record(yard.claimed(), steps=losses(spike(60, 99.0)))
    norms = [StepPoint("norm", step, value) for _, step, value in losses(spike(50, 99.0))]
    yard.record(claim, steps=[*losses(spike(40, 1.0)), *norms])
    thinned = told(yard, claim, names=["loss"], points=4)
    assert (40, 1.0) in thinned
    assert not {50, 60} & {step for step, _ in thinned}


def test_many_points_go_into_one_statement(yard, claim, monkeypatch):
    """PostgreSQL's protocol ends at 65,535 parameters."""
    yard.do(points.store_steps, claim.run_id, losses([0.5] * 70_000))
    assert yard.ask(lambda session: session.scalar(count())) == 70_000
