"""The supervisor's judgement of its own pool."""

from __future__ import annotations

import pytest

from service.store import transitions
from service.store.clock import after
from workers import watch
from workers.watch import Watch, WorkerStuck


@pytest.fixture
def watching(here, monkeypatch) -> Watch:
    """A watch over the queue that the test submits to, for which no time is too short."""
    monkeypatch.setattr(watch, "STUCK_SECONDS", 0.0)
    return Watch(here.database, "ada", [here.queue])


def test_an_idle_pool_that_leaves_work_waiting_is_stuck(here, watching):
    here.submit()
    watching.look(idle=True)
    watching.look(idle=True)
    with pytest.raises(WorkerStuck, match="runs wait and no slot has taken one"):
        watching.look(idle=True)


def test_a_pool_without_work_or_at_work_is_not_stuck(here, watching):
    watching.look(idle=True)
    watching.look(idle=True)
    here.submit()
    for _ in range(3):
        watching.look(idle=False)
    assert watching._since is None


def test_a_pool_whose_queue_moves_is_not_stuck_however_short_its_runs_are(here, watching):
    for _ in range(4):
        here.submit()
        watching.look(idle=True)
    assert watching._since is None


def test_runs_of_other_queues_do_not_count(here, watching):
    here.client.submit(here.file, queue=f"{here.queue}-2")
    for _ in range(3):
        watching.look(idle=True)


def test_a_run_that_the_worker_lost_and_leaves_to_others_does_not_count_until_it_may_take_it(here, watching):
    run = here.submit()
    with here.database.write() as session:
        claim = transitions.claim(session, here.queue, "ada", 7, 60, {})
    here.lose(run, claim.attempt)
    for _ in range(3):
        watching.look(idle=True)
    here.set(run, not_before=after(-11))
    watching.look(idle=True)
    watching.look(idle=True)
    with pytest.raises(WorkerStuck):
        watching.look(idle=True)


def test_nor_does_what_pauses_after_losses(here, watching):
    here.set(here.submit(), not_before=after(60))
    for _ in range(3):
        watching.look(idle=True)
