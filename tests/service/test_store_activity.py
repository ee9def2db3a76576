"""What ended lately, and how fast the yard trains."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.store import activity
from service.store.points import Point
from service.store.tables import Outcome, State

DAY = timedelta(days=1)


def test_ended_since_counts_runs_by_how_they_ended(yard):
    for outcome in (Outcome.COMPLETED, Outcome.COMPLETED, Outcome.FAILED):
        yard.finish(yard.claimed(), outcome)
    yard.cancel(yard.submit())
    old = yard.in_state(State.COMPLETED).run_id
    yard.set(old, finished=datetime.now(UTC) - 2 * DAY)
    yard.retry(yard.in_state(State.FAILED).run_id)
    found = yard.ask(activity.ended_since, datetime.now(UTC) - DAY)
    assert found == {State.COMPLETED: 2, State.FAILED: 1, State.CANCELLED: 1}


def test_a_pace_is_of_the_attempt_that_trains_now(yard):
    claim, silent = yard.claimed(epochs=30), yard.claimed()
    yard.record(claim, Point("loss", 10, 0.5, False), first_epoch=1, epoch=10, samples=5000, seconds=20.0)
    found = yard.ask(activity.paces)
    assert found[claim.run_id].samples_per_second == pytest.approx(250)
    assert found[claim.run_id].seconds_left == pytest.approx(40)
    assert (found[silent.run_id].samples_per_second, found[silent.run_id].seconds_left) == (None, None)
    yard.finish(claim)
    assert claim.run_id not in yard.ask(activity.paces)
