"""A worker that loses every run does not burn the queue: it is set aside, and others do its work."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime

import pytest

from service.queue import Tickets
from service.store import suspicion
from tests.servers import eventually
from tests.yard import TIMEOUT, Yard, end
from tests.yard import yard as a_yard

pytestmark = pytest.mark.slow


@pytest.fixture
def home() -> Iterator[Yard]:
    with a_yard() as there:
        yield there


def kill_what_it_trains(there: Yard, worker: str) -> None:
    for run in there.client.runs("state = running", limit=None):
        if run.worker == worker:
            with suppress(ProcessLookupError):
                os.kill(there.client.attempts(run.id)[-1].pid, signal.SIGKILL)


def evidence(there: Yard, worker: str) -> str | None:
    return next(known.set_aside for known in there.client.workers() if known.name == worker)


def test_a_worker_that_loses_every_run_is_set_aside_until_a_person_trusts_it_again(home):
    home.up(0)
    good = home.worker("good")
    home.worker("bad")
    runs = [home.submit(epochs=100, seed=seed) for seed in range(12)]
    eventually(lambda: kill_what_it_trains(home, "bad") or evidence(home, "bad"), 3 * TIMEOUT)
    assert evidence(home, "bad").startswith("its last ")
    assert "were completed by good" in evidence(home, "bad")
    seen = datetime.now(UTC)
    home.completed(*runs)
    later = [attempt for run in runs for attempt in home.client.attempts(run) if attempt.started > seen]
    assert "bad" not in {attempt.worker for attempt in later}
    assert evidence(home, "good") is None
    eventually(lambda: "Canceling queue default" in home.log(), TIMEOUT)

    assert end(good) == 0
    waiting = home.submit(epochs=2)
    eventually(lambda: Tickets(home.settings.broker).depth("default") == 1, TIMEOUT)  # for nobody takes it
    assert home.client.run(waiting).state == "queued"
    with home.client.database.write() as session:
        suspicion.trust(session, "bad")
    [run] = home.completed(waiting)
    assert run.worker == "bad"
