"""Every transition from every state, and the fence: what an attempt that lost its run can no longer do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from service.store import blobs, transitions
from service.store.clock import after, now
from service.store.points import Point
from service.store.submissions import NewRun
from service.store.tables import Outcome, Run, State, Wish
from service.store.transitions import Claim, LeaseLost, NoSuchRun, WeightsKept, WrongState

LOSS = Point("loss", 1, 0.5, higher_is_better=False)

VERBS: dict[str, Callable[[Any, Claim], Any]] = {
    "claim": lambda yard, claim: yard.claim(),
    "record": lambda yard, claim: yard.record(claim, LOSS, epoch=1, samples=10, seconds=1.0),
    "complete": lambda yard, claim: yard.finish(claim, Outcome.COMPLETED),
    "fail": lambda yard, claim: yard.finish(claim, Outcome.FAILED, error="the loss is not a number"),
    "end cancelled": lambda yard, claim: yard.finish(claim, Outcome.CANCELLED),
    "interrupt": lambda yard, claim: yard.interrupt(claim),
    "lose": lambda yard, claim: yard.lose(claim),
    "cancel": lambda yard, claim: yard.cancel(claim.run_id),
    "pause": lambda yard, claim: yard.pause(claim.run_id),
    "resume": lambda yard, claim: yard.resume(claim.run_id),
    "retry": lambda yard, claim: yard.retry(claim.run_id),
}
LEGAL = {
    ("claim", State.QUEUED): State.RUNNING,
    ("record", State.RUNNING): State.RUNNING,
    ("complete", State.RUNNING): State.COMPLETED,
    ("fail", State.RUNNING): State.FAILED,
    ("end cancelled", State.RUNNING): State.CANCELLED,
    ("interrupt", State.RUNNING): State.QUEUED,
    ("lose", State.RUNNING): State.QUEUED,
    ("cancel", State.QUEUED): State.CANCELLED,
    ("cancel", State.PAUSED): State.CANCELLED,
    ("cancel", State.RUNNING): State.RUNNING,
    ("pause", State.QUEUED): State.PAUSED,
    ("pause", State.RUNNING): State.RUNNING,
    ("resume", State.PAUSED): State.QUEUED,
    ("retry", State.FAILED): State.QUEUED,
    ("retry", State.CANCELLED): State.QUEUED,
}
AGAIN = [("complete", State.COMPLETED), ("fail", State.FAILED), ("end cancelled", State.CANCELLED)]
ILLEGAL = [(verb, state) for verb in VERBS for state in State if (verb, state) not in (*LEGAL, *AGAIN)]
PERSONS = ("cancel", "pause", "resume", "retry")


@pytest.mark.parametrize(("verb", "state"), LEGAL, ids=str)
def test_a_legal_transition_leads_to_its_state(yard, verb, state):
    claim = yard.in_state(state)
    VERBS[verb](yard, claim)
    assert yard.run(claim.run_id).state is LEGAL[verb, state]


@pytest.mark.parametrize(("verb", "state"), ILLEGAL, ids=str)
def test_an_illegal_transition_is_refused_and_changes_nothing(yard, verb, state):
    claim = yard.in_state(state)
    before = yard.run(claim.run_id), yard.attempts(claim.run_id)
    if verb == "claim":
        assert yard.claim() is None
    else:
        with pytest.raises(WrongState if verb in PERSONS else LeaseLost):
            VERBS[verb](yard, claim)
    assert (yard.run(claim.run_id), yard.attempts(claim.run_id)) == before


@pytest.mark.parametrize(("verb", "state"), AGAIN, ids=str)
def test_an_end_told_again_is_the_same_as_once(yard, verb, state):
    """After a commit whose answer was lost, the worker tells it again: the run is already as it wants it."""
    claim = yard.in_state(state)
    before = yard.run(claim.run_id), yard.attempts(claim.run_id)
    VERBS[verb](yard, claim)
    assert (yard.run(claim.run_id), yard.attempts(claim.run_id)) == before


@pytest.mark.parametrize("way", ["interrupt", "lose"])
def test_a_run_given_back_twice_is_the_same_as_once_even_when_another_has_it_by_then(yard, way):
    first = yard.claimed()
    assert VERBS[way](yard, first) is VERBS[way](yard, first) is State.QUEUED
    yard.claim(worker="grace")
    before = yard.run(first.run_id), yard.attempts(first.run_id)
    assert VERBS[way](yard, first) is State.RUNNING
    assert (yard.run(first.run_id), yard.attempts(first.run_id)) == before


@pytest.mark.parametrize("verb", PERSONS)
def test_a_run_that_does_not_exist_is_told(yard, verb):
    with pytest.raises(NoSuchRun, match="there is no run 4711"):
        yard.do(transitions.only, 4711, getattr(transitions, verb))


def test_a_person_is_told_the_state_that_forbids_it(yard):
    run_id = yard.in_state(State.COMPLETED).run_id
    with pytest.raises(WrongState, match=f"run {run_id} is completed; only a queued, paused or running run can be"):
        yard.cancel(run_id)


# Submit, claim, finish


def test_a_submitted_run_waits_with_all_that_was_said(yard):
    run = yard.run(yard.submit(name="iris", queue="night", priority=3, tags=["b", "a", "b"], epochs=9))
    assert (run.name, run.state, run.queue, run.priority, run.tags) == ("iris", "queued", "night", 3, ("a", "b"))
    assert (run.attempt, run.epoch, run.epochs, run.started, run.worker, run.error) == (0, 0, 9, None, None, None)


def test_a_claim_begins_an_attempt_and_says_what_to_train(yard):
    run_id = yard.submit()
    claim = yard.claim(worker="grace")
    assert claim == Claim(run_id, 1, {"max_attempts": 3}, "d" * 64, None, 0)
    run, [attempt] = yard.run(run_id), yard.attempts(run_id)
    assert (run.state, run.attempt, run.worker) == ("running", 1, "grace")
    assert (attempt.number, attempt.worker, attempt.pid, attempt.outcome) == (1, "grace", 7, None)
    assert run.created <= run.started <= attempt.started


def test_a_finished_run_keeps_its_weights_and_drops_its_checkpoint(yard):
    claim, blob = yard.claimed(), yard.blob_id
    yard.record(claim, checkpoint_id=blob)
    yard.finish(claim, weights=WeightsKept(blob, blob, "e" * 64))
    row, [attempt] = yard.row(claim.run_id), yard.attempts(claim.run_id)
    assert (row.checkpoint_id, row.weights_id, row.last_weights_id, row.weights_sha256) == (None, blob, blob, "e" * 64)
    assert (row.lease_until, row.error, attempt.outcome) == (None, None, "completed")
    assert row.finished <= attempt.finished


def test_a_failed_run_says_why_and_keeps_its_checkpoint(yard):
    claim = yard.claimed()
    yard.record(claim, checkpoint_id=yard.blob_id)
    yard.finish(claim, Outcome.FAILED, error="the loss is not a number")
    [attempt] = yard.attempts(claim.run_id)
    assert yard.run(claim.run_id).error == attempt.reason == "the loss is not a number"
    assert yard.row(claim.run_id).checkpoint_id == yard.blob_id


# The fence


@pytest.fixture
def stale(yard):
    """The first attempt of a run that a second one holds by now."""
    first = yard.claimed()
    yard.lose(first)
    assert yard.claim(worker="grace").attempt == 2
    return first


@pytest.mark.parametrize("verb", ["record", "complete", "fail", "end cancelled", "interrupt"])
def test_a_late_worker_can_write_nothing_into_a_run_that_was_taken_over(yard, stale, verb):
    before = yard.run(stale.run_id), yard.attempts(stale.run_id), yard.row(stale.run_id).lease_until
    with pytest.raises(LeaseLost, match=f"run {stale.run_id}: attempt 1 lost its lease") as caught:
        VERBS[verb](yard, stale)
    assert (caught.value.run_id, caught.value.attempt) == (stale.run_id, 1)
    assert (yard.run(stale.run_id), yard.attempts(stale.run_id), yard.row(stale.run_id).lease_until) == before


def test_what_a_late_worker_wrote_beside_its_record_is_undone_with_it(yard, stale):
    def submit_and_record(session):
        new = NewRun(name="x", spec={}, dataset_sha256="d" * 64, epochs=1, max_attempts=1, queue="other")
        transitions.submit(session, [new])
        transitions.record(session, stale.run_id, 1, transitions.Progress(), 1.0)

    with pytest.raises(LeaseLost):
        yard.do(submit_and_record)
    assert yard.claim("other") is None


# Leases, by the database's clock


def test_a_lease_is_renewed_by_every_record(yard):
    claim = yard.claimed()
    yard.expire(claim.run_id)
    assert yard.ask(transitions.expired) == [(claim.run_id, 1, "ada")]
    yard.record(claim)
    assert yard.ask(transitions.expired) == []


def test_only_leases_of_running_runs_expire(yard):
    running = yard.claimed()
    for state in (State.QUEUED, State.COMPLETED, State.FAILED, State.CANCELLED):
        yard.expire(yard.in_state(state).run_id)
    assert yard.ask(transitions.expired) == []
    yard.expire(running.run_id)
    assert yard.ask(transitions.expired) == [(running.run_id, 1, "ada")]


def test_an_expired_lease_gives_the_run_back(yard):
    claim = yard.claimed()
    yard.expire(claim.run_id)
    assert yard.do(transitions.lose_expired, claim.run_id, 1, "silent") is State.QUEUED
    assert yard.claim().attempt == 2


def test_a_lease_renewed_in_time_is_not_lost(yard):
    claim = yard.claimed()
    assert yard.do(transitions.lose_expired, claim.run_id, 1, "silent") is None
    assert yard.run(claim.run_id).state is State.RUNNING


def test_a_reconciler_that_comes_late_takes_nothing_from_the_next_attempt(yard, stale):
    yard.expire(stale.run_id)
    assert yard.do(transitions.lose_expired, stale.run_id, 1, "silent") is None
    assert yard.run(stale.run_id).state is State.RUNNING


@pytest.mark.parametrize("state", [state for state in State if state is not State.RUNNING])
def test_a_run_that_nobody_holds_cannot_be_lost(yard, state):
    claim = yard.in_state(state)
    yard.expire(claim.run_id)
    assert yard.do(transitions.lose_expired, claim.run_id, claim.attempt, "silent") is None
    assert yard.run(claim.run_id).state is state


# Given back


def test_an_interrupted_run_can_be_claimed_at_once_and_goes_on(yard):
    first = yard.claimed()
    yard.record(first, epoch=4, checkpoint_id=yard.blob_id)
    assert yard.interrupt(first, "drained") is State.QUEUED
    run, [attempt] = yard.run(first.run_id), yard.attempts(first.run_id)
    assert (run.worker, run.finished, run.error) == (None, None, None)
    assert (attempt.outcome, attempt.reason, attempt.epoch) == ("interrupted", "drained", 4)
    second = yard.claim()
    assert (second.attempt, second.checkpoint_id, second.epoch) == (2, yard.blob_id, 4)
    assert yard.run(first.run_id).started == run.started


def test_a_lost_attempt_tells_what_ended_its_process(yard):
    claim = yard.claimed()
    yard.do(transitions.lose, claim.run_id, claim.attempt, "its process died", "SIGKILL")
    assert yard.attempts(claim.run_id)[0].exit_signal == "SIGKILL"


def test_a_run_lost_once_can_be_claimed_at_once(yard):
    claim = yard.claimed()
    yard.lose(claim)
    assert yard.claim().attempt == 2


def pause_before_the_next_attempt(yard, run_id):
    row = yard.row(run_id)
    return (row.not_before - yard.attempts(run_id)[-1].finished).total_seconds()


@pytest.mark.parametrize(("lost", "seconds"), [(1, 0), (2, 1), (3, 3), (6, 31), (7, 60), (20, 60)])
def test_a_run_that_loses_workers_is_tried_after_ever_longer_pauses(yard, lost, seconds):
    run_id = yard.submit(max_attempts=100)
    for _ in range(lost):
        yard.set(run_id, not_before=after(-1))
        yard.lose(yard.claim())
    assert pause_before_the_next_attempt(yard, run_id) == pytest.approx(seconds, abs=0.5)
    assert (yard.claim() is None) is (seconds > 0)


def test_attempts_that_were_not_lost_make_no_pause_longer(yard):
    run_id = yard.submit(max_attempts=100)
    for _ in range(5):
        yard.interrupt(yard.claim())
    yard.lose(yard.claim())
    assert yard.claim().run_id == run_id


def test_a_run_that_loses_its_last_attempt_fails_and_says_why(yard):
    run_id = yard.submit(max_attempts=2)
    assert yard.lose(yard.claim()) is State.QUEUED
    assert yard.lose(yard.claim(), "worker ada was silent for 10 s") is State.FAILED
    run = yard.run(run_id)
    assert run.error == "attempt 2 was the last one allowed, and it was lost: worker ada was silent for 10 s"
    assert (run.worker, run.finished is not None) == ("ada", True)
    assert [attempt.outcome for attempt in yard.attempts(run_id)] == ["lost", "lost"]


# Cancel


def test_a_cancelled_run_that_waited_is_never_claimed(yard):
    run_id = yard.submit()
    assert yard.cancel(run_id) is State.CANCELLED
    assert yard.claim() is None
    assert yard.run(run_id).finished is not None


def test_a_running_run_is_asked_and_hears_it_with_its_next_record(yard):
    claim = yard.claimed()
    assert yard.record(claim) is None
    assert yard.cancel(claim.run_id) is State.RUNNING
    assert yard.run(claim.run_id).finished is None
    assert yard.record(claim) is Wish.CANCEL
    yard.finish(claim, Outcome.CANCELLED)
    assert yard.run(claim.run_id).state is State.CANCELLED


def test_asking_a_running_run_twice_is_the_same_as_once(yard):
    claim = yard.claimed()
    assert [yard.cancel(claim.run_id), yard.cancel(claim.run_id)] == [State.RUNNING, State.RUNNING]


@pytest.mark.parametrize("way", ["interrupt", "lose"])
@pytest.mark.parametrize("max_attempts", [1, 3])
def test_a_run_to_be_cancelled_that_comes_back_is_cancelled_not_queued_or_failed(yard, way, max_attempts):
    claim = yard.claimed(max_attempts=max_attempts)
    yard.cancel(claim.run_id)
    assert getattr(yard, way)(claim) is State.CANCELLED
    run, [attempt] = yard.run(claim.run_id), yard.attempts(claim.run_id)
    assert (run.state, run.error, run.finished is not None) == ("cancelled", None, True)
    assert attempt.outcome == {"interrupt": "interrupted", "lose": "lost"}[way]


def test_many_runs_are_cancelled_by_one_statement_and_those_that_have_ended_are_left_alone(yard):
    ended = yard.in_state(State.COMPLETED).run_id
    running = yard.claimed().run_id
    waiting, resting, other = yard.submit(), yard.submit(), yard.submit(queue="night")
    yard.pause(resting)
    asked = yard.do(transitions.cancel, Run.queue == "default")
    assert asked == {running: State.RUNNING, waiting: State.CANCELLED, resting: State.CANCELLED}
    assert yard.run(ended).state is State.COMPLETED
    assert yard.run(other).state is State.QUEUED


# Pause and resume


def test_a_paused_run_that_waited_is_not_claimed_until_it_is_resumed(yard):
    run_id = yard.submit()
    assert yard.pause(run_id) is State.PAUSED
    assert yard.claim() is None
    assert yard.resume(run_id) is State.QUEUED
    assert yard.claim().run_id == run_id


def test_a_running_run_that_is_paused_rests_with_its_checkpoint_and_loses_no_attempt(yard):
    claim = yard.claimed(max_attempts=1)
    yard.pause(claim.run_id)
    assert yard.record(claim, epoch=2, checkpoint_id=yard.blob_id) is Wish.PAUSE
    assert yard.interrupt(claim, "paused") is State.PAUSED
    run, [attempt] = yard.run(claim.run_id), yard.attempts(claim.run_id)
    assert (run.worker, run.finished, run.error, attempt.outcome) == (None, None, None, "paused")
    yard.resume(claim.run_id)
    second = yard.claim()
    assert (second.checkpoint_id, second.epoch) == (yard.blob_id, 2)
    assert yard.record(second) is None
    assert yard.lose(second) is State.FAILED


def test_a_pause_told_again_by_its_worker_is_the_same_as_once(yard):
    claim = yard.claimed()
    yard.pause(claim.run_id)
    assert [yard.interrupt(claim), yard.interrupt(claim)] == [State.PAUSED, State.PAUSED]


def test_a_run_to_be_paused_whose_worker_vanishes_rests_even_if_that_was_its_last_attempt(yard):
    claim = yard.claimed(max_attempts=1)
    yard.pause(claim.run_id)
    assert yard.lose(claim) is State.PAUSED
    assert yard.attempts(claim.run_id)[0].outcome == "lost"
    assert yard.run(claim.run_id).error is None


def test_a_running_run_resumed_before_it_has_heard_of_the_pause_trains_on(yard):
    claim = yard.claimed()
    yard.pause(claim.run_id)
    assert yard.resume(claim.run_id) is State.RUNNING
    assert yard.record(claim) is None
    assert yard.interrupt(claim) is State.QUEUED


def test_a_run_to_be_cancelled_cannot_be_paused_but_one_to_be_paused_can_be_cancelled(yard):
    claim = yard.claimed()
    yard.pause(claim.run_id)
    yard.cancel(claim.run_id)
    with pytest.raises(WrongState):
        yard.pause(claim.run_id)
    assert yard.record(claim) is Wish.CANCEL


# Checkpoints


def test_the_checkpoint_before_the_last_one_stays_until_the_next(yard, blob_ids):
    first, second, third = blob_ids
    claim = yard.claimed()
    for blob_id in (first, second, second):  # the last one told twice, as after a commit whose answer was lost
        yard.record(claim, checkpoint_id=blob_id)
    row = yard.row(claim.run_id)
    assert (row.checkpoint_id, row.previous_checkpoint_id) == (second, first)
    yard.record(claim, checkpoint_id=third)
    row = yard.row(claim.run_id)
    assert (row.checkpoint_id, row.previous_checkpoint_id) == (third, second)


def test_a_run_falls_back_to_the_checkpoint_before_and_then_to_none(yard, blob_ids):
    claim = yard.claimed()
    for blob_id in blob_ids[:2]:
        yard.record(claim, checkpoint_id=blob_id)
    fallen = [yard.do(transitions.fall_back, claim.run_id, claim.attempt) for _ in range(2)]
    assert fallen == [blob_ids[0], None]


def test_an_attempt_that_lost_its_run_cannot_fall_back(yard):
    claim = yard.claimed()
    yard.lose(claim)
    with pytest.raises(LeaseLost):
        yard.do(transitions.fall_back, claim.run_id, claim.attempt)


@pytest.fixture
def blob_ids(yard):
    return [blobs.stage(yard.database, bytes([number])) for number in range(3)]


# Retry


def test_a_retried_run_has_all_its_attempts_again_and_goes_on_from_its_checkpoint(yard):
    run_id = yard.submit(max_attempts=2)
    yard.record(yard.claim(), epoch=3, checkpoint_id=yard.blob_id)
    yard.lose(Claim(run_id, 1, {}, "", None, 0))
    assert yard.lose(yard.claim()) is State.FAILED
    yard.retry(run_id)
    run = yard.run(run_id)
    assert (run.state, run.error, run.finished, run.worker) == ("queued", None, None, None)
    third = yard.claim()
    assert (third.attempt, third.epoch, third.checkpoint_id) == (3, 3, yard.blob_id)
    assert yard.lose(third) is State.QUEUED
    yard.set(run_id, not_before=now())
    assert yard.lose(yard.claim()) is State.FAILED


def test_a_run_that_is_drained_again_and_again_loses_no_attempt(yard):
    run_id = yard.submit(max_attempts=1)
    for _ in range(3):
        assert yard.interrupt(yard.claim()) is State.QUEUED
    assert yard.lose(yard.claim()) is State.FAILED
    assert yard.run(run_id).attempt == 4


def test_a_retried_run_forgets_that_it_was_to_be_cancelled(yard):
    claim = yard.claimed()
    yard.cancel(claim.run_id)
    yard.finish(claim, Outcome.CANCELLED)
    yard.retry(claim.run_id)
    second = yard.claim()
    assert yard.record(second) is None
    assert yard.interrupt(second) is State.QUEUED


def test_a_retried_run_need_not_wait_for_its_back_off(yard):
    run_id = yard.submit(max_attempts=1)
    yard.set(run_id, attempt=9, max_attempts=10)
    assert yard.lose(yard.claim()) is State.FAILED
    yard.retry(run_id)
    assert yard.claim().attempt == 11
