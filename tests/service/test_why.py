"""`why` answers in one sentence for every state, and names what can be done."""

from __future__ import annotations

from typing import Any

import pytest

from service.store import suspicion, workers
from service.store.clock import after
from service.store.points import Point
from service.store.tables import Outcome, State
from service.store.transitions import NoSuchRun
from service.why import why

ATTEMPTS = 5


def told(yard: Any, run_id: int) -> str:
    sentence: str = yard.ask(why, run_id, 10.0)
    assert sentence.startswith(f"run {run_id} ")
    assert "\n" not in sentence
    return sentence.removeprefix(f"run {run_id} ")


def serve(yard: Any, name: str = "ada", *, slots: int = 1, queue: str = "default", state: str = workers.READY) -> None:
    yard.do(
        workers.register, name=name, host="elsewhere", pid=7, slots=slots, queues=[queue], metrics_url=None,
        lease_seconds=10.0,
    )  # fmt: skip
    yard.do(workers.report, name, 7, slots=slots, state=state)


def test_without_a_worker_the_command_that_starts_one_is_named(yard):
    run, night = yard.submit(), yard.submit(queue="night")
    start = "start one: `trainyard up`, or `trainyard workers start` beside a yard"
    assert told(yard, run) == f"waits because no worker serves queue 'default'; {start}"
    serve(yard, queue="day")
    assert told(yard, night) == (
        "waits because no worker serves queue 'night'; start one: `trainyard workers start --queues night`"
    )


@pytest.mark.parametrize("state", [workers.DRAINING, workers.STOPPED])
def test_a_worker_that_takes_nothing_new_does_not_count(yard, state):
    run = yard.submit()
    serve(yard, state=state)
    assert told(yard, run).startswith("waits because no worker serves queue 'default'")


def test_a_worker_that_went_silent_does_not_count(yard):
    run = yard.submit()
    serve(yard)
    yard.do(lambda session: session.get_one(workers.Worker, "ada").__setattr__("last_seen", after(-60)))
    assert told(yard, run).startswith("waits because no worker serves queue 'default'")


def test_a_run_that_nothing_keeps_is_about_to_start(yard):
    run = yard.submit()
    serve(yard, slots=2)
    assert told(yard, run) == "waits: it is about to start"


def test_busy_slots_are_counted_over_all_workers_of_the_queue_and_so_are_runs_that_go_before(yard):
    for _ in range(2):
        yard.submit()
    serve(yard, "ada")
    assert yard.claim(worker="ada") is not None
    second = yard.submit(priority=1)
    assert told(yard, second) == "waits: the only slot is busy (run 1 on ada, epoch 0 of 30); it is next in line"
    serve(yard, "bob")
    assert yard.claim(worker="bob").run_id == second
    third, fourth, fifth = yard.submit(), yard.submit(), yard.submit(priority=9)
    assert told(yard, third) == (
        "waits: all 2 slots of queue 'default' are busy (run 1 on ada, epoch 0 of 30; "
        f"run {second} on bob, epoch 0 of 30); 2 runs go before it"
    )
    assert told(yard, fourth).endswith("3 runs go before it")
    assert told(yard, fifth).endswith("it is next in line")


def test_a_run_behind_more_runs_than_there_are_idle_slots_is_not_about_to_start(yard):
    yard.submit(), yard.submit()
    run = yard.submit()
    serve(yard, slots=2)
    assert told(yard, run) == "waits: others are about to start; 2 runs go before it"


def test_a_worker_without_slots_yet_is_just_starting(yard):
    run = yard.submit()
    serve(yard, slots=0)
    assert told(yard, run) == "waits: worker ada is just starting; it is next in line"


def test_what_ended_the_last_attempt_is_told_while_the_run_waits_again(yard):
    claim = yard.claimed()
    yard.interrupt(claim, "worker ada was told to stop")
    serve(yard)
    assert told(yard, claim.run_id) == (
        "waits: it is about to start (attempt 1 was interrupted: worker ada was told to stop)"
    )


def test_a_run_that_was_cancelled_and_retried_tells_no_reason_for_it(yard):
    claim = yard.claimed()
    serve(yard)
    yard.finish(claim, Outcome.CANCELLED)
    other = yard.claimed()
    yard.retry(claim.run_id)
    assert told(yard, claim.run_id) == (
        f"waits: the only slot is busy (run {other.run_id} on ada, epoch 0 of 30); "
        "it is next in line (attempt 1 was cancelled)"
    )


def test_a_run_that_pauses_after_losses_says_until_when(yard):
    claim = yard.claimed()
    yard.lose(claim)
    claim = yard.claim()
    yard.lose(claim)
    yard.set(claim.run_id, not_before=after(240.5))
    serve(yard)
    assert told(yard, claim.run_id) == (
        "waits: it is tried again in 4m00s, for it was lost several times (attempt 2 was lost: vanished)"
    )


