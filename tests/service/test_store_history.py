"""Questions about runs."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from service.store import history
from service.store.clock import after, now
from service.store.points import Point
from service.store.tables import Run, State
from service.store.transitions import NoSuchRun


def ids(yard, **wanted):
    return [run.id for run in yard.ask(history.runs, **wanted)]


def test_a_run_that_is_not_there_is_told(yard):
    with pytest.raises(NoSuchRun, match="there is no run 5; `trainyard runs list` shows those there are"):
        yard.run(5)


def test_an_empty_yard_has_nothing_to_tell(yard):
    assert ids(yard) == []
    assert yard.ask(history.counts) == dict.fromkeys(State, 0)
    assert yard.ask(history.waiting) == {}


def test_runs_are_listed_newest_first_and_paged_by_number(yard):
    numbers = [yard.submit() for _ in range(7)][::-1]
    assert ids(yard) == numbers
    pages, last = [], None
    while page := ids(yard, after=last, limit=3):
        pages.append(page)
        last = page[-1]
    assert pages == [numbers[:3], numbers[3:6], numbers[6:]]


def test_a_page_does_not_shift_when_runs_are_added(yard):
    numbers = [yard.submit() for _ in range(4)][::-1]
    page = ids(yard, limit=2)
    yard.submit()
    assert page + ids(yard, after=page[-1], limit=2) == numbers


def test_a_listed_run_says_the_same_as_one_asked_for(yard):
    claim = yard.claimed(tags=["b", "a"])
    yard.record(claim, Point("loss", 1, 0.5, higher_is_better=False), epoch=1)
    yard.submit()
    assert yard.ask(history.runs)[1] == yard.run(claim.run_id)
    assert yard.run(claim.run_id).tags == ("a", "b")


def test_more_runs_are_listed_than_a_statement_may_have_parameters(yard, monkeypatch):
    """PostgreSQL takes 65,535; with fewer allowed it shows sooner whether the parts are put together well."""
    for number in range(5):
        claim = yard.claimed(tags=[f"tag-{number}"])
        yard.record(claim, Point("loss", 1, number, higher_is_better=False))
    at_once = yard.ask(history.runs)
    monkeypatch.setattr(history, "MOST_IDS", 2)
    assert yard.ask(history.runs) == at_once
    assert [run.tags for run in at_once] == [(f"tag-{number}",) for number in (4, 3, 2, 1, 0)]


def test_attempts_are_told_in_order(yard):
    claim = yard.claimed()
    yard.record(claim, epoch=2, samples=100, seconds=1.5)
    yard.interrupt(claim, "drained")
    yard.claim(worker="grace")
    first, second = yard.attempts(claim.run_id)
    assert (first.number, first.worker, first.outcome, first.reason) == (1, "ada", "interrupted", "drained")
    assert (first.epoch, first.samples, first.seconds, first.environment) == (2, 100, 1.5, {"cpu": "any"})
    assert (second.number, second.worker, second.outcome, second.finished) == (2, "grace", None, None)
    assert first.started <= first.finished <= second.started


def test_runs_are_counted_by_state(yard):
    for state in (State.QUEUED, State.FAILED, State.FAILED, State.CANCELLED):
        yard.in_state(state)
    expected = dict.fromkeys(State, 0) | {State.RUNNING: 1, State.FAILED: 2, State.CANCELLED: 1}
    yard.claim()
    assert yard.ask(history.counts) == expected


def test_waiting_runs_are_told_by_queue_with_the_age_of_the_oldest(yard):
    old, _, _ = yard.submit(), yard.submit(), yard.submit(queue="night")
    yard.set(old, not_before=after(-500))
    yard.claimed(queue="busy")
    waiting = yard.ask(history.waiting)
    assert {queue: number for queue, (number, _) in waiting.items()} == {"default": 2, "night": 1}
    assert waiting["default"][1] == pytest.approx(500, abs=60)
    assert 0 <= waiting["night"][1] < 60
    yard.set(old, not_before=after(60))
    claimable = yard.ask(history.waiting, claimable=True)
    assert {queue: number for queue, (number, _) in claimable.items()} == {"default": 1, "night": 1}


def test_the_runs_ahead_are_those_claimed_before(yard):
    for queue, priority in [("default", 0), ("default", 5), ("default", 0), ("default", -1), ("night", 9)]:
        yard.submit(queue=queue, priority=priority)
    yard.cancel(yard.submit(priority=8))
    waiting = (Run.queue == "default") & (Run.state == State.QUEUED)
    ahead = {run.id: yard.ask(history.ahead, run) for run in yard.ask(history.runs, waiting)}
    order = []
    while claim := yard.claim():
        order.append(claim.run_id)
    assert sorted(ahead, key=ahead.__getitem__) == order
    assert sorted(ahead.values()) == [0, 1, 2, 3]


# The clock


def test_the_database_says_what_time_it_is_in_utc(yard):
    run = yard.run(yard.submit())
    database_now = yard.ask(lambda session: session.scalar(now().select()))
    assert run.created.tzinfo is UTC
    assert run.created <= database_now
    assert abs(datetime.now(UTC) - database_now) < timedelta(minutes=30)  # shows a wrong time zone, not a slow machine


def test_a_later_statement_of_a_transaction_has_a_later_time(yard):
    with yard.database.write() as session:
        first = session.scalar(now().select())
        while (second := session.scalar(now().select())) == first:
            pass  # SQLite counts milliseconds
    assert second > first


def test_a_moment_is_kept_to_the_microsecond(yard):
    run_id = yard.submit()
    moment = yard.run(run_id).created.replace(year=2031, microsecond=123_457)
    yard.set(run_id, created=moment)
    assert yard.run(run_id).created == moment


def test_json_has_no_value_that_json_cannot_hold(yard):
    claim = yard.claimed(tags=["a"])
    yard.record(claim, Point("loss", 1, math.inf, higher_is_better=False))
    document = yard.run(claim.run_id).json()
    assert document["metrics"]["loss"] == {"last": None, "best": None, "best_epoch": 1}
    assert document["created"].endswith("Z")
    assert (document["state"], document["tags"], document["finished"]) == ("running", ["a"], None)
