"""What the history says of many runs at once, held to plain Python."""

from __future__ import annotations

import math
import statistics as plain
from itertools import groupby

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from sqlalchemy.orm import Session

from service.expressions import condition, orders
from service.store import spec_keys, statistics
from service.store.tables import Run, Summary

# Few values, so that many runs are equal in one of them.
numbers = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, -3.5, 1e6])
measured = st.fixed_dictionaries(
    {"name": st.sampled_from("ab")},
    optional={"accuracy": numbers, "loss": st.one_of(numbers, st.just(math.nan)), "seed": st.integers(1, 3)},
)
histories = st.lists(measured, max_size=9)


def store(session: Session, runs: list[dict]) -> None:
    for number, run in enumerate(runs, 1):
        columns = {"id": number, "name": run["name"], "dataset_sha256": "d" * 64, "epochs": 1, "max_attempts": 1}
        session.execute(insert(Run).values(**columns))
        for name in {"accuracy", "loss"} & run.keys():
            values = {"last": run[name], "best": run[name], "last_epoch": 1, "best_epoch": 1}
            session.execute(insert(Summary).values(run_id=number, name=name, **values))
    spec_keys.store(session, {number: {"seed": run.get("seed")} for number, run in enumerate(runs, 1)})


def value(run: dict, name: str) -> float | None:
    return None if math.isnan(run.get(name, math.nan)) else run[name]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories, st.sampled_from(["accuracy", "loss"]), st.sampled_from([None, "name = 'a'"]))
def test_groups_are_those_of_plain_python(yard, runs, metric, where):
    known = [
        ((run["name"], run.get("seed")), value(run, metric), number)
        for number, run in enumerate(runs, 1)
        if value(run, metric) is not None and (where is None or run["name"] == "a")
    ]
    better = max if metric == "accuracy" else min
    expected = {}
    for key, group in groupby(sorted(known, key=lambda one: str(one[0])), key=lambda one: one[0]):
        members = list(group)
        values = [found for _, found, _ in members]
        best = better(values)
        holder = min(number for _, found, number in members if found == best)
        expected[key] = (
            len(values),
            plain.fmean(values),
            plain.stdev(values) if len(values) > 1 else None,
            best,
            holder,
        )
    with Session(yard.database.engine) as session:
        store(session, runs)
        fits = None if where is None else condition(where)
        found = statistics.groups(session, fits, orders.measure(metric), orders.keys("name, seed"), 99)
        session.rollback()
    assert [group.best for group in found] == sorted((one[3] for one in expected.values()), reverse=better is max)
    assert {group.key for group in found} == set(expected)
    for group in found:
        count, mean, deviation, best, holder = expected[group.key]
        assert (group.count, group.best, group.run_id) == (count, best, holder)
        assert group.mean == pytest.approx(mean)
        assert group.deviation == (
            None if deviation is None else pytest.approx(deviation, abs=1e-9 * max(1, abs(mean)))
        )


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories, st.sampled_from([None, "name = 'a'"]), st.booleans())
def test_the_front_is_that_of_plain_python(yard, runs, where, turned):
    both = {
        number: (-value(run, "accuracy"), value(run, "loss") * (-1 if turned else 1))
        for number, run in enumerate(runs, 1)
        if None not in (value(run, "accuracy"), value(run, "loss")) and (where is None or run["name"] == "a")
    }
    expected = [
        number
        for number, (a, b) in sorted(both.items(), key=lambda one: (one[1][0], one[0]))
        if not any(x <= a and y <= b and (x, y) != (a, b) for x, y in both.values())
    ]
    with Session(yard.database.engine) as session:
        store(session, runs)
        fits = None if where is None else condition(where)
        second = orders.measure("loss desc" if turned else "loss")
        assert statistics.front(session, fits, orders.measure("accuracy"), second) == expected
        session.rollback()


@pytest.mark.parametrize("others", [[], [-1e9, 0.0, 1e9]], ids=["alone", "far from the other groups"])
def test_small_differences_beside_large_numbers_keep_their_digits(yard, others):
    with Session(yard.database.engine) as session:
        steps = [{"name": "a", "loss": 1e6 + step * 1e-4} for step in range(3)]
        store(session, steps + [{"name": f"b{number}", "loss": loss} for number, loss in enumerate(others)])
        groups = statistics.groups(session, None, orders.measure("loss"), orders.keys("name"), 9)
        session.rollback()
    [group] = [group for group in groups if group.key == ("a",)]
    assert group.deviation == pytest.approx(1e-4, rel=1e-4)


def test_a_run_that_trains_is_the_best_of_its_group_by_its_duration(yard):
    claim = yard.claimed()
    where, measured, by = condition("duration > 0"), orders.measure("duration desc"), orders.keys("name, duration")
    [group] = yard.ask(statistics.groups, where, measured, by, 9)
    assert (group.count, group.run_id) == (1, claim.run_id)
    assert group.key == ("digits", group.best)