def test_a_worker_that_is_set_aside_is_named_with_the_evidence_and_what_takes_it_back(yard):
    run = yard.submit()
    serve(yard)
    yard.do(suspicion.set_aside, "ada", "its last 3 attempts went wrong")
    assert told(yard, run) == (
        "waits because worker ada, which would serve queue 'default', is set aside: its last 3 attempts went wrong; "
        "`trainyard workers trust ada` takes it back"
    )
    serve(yard, "bob", slots=2)
    assert told(yard, run) == "waits: it is about to start"


def test_a_paused_run_tells_how_it_goes_on(yard):
    waiting = yard.submit()
    yard.pause(waiting)
    assert told(yard, waiting) == f"is paused before it started; `trainyard runs resume {waiting}` queues it again"
    claim = yard.claimed()
    yard.record(claim, epoch=4, first_epoch=1, checkpoint_id=yard.blob_id)
    yard.pause(claim.run_id)
    assert told(yard, claim.run_id).endswith("4 of 30 epochs are done; it was asked to pause")
    yard.interrupt(claim)
    resume = f"`trainyard runs resume {claim.run_id}`"
    assert told(yard, claim.run_id) == f"is paused after 4 of 30 epochs; {resume} goes on from there"


def test_a_training_run_tells_where_it_stands(yard):
    claim = yard.claimed()
    yard.record(claim, epoch=4, first_epoch=1)
    assert told(yard, claim.run_id) == "trains on ada (attempt 1), 4 of 30 epochs are done"


def test_a_completed_run_tells_its_best_and_whether_it_stopped_early(yard):
    spec = {"max_attempts": 3, "train": {"early_stopping": {"monitor": "val_loss", "patience": 8}}}
    for epoch, took in ((30, "30 epochs"), (12, "12 of 30 epochs: val_loss had not improved for 8 epochs")):
        claim = yard.claimed(spec=spec)
        yard.record(claim, Point("val_accuracy", epoch, 0.5, True), epoch=epoch, first_epoch=1)
        yard.finish(claim)
        assert told(yard, claim.run_id) == f"completed on ada after {took}; best: val_accuracy 0.5"


def test_a_cancelled_run_tells_what_a_retry_does(yard):
    waiting = yard.submit()
    yard.cancel(waiting)
    retry = f"`trainyard runs retry {waiting}`"
    assert told(yard, waiting) == f"was cancelled before it started; {retry} queues it again"
    claim = yard.claimed()
    yard.record(claim, epoch=4, first_epoch=1, checkpoint_id=yard.blob_id)
    yard.finish(claim, Outcome.CANCELLED)
    retry = f"`trainyard runs retry {claim.run_id}`"
    assert told(yard, claim.run_id) == f"was cancelled after 4 of 30 epochs; {retry} goes on from there"


def test_a_cancelled_run_without_a_checkpoint_starts_over_and_does_not_say_otherwise(yard):
    claim = yard.claimed()
    yard.record(claim, epoch=4, first_epoch=1)
    yard.finish(claim, Outcome.CANCELLED)
    assert told(yard, claim.run_id).endswith(" starts it over, for there is no checkpoint of it here")
    yard.retry(claim.run_id)
    again = yard.claim()
    assert told(yard, claim.run_id) == "trains on ada (attempt 2), 0 of 30 epochs are done"
    yard.record(again, epoch=1, first_epoch=1)
    assert told(yard, claim.run_id) == "trains on ada (attempt 2), 1 of 30 epochs are done"


def test_a_failed_run_tells_its_error_and_a_machine_that_died_is_no_failure_of_the_training(yard):
    claim = yard.claimed()
    yard.finish(claim, Outcome.FAILED, error="diverged in epoch 1 at step 2: …")
    assert told(yard, claim.run_id) == "failed on ada after 0 of 30 epochs: diverged in epoch 1 at step 2: …"
    claim = yard.claimed(max_attempts=1)
    yard.lose(claim, "worker ada was silent for 10 s")
    assert told(yard, claim.run_id) == (
        "failed on ada after 0 of 30 epochs: "
        "attempt 1 was the last one allowed, and it was lost: worker ada was silent for 10 s"
    )


def test_a_run_that_a_limit_has_ended_tells_how_to_allow_more(yard):
    claim = yard.claimed()
    yard.finish(claim, Outcome.FAILED, error="it took more than limits.seconds, 4.0 s")
    assert told(yard, claim.run_id).endswith(
        f"; `trainyard runs clone {claim.run_id} --set limits.seconds=…` allows more"
    )


def test_every_state_has_its_sentence(yard):
    for state in State:
        assert told(yard, yard.in_state(state).run_id)


def test_a_run_that_is_not_there_is_named(yard):
    with pytest.raises(NoSuchRun):
        yard.ask(why, 99, 10.0)
