"""Who gets which run: order, queues, and races of threads and of processes."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain, count
from typing import Any

import pytest

from service.store import transitions
from service.store.clock import after
from service.store.database import Database
from service.store.tables import State

LEASE = 60.0


def claimed_ids(yard, queue="default"):
    ids = []
    while claim := yard.claim(queue):
        ids.append(claim.run_id)
    return ids


def test_an_empty_queue_has_nothing_to_claim(yard):
    assert yard.claim() is None


def test_the_highest_priority_goes_first_then_the_oldest(yard):
    low, first, high, second, deep = (yard.submit(priority=priority) for priority in (-1, 0, 5, 0, -20))
    assert claimed_ids(yard) == [high, first, second, low, deep]


def test_a_run_given_back_takes_its_old_place(yard):
    first, second = yard.submit(), yard.submit()
    yard.interrupt(yard.claim())
    assert claimed_ids(yard) == [first, second]


def test_a_run_can_be_claimed_in_the_very_moment_in_which_it_is_submitted(yard):
    for _ in range(30):  # a transaction each, so short that the clock often stands
        with yard.database.write() as session:
            (run_id,) = transitions.submit(session, [yard.new()])
            claim = transitions.claim(session, "default", "ada", 7, LEASE, {})
        assert claim is not None
        assert claim.run_id == run_id


def test_queues_are_separate(yard):
    day, night = yard.submit(), yard.submit(queue="night", priority=9)
    assert (claimed_ids(yard, "noon"), claimed_ids(yard), claimed_ids(yard, "night")) == ([], [day], [night])


def test_a_run_that_shall_wait_lets_others_pass_until_its_time(yard):
    waits, goes = yard.submit(priority=9), yard.submit()
    yard.set(waits, not_before=after(60))
    assert claimed_ids(yard) == [goes]
    yard.set(waits, not_before=after(-1))
    assert claimed_ids(yard) == [waits]


def test_a_claim_that_was_not_committed_never_was(yard):
    run_id = yard.submit()
    with yard.database.write() as session:
        assert transitions.claim(session, "default", "ada", 7, LEASE, {}).run_id == run_id
        session.rollback()
    assert yard.attempts(run_id) == []
    assert yard.claim().attempt == 1


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_a_claim_does_not_wait_for_another_one(yard):
    first, second = yard.submit(), yard.submit()
    with yard.database.write() as session:
        assert transitions.claim(session, "default", "ada", 7, LEASE, {}).run_id == first
        assert yard.claim(worker="grace").run_id == second


# Races

RUNS = 60
TOGETHER = 8  # claims of each that begin at the same moment; fewer than there are runs for all


def claim_all(url: str, worker: str, barrier: Any) -> list[int]:
    """Claim and report, a transaction each, at first together with the others, then until nothing is left."""
    database, ids = Database(url), []
    for turn in count():
        if turn <= TOGETHER:  # nobody begins to take what is left before all have had theirs
            barrier.wait(60)
        with database.write() as session:
            claim = transitions.claim(session, "default", worker, os.getpid(), LEASE, {})
        if claim is None:
            assert turn >= TOGETHER, "there are more runs than that"
            break
        with database.write() as session:
            transitions.record(session, claim.run_id, claim.attempt, transitions.Progress(epoch=1), LEASE)
        ids.append(claim.run_id)
    database.dispose()
    return ids


def assert_each_run_claimed_once(yard, claims):
    ids = list(chain.from_iterable(claims))
    assert Counter(ids) == Counter(range(min(ids), min(ids) + RUNS))
    assert all(len(own) >= TOGETHER for own in claims), "this was no race"
    for run_id in ids:
        assert [attempt.number for attempt in yard.attempts(run_id)] == [1]
        assert yard.run(run_id).state is State.RUNNING


def submit_many(yard):
    for number in range(RUNS):
        yard.submit(priority=number % 3)


def test_threads_that_race_claim_each_run_once(yard, database_url):
    submit_many(yard)
    barrier = threading.Barrier(6)
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(claim_all, database_url, f"worker-{number}", barrier) for number in range(6)]
        claims = [future.result() for future in futures]
    assert_each_run_claimed_once(yard, claims)


_barrier: Any = None


def _take_barrier(barrier):
    global _barrier
    _barrier = barrier


def _claim_all(url: str, worker: str) -> list[int]:
    return claim_all(url, worker, _barrier)


def test_processes_that_race_claim_each_run_once(yard, database_url):
    submit_many(yard)
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    with ProcessPoolExecutor(3, mp_context=spawn, initializer=_take_barrier, initargs=(barrier,)) as pool:
        futures = [pool.submit(_claim_all, database_url, f"worker-{number}") for number in range(3)]
        claims = [future.result() for future in futures]
    assert_each_run_claimed_once(yard, claims)


def test_a_cancel_and_a_claim_that_race_leave_one_of_both(yard):
    for _ in range(10):
        run_id = yard.submit()
        with ThreadPoolExecutor(2) as pool:
            cancel, claim = pool.submit(yard.cancel, run_id), pool.submit(yard.claim)
            answered, claimed = cancel.result(), claim.result()
        assert (answered, claimed is None) in [(State.CANCELLED, True), (State.RUNNING, False)]
        if claimed:
            assert yard.interrupt(claimed) is State.CANCELLED


def test_reconcilers_that_race_lose_a_run_once(yard):
    claim = yard.claimed()
    yard.expire(claim.run_id)
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(yard.do, transitions.lose_expired, claim.run_id, claim.attempt, "silent") for _ in range(4)
        ]
        assert Counter(future.result() for future in futures) == {State.QUEUED: 1, None: 3}
    assert [attempt.outcome for attempt in yard.attempts(claim.run_id)] == ["lost"]


def test_a_record_and_a_reconciler_that_race_leave_one_of_both(yard):
    for _ in range(10):
        claim = yard.claimed()
        yard.expire(claim.run_id)
        with ThreadPoolExecutor(2) as pool:
            lost = pool.submit(yard.do, transitions.lose_expired, claim.run_id, claim.attempt, "silent")
            recorded = pool.submit(yard.record, claim)
        if lost.result() is None:
            assert recorded.result() is None
            yard.finish(claim)
        else:
            assert isinstance(recorded.exception(), transitions.LeaseLost)
            yard.cancel(claim.run_id)
