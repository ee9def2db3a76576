"""Workers that lose what others complete are set aside with the evidence; bad luck is no evidence."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from service.store import suspicion, workers
from service.store.clock import after, now
from service.store.suspicion import NotSetAside, UnknownWorker
from service.store.tables import Outcome, Run, State, Worker

LEASE = 60.0


@pytest.fixture
def pool(yard):
    for name in ("ada", "bob"):
        yard.do(
            workers.register, name=name, host="here", pid=7, slots=2, queues=["default"],
            metrics_url=None, lease_seconds=LEASE,
        )  # fmt: skip
    return yard


def claim_as(yard, worker):
    yard.do(lambda session: session.execute(update(Run).values(not_before=after(-60))))  # back-off and shyness are over
    claim = yard.claim(worker=worker)
    assert claim is not None
    return claim


def lost_by_ada(yard, number):
    """Runs that ada lost one after the other."""
    run_ids = []
    for _ in range(number):
        run_ids.append(yard.submit())
        yard.lose(claim_as(yard, "ada"), "its training process died")
        yard.do(lambda session: session.execute(update(Run).where(Run.state == State.QUEUED).values(priority=-1)))
    return run_ids


def complete_by(yard, worker, run_ids):
    for _ in run_ids:
        yard.finish(claim_as(yard, worker))


def suspects(yard):
    return [suspect.worker for suspect in yard.ask(suspicion.suspects, 3)]


def test_a_worker_that_loses_three_runs_which_another_completes_is_suspected_with_the_evidence(pool):
    run_ids = lost_by_ada(pool, 3)
    assert suspects(pool) == []
    complete_by(pool, "bob", run_ids)
    [suspect] = pool.ask(suspicion.suspects, 3)
    assert suspect.worker == "ada"
    assert suspect.evidence == (
        f"its last 3 attempts went wrong (run {run_ids[-1]}: its training process died), and "
        f"runs {', '.join(map(str, run_ids))} were completed by bob"
    )


def test_runs_that_nobody_completes_are_no_evidence(pool):
    for _ in lost_by_ada(pool, 4):
        pool.lose(claim_as(pool, "bob"))
    assert suspects(pool) == []


def test_runs_that_it_completes_itself_at_the_second_try_are_no_evidence(pool):
    complete_by(pool, "ada", lost_by_ada(pool, 4))
    assert suspects(pool) == []


def test_a_success_of_its_own_in_between_clears_it(pool):
    run_ids = lost_by_ada(pool, 2)
    pool.submit(priority=1)
    pool.finish(claim_as(pool, "ada"))
    complete_by(pool, "bob", [*run_ids, *lost_by_ada(pool, 2)])
    assert suspects(pool) == []


def test_what_ends_at_one_blow_counts_once(pool):
    run_ids = [pool.submit() for _ in range(4)]
    for claim in [claim_as(pool, "ada") for _ in run_ids]:
        pool.lose(claim)
    complete_by(pool, "bob", run_ids)
    assert suspects(pool) == []


def test_attempts_that_a_person_or_a_drain_ended_say_nothing(pool):
    for _ in range(4):
        pool.submit()
        pool.interrupt(claim_as(pool, "ada"))
        pool.finish(claim_as(pool, "bob"))
    assert suspects(pool) == []


def test_a_worker_that_was_set_aside_gets_no_run_until_it_is_trusted_again(pool):
    complete_by(pool, "bob", lost_by_ada(pool, 3))
    [suspect] = pool.ask(suspicion.suspects, 3)
    assert [pool.do(suspicion.set_aside, "ada", suspect.evidence) for _ in range(2)] == [True, False]
    pool.submit()
    assert pool.claim(worker="ada") is None
    assert {worker.name: worker.set_aside for worker in pool.ask(workers.workers, LEASE)} == {
        "ada": suspect.evidence, "bob": None,
    }  # fmt: skip
    pool.do(suspicion.trust, "ada")
    assert suspects(pool) == []  # what it lost before no longer counts
    assert pool.claim(worker="ada") is not None


def test_a_worker_that_starts_again_stays_set_aside(pool):
    pool.do(suspicion.set_aside, "ada", "evidence")
    pool.do(lambda session: session.execute(update(Worker).values(last_seen=after(-100))))
    pool.do(
        workers.register, name="ada", host="here", pid=8, slots=2, queues=["default"],
        metrics_url=None, lease_seconds=LEASE,
    )  # fmt: skip
    assert pool.ask(workers.workers, LEASE)[0].set_aside == "evidence"


def test_a_worker_that_is_not_set_aside_cannot_be_taken_back(pool):
    with pytest.raises(NotSetAside, match="worker 'ada' is not set aside"):
        pool.do(suspicion.trust, "ada")
    with pytest.raises(UnknownWorker, match="there is no worker 'adaa'; did you mean 'ada'"):
        pool.do(suspicion.trust, "adaa")


def test_failures_count_where_another_worker_completes_the_run_after_a_retry(pool):
    run_ids = []
    for _ in range(3):
        run_ids.append(pool.submit())
        pool.finish(claim_as(pool, "ada"), Outcome.FAILED, error="ZeroDivisionError")
        pool.retry(run_ids[-1])
        pool.finish(claim_as(pool, "bob"))
    assert suspects(pool) == ["ada"]


def test_the_worker_that_lost_a_run_leaves_it_to_others_for_a_while(pool):
    run_id = pool.submit()
    pool.lose(pool.claim(worker="ada"))
    other = pool.submit()
    assert pool.claim(worker="ada").run_id == other
    assert pool.claim(worker="ada") is None
    assert pool.claim(worker="bob").run_id == run_id


@pytest.mark.parametrize(
    "change",
    [{"last_seen": after(-LEASE - 1)}, {"set_aside": "evidence"}, {"wish": "stop"}, {"state": "draining"}],
    ids=lambda change: next(iter(change)),
)
def test_it_takes_the_run_again_at_once_where_nobody_else_could(pool, change):
    pool.do(lambda session: session.execute(update(Worker).where(Worker.name == "bob").values(**change)))
    run_id = pool.submit()
    pool.lose(pool.claim(worker="ada"))
    assert pool.claim(worker="ada").run_id == run_id


def test_and_after_a_while_also_where_others_are_too_busy(pool):
    run_id = pool.submit()
    pool.lose(pool.claim(worker="ada"))
    pool.set(run_id, not_before=after(-11))
    assert pool.claim(worker="ada").run_id == run_id


@pytest.mark.parametrize("wish", ["drain", "stop"])
def test_a_worker_that_was_told_to_end_claims_nothing(pool, wish):
    pool.submit()
    pool.do(workers.wish, "ada", LEASE, end=wish)
    assert pool.claim(worker="ada") is None
    assert pool.claim(worker="bob") is not None


def test_only_ends_since_it_was_trusted_count(pool):
    complete_by(pool, "bob", lost_by_ada(pool, 3))
    pool.do(lambda session: session.execute(update(Worker).values(trusted=now())))
    assert suspects(pool) == []
    pool.do(lambda session: session.execute(update(Worker).values(trusted=after(-60))))
    assert suspects(pool) == ["ada"]


def test_what_a_worker_of_another_yard_lost_is_no_evidence_against_its_namesake_here(pool):
    run_ids = lost_by_ada(pool, 3)
    complete_by(pool, "bob", run_ids)
    assert suspects(pool) == ["ada"]
    pool.set(run_ids[1], imported_from="run 7 on lab-2")
    assert suspects(pool) == []
