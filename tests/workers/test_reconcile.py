"""The reconciler makes leases and tickets match the database; any number of them may do it at once."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time

import pytest
import redis

from service.processes import alive
from service.queue import MOST_TICKETS, BrokerUnreachable, Tickets
from service.store import blobs, history, removal, transitions
from service.store import workers as worker_store
from service.store.clock import after
from service.store.database import DatabaseUnreachable
from service.store.submissions import NewRun
from service.store.tables import Blob, Outcome, Run
from service.store.workers import WorkerNameTaken
from tests.servers import eventually
from workers.exits import Exits
from workers.reconcile import Reconciler

LEASE = 5.0
ONE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not alive(process.pid)
    return process.pid


@pytest.fixture
def tickets(here):
    return Tickets(here.settings.broker)


@pytest.fixture
def reconciler(here, tickets):
    """One that has been at work for longer than a lease."""
    return ripe(here, tickets)


def ripe(here, tickets, worker="cleo"):
    made = Reconciler(here.database, tickets, worker, LEASE)
    made._reap_after = time.monotonic()
    return made


def claim(here, worker="ada", pid=None):
    with here.database.write() as session:
        return transitions.claim(session, here.queue, worker, pid or os.getpid(), LEASE, {})


def state(here, run):
    return here.client.run(run).state.value


def test_a_run_whose_lease_has_expired_waits_again_and_the_next_claim_takes_over(here, reconciler):
    run = here.submit()
    claim(here)
    reconciler.run()
    assert state(here, run) == "running"
    here.expire(run)
    reconciler.run()
    assert (state(here, run), here.outcomes(run)) == ("queued", ["lost"])
    assert here.client.attempts(run)[0].reason == "worker ada was silent for 5 s"
    assert reconciler.runs_lost == 1
    assert claim(here, "bob").attempt == 2


def test_a_run_of_a_dead_process_of_this_worker_is_lost_before_its_lease_expires(here, tickets, dead_pid):
    run, other = here.submit(), here.submit()
    claim(here, "ada", dead_pid)
    claim(here, "bob", dead_pid)  # of another machine, whose processes cannot be looked at
    exits = Exits()
    exits.tell(dead_pid, -signal.SIGKILL)
    Reconciler(here.database, tickets, "ada", LEASE, exits=exits).run()
    assert (state(here, run), state(here, other)) == ("queued", "running")
    [attempt] = here.client.attempts(run)
    assert attempt.reason == f"its training process {dead_pid} on ada died by SIGKILL"
    assert attempt.exit_signal == "SIGKILL"


def test_a_run_whose_process_ended_by_itself_is_lost_with_the_exit_code(here, tickets, dead_pid):
    run = here.submit()
    claim(here, "ada", dead_pid)
    exits = Exits()
    exits.tell(dead_pid, 3)
    Reconciler(here.database, tickets, "ada", LEASE, exits=exits).run()
    [attempt] = here.client.attempts(run)
    assert attempt.reason == f"its training process {dead_pid} on ada ended with exit code 3"
    assert (state(here, run), attempt.exit_signal) == ("queued", None)


def test_it_waits_a_moment_for_the_word_on_how_a_process_ended(here, tickets, dead_pid):
    run = here.submit()
    claim(here, "ada", dead_pid)
    exits = Exits()
    reconciler = Reconciler(here.database, tickets, "ada", LEASE, exits=exits)
    reconciler.run()
    assert (state(here, run), reconciler.wonders) == ("running", True)
    exits.tell(dead_pid, -signal.SIGSEGV)
    reconciler.run()
    assert (state(here, run), reconciler.wonders) == ("queued", False)
    assert here.client.attempts(run)[0].exit_signal == "SIGSEGV"


def test_and_goes_without_it_when_nobody_tells(here, tickets, dead_pid):
    run = here.submit()
    claim(here, "ada", dead_pid)
    reconciler = Reconciler(here.database, tickets, "ada", LEASE)
    eventually(lambda: reconciler.run() or state(here, run) == "queued")
    assert here.client.attempts(run)[0].reason == f"its training process {dead_pid} on ada died"
    assert not reconciler.wonders


def test_a_reconciler_that_has_just_begun_gives_every_lease_its_full_term(here, tickets):
    run = here.submit()
    claim(here)
    here.expire(run)
    young = Reconciler(here.database, tickets, "cleo", LEASE)
    young.run()
    assert state(here, run) == "running"
    assert 0 < young._reap_after - time.monotonic() <= LEASE


@ONE
def test_after_an_outage_of_the_database_every_lease_gets_its_full_term_again(here, reconciler, monkeypatch):
    run = here.submit()
    claim(here)
    here.expire(run)

    def away():
        raise DatabaseUnreachable(here.database.url, ConnectionError("away"))

    with monkeypatch.context() as patch:
        patch.setattr(here.database, "read", away)
        with pytest.raises(DatabaseUnreachable):
            reconciler.run()
    reconciler.run()
    assert state(here, run) == "running"
    reconciler._reap_after = time.monotonic()
    reconciler.run()
    assert state(here, run) == "queued"


def test_after_a_time_in_which_nobody_looked_every_lease_gets_its_full_term_again(here, reconciler):
    run = here.submit()
    claim(here)
    here.expire(run)
    reconciler._looked -= LEASE  # its worker could not report itself, waited for an answer, or slept
    reconciler.run()
    assert state(here, run) == "running"
    reconciler.run()
    assert state(here, run) == "running"
    reconciler._reap_after = time.monotonic()
    reconciler.run()
    assert state(here, run) == "queued"


def test_a_lost_run_that_was_to_be_cancelled_is_cancelled(here, reconciler):
    run = here.submit()
    claim(here)
    here.client.cancel(run, timeout=0)
    here.expire(run)
    reconciler.run()
    assert (state(here, run), here.outcomes(run)) == ("cancelled", ["lost"])


def test_tickets_are_sent_again_after_a_flush(here, tickets, reconciler):
    for _ in range(3):
        here.submit()
    assert tickets.depth(here.queue) == 3
    client = redis.Redis.from_url(here.settings.broker)
    client.flushall()
    client.close()
    assert tickets.depth(here.queue) == 0
    reconciler.run()
    assert tickets.depth(here.queue) == 3
    reconciler.run()
    assert tickets.depth(here.queue) == 3


def test_a_waiting_ticket_serves_for_any_run_of_its_queue(here, tickets, reconciler):
    here.submit()
    tickets.send(here.queue, 4)
    here.submit()
    reconciler.run()
    assert tickets.depth(here.queue) == 6  # there were 6, and 2 were needed


def test_runs_by_the_thousand_do_not_fill_the_broker(here, tickets, reconciler):
    first = here.client.run(here.submit())
    named = {"name": "many", "spec": first.spec, "dataset_sha256": first.dataset_sha256, "queue": here.queue}
    with here.database.write() as session:
        transitions.submit(session, [NewRun(epochs=1, max_attempts=1, **named) for _ in range(MOST_TICKETS + 50)])
    reconciler.run()
    assert tickets.depth(here.queue) == MOST_TICKETS


def test_a_run_that_pauses_after_losses_gets_no_ticket_until_its_time(here, tickets, reconciler):
    run = here.submit()
    claim(here)
    here.lose(run, 1)
    claim(here)
    here.lose(run, 2)  # the first loss costs no pause, the second does
    client = redis.Redis.from_url(here.settings.broker)
    client.flushall()
    client.close()
    here.set(run, not_before=after(60))
    reconciler.run()
    assert tickets.depth(here.queue) == 0
    here.set(run, not_before=after(-1))
    reconciler.run()
    assert tickets.depth(here.queue) == 1


def test_two_losses_in_a_row_make_a_run_pause(here):
    run = here.submit()
    claim(here)
    here.lose(run, 1)
    assert claim(here) is not None
    here.lose(run, 2)
    assert claim(here) is None
    with here.database.read() as session:
        assert history.waiting(session)[here.queue][0] == 1
        assert here.queue not in history.waiting(session, claimable=True)


def test_reconcilers_that_race_lose_each_attempt_once(here, tickets):
    runs = [here.submit() for _ in range(10)]
    for run in runs:
        claim(here)
        here.expire(run)
    rivals = [ripe(here, tickets, name) for name in ("ann", "ben", "cid", "dot")]
    gate, errors = threading.Barrier(len(rivals)), []

    def race(rival):
        try:
            gate.wait(30)
            rival.run()
        except Exception as error:  # noqa: BLE001 - any at all is a failure of the test
            errors.append(error)

    threads = [threading.Thread(target=race, args=(rival,)) for rival in rivals]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert [here.outcomes(run) for run in runs] == [["lost"]] * 10
    assert {state(here, run) for run in runs} == {"queued"}
    assert sum(rival.runs_lost for rival in rivals) == 10


def test_a_slot_that_renews_while_it_is_reaped_keeps_its_run(here, reconciler, monkeypatch):
    run = here.submit()
    held = claim(here)
    here.expire(run)
    expired = transitions.expired

    def then_renewed(session):
        found = expired(session)
        with here.database.write() as other:
            transitions.record(other, run, held.attempt, transitions.Progress(), LEASE)
        return found

    monkeypatch.setattr(transitions, "expired", then_renewed)
    reconciler.run()
    assert (state(here, run), reconciler.runs_lost) == ("running", 0)


def test_a_run_that_ends_while_it_is_reaped_stays_ended(here, tickets, dead_pid, monkeypatch):
    run = here.submit()
    held = claim(here, "ada", dead_pid)
    asked = history.held_by

    def then_ended(session, worker):
        found = asked(session, worker)
        with here.database.write() as other:
            transitions.finish(other, run, held.attempt, Outcome.COMPLETED)
        return found

    monkeypatch.setattr(history, "held_by", then_ended)
    exits = Exits()
    exits.tell(dead_pid, -signal.SIGKILL)
    Reconciler(here.database, tickets, "ada", LEASE, exits=exits).run()
    assert (state(here, run), here.outcomes(run)) == ("completed", ["completed"])


def test_without_a_broker_leases_are_still_looked_after(here):
    run = here.submit()
    claim(here)
    here.expire(run)
    with pytest.raises(BrokerUnreachable):
        ripe(here, Tickets("redis://127.0.0.1:1/0")).run()
    assert state(here, run) == "queued"


@ONE
def test_blobs_that_nothing_points_at_are_collected_now_and_then(here, reconciler):
    orphan = blobs.stage(here.database, b"left by a dead worker")
    with here.database.write() as session:
        session.get_one(Blob, orphan).touched = after(-2 * blobs.UNPOINTED_SECONDS)
    reconciler.run()
    with here.database.read() as session:
        assert session.get(Blob, orphan) is not None
    reconciler._collect_after = time.monotonic()
    eventually(lambda: time.monotonic() > reconciler._collect_after)
    reconciler.run()
    with here.database.read() as session:
        assert session.get(Blob, orphan) is None


@ONE
def test_a_removal_that_was_cut_off_is_ended_now_and_then(here, reconciler):
    run_id = here.submit()
    with here.database.write() as session:
        transitions.cancel(session, Run.id == run_id)
        assert removal.ask(session, [run_id]) == [run_id]
    reconciler.run()
    assert here.row(run_id).wish == "remove"
    reconciler._collect_after = time.monotonic()
    eventually(lambda: time.monotonic() > reconciler._collect_after)
    reconciler.run()
    with here.database.read() as session:
        assert session.get(Run, run_id) is None


def test_the_name_of_a_worker_whose_process_died_on_this_machine_is_free_at_once(here, dead_pid):
    register(here, "ada", dead_pid)
    register(here, "ada", os.getpid())
    with pytest.raises(WorkerNameTaken):
        register(here, "ada", os.getppid())


@pytest.mark.parametrize("suspect_after", [0, 2, 3])
def test_a_worker_that_loses_what_others_complete_is_set_aside_unless_that_is_switched_off(
    here, tickets, caplog, suspect_after
):
    register(here, "ada", os.getpid())
    register(here, "bob", os.getpid())
    for _ in range(2):
        run = here.submit()
        here.lose(run, claim(here, "ada").attempt)
        taken = claim(here, "bob")
        with here.database.write() as session:
            transitions.finish(session, run, taken.attempt, Outcome.COMPLETED)
    reconciler = Reconciler(here.database, tickets, "cleo", LEASE, suspect_after=suspect_after)
    reconciler.run()
    assert evidence(here) is None  # not yet: it looks every ten seconds
    reconciler._judge_after = 0.0
    reconciler.run()
    assert (evidence(here) is not None) == (suspect_after == 2)
    assert ("worker ada is set aside, it gets no more runs: its last 2 attempts" in caplog.text) == (suspect_after == 2)


def evidence(here):
    [ada] = [worker for worker in here.client.workers() if worker.name == "ada"]
    return ada.set_aside


def register(here, name, pid):
    with here.database.write() as session:
        worker_store.register(
            session, name=name, host=platform.node(), pid=pid, slots=1, queues=["default"], metrics_url=None,
            lease_seconds=LEASE,
        )  # fmt: skip
