"""The supervisor's judgement of its own pool."""

from __future__ import annotations

import pytest

from workers import supervisor
from workers.supervisor import Supervisor, WorkerStuck


@pytest.fixture
def watching(here, monkeypatch) -> Supervisor:
    """A supervisor with one slot, of the queue that the test submits to, for which no time is too short."""
    monkeypatch.setattr(supervisor, "STUCK_SECONDS", 0.0)
    made = Supervisor(here.settings, name="ada", slots=1, queues=[here.queue])
    made._database, made._slots = here.database, 1
    return made


def test_an_idle_pool_that_leaves_work_waiting_is_stuck(here, watching):
    here.submit()
    watching._watch_for_a_stuck_pool(busy=0)
    watching._watch_for_a_stuck_pool(busy=0)
    with pytest.raises(WorkerStuck, match="runs wait and no slot has taken one"):
        watching._watch_for_a_stuck_pool(busy=0)


def test_a_pool_without_work_or_at_work_is_not_stuck(here, watching):
    watching._watch_for_a_stuck_pool(busy=0)
    watching._watch_for_a_stuck_pool(busy=0)
    here.submit()
    watching._watch_for_a_stuck_pool(busy=1)
    watching._watch_for_a_stuck_pool(busy=1)
    assert watching._stuck_since is None


def test_a_pool_whose_queue_moves_is_not_stuck_however_short_its_runs_are(here, watching):
    for _ in range(4):
        here.submit()
        watching._watch_for_a_stuck_pool(busy=0)
    assert watching._stuck_since is None
