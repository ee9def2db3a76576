"""A slot trains the next run of its queue and ends it one way or another; each way leaves what it promises."""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from functools import partial

import numpy as np
import pytest
from sqlalchemy import event

import nn
from service.datasets.tensors import pack, unpack
from service.errors import InputError
from service.queue import Tickets
from service.store import blobs, transitions
from service.store import workers as worker_store
from service.store.clock import after, now
from service.store.tables import Attempt, Chunk
from service.store.transitions import LeaseLost
from tests.servers import eventually
from workers import drain, keeper, slot
from workers.environment import environment
from workers.keeper import Stop
from workers.limits import memory_taken

STEPS = 20  # an epoch of SPEC: 1,258 training rows in batches of 64
ONE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def test_a_run_completes_with_weights_metrics_and_no_checkpoint(here):
    run = here.submit()
    here.train()
    assert here.leftovers() == []
    record = here.client.run(run)
    assert (record.state, record.worker, record.attempt, record.epoch) == ("completed", "ada", 1, 6)
    assert [epoch["epoch"] for epoch in here.client.history(run)] == [1, 2, 3, 4, 5, 6]
    assert set(record.metrics) == {
        f"{part}{name}" for part in ("", "val_", "test_") for name in ("loss", "accuracy")
    }  # fmt: skip
    assert here.row(run).checkpoint_id is None
    [attempt] = here.client.attempts(run)
    assert (attempt.outcome, attempt.first_epoch, attempt.epoch) == ("completed", 1, 6)
    assert attempt.samples == 6 * 1258
    assert attempt.environment["numpy"]
    lines = [line for line in here.client.logs(run) if not line.text.startswith("a checkpoint is saved, ")]
    begins, rows, first, *_, last, tested, ends = lines
    assert begins.text == f"attempt 1 begins: worker ada on {environment()['host']}, process {os.getpid()}"
    assert rows.text == "rows: 1,258 to train, 359 to validate, 180 to test; network: 1,210 parameters in 3 layers"
    assert first.text.startswith("epoch 1/6: loss ")
    assert first.text.endswith(", the best so far")
    assert last.text.startswith("epoch 6/6: loss ")
    assert tested.text.startswith("the weights of epoch ")
    assert ends.text == "completed"


def test_a_run_interrupted_again_and_again_ends_like_one_that_was_left_alone(here, before_step):
    whole, moved = here.submit(), here.submit()
    here.train()
    before_step(dict.fromkeys((1, 7, STEPS + 7, 2 * STEPS + 8, 4 * STEPS + 1), drain.request))
    for _ in range(5):
        here.train()
        assert here.outcomes(moved)[-1] == "interrupted"
        assert here.client.run(moved).state == "queued"
        drain._flag[0] = 0
    here.train()
    assert here.outcomes(moved) == ["interrupted"] * 5 + ["completed"]
    assert here.leftovers() == []
    best, last, history = here.result(moved)
    assert (best, last, history) == here.result(whole)
    assert best != last
    assert here.client.run(moved).weights_sha256 == here.client.run(whole).weights_sha256
    assert here.client.run(moved).metrics == here.client.run(whole).metrics


def test_a_run_that_is_interrupted_and_killed_has_the_points_of_steps_of_one_that_was_left_alone(
    here, before_step, monkeypatch
):
    """At a kill points of steps are there that the next attempt tells again."""
    whole, moved = (here.submit("train.log_every=3") for _ in range(2))
    here.train()

    def dies():
        eventually(lambda: here.client.steps(moved, ["loss"])[-1]["step"] == 3 * STEPS)
        raise SystemExit

    before_step({STEPS + 8: drain.request, 3 * STEPS + 2: dies})
    here.train()
    drain._flag[0] = 0
    with pytest.raises(SystemExit):
        here.train()
    here.lose(moved, 2)
    here.train()
    assert here.outcomes(moved) == ["interrupted", "lost", "completed"]
    assert here.result(moved) == here.result(whole)
    steps = here.client.steps(whole, points=None)
    assert here.client.steps(moved, points=None) == steps
    names = ("gradient_norm", "learning_rate", "loss")
    assert [(row["name"], row["step"]) for row in steps] == [
        (name, step) for name in names for step in range(3, 6 * STEPS + 1, 3)
    ]


def test_an_interrupted_run_sends_a_ticket_for_the_next_worker(here, before_step):
    here.submit()
    tickets = Tickets(here.settings.broker)
    before = tickets.depth(here.queue)
    before_step({5: drain.request})
    here.train()
    assert tickets.depth(here.queue) == before + 1


def test_a_cancelled_run_keeps_weights_and_checkpoint_and_a_retry_goes_on_from_there(here, before_step):
    whole, run = here.submit(), here.submit()
    here.train()
    before_step({2 * STEPS + 5: partial(cancelled, here, run)})
    here.train()
    record = here.client.run(run)
    assert (record.state, record.epoch, here.outcomes(run)) == ("cancelled", 2, ["cancelled"])
    assert here.client.weights(run)
    assert here.row(run).checkpoint_id is not None
    assert here.leftovers() == []
    here.client.retry(run)
    here.train()
    assert here.outcomes(run) == ["cancelled", "completed"]
    assert here.client.attempts(run)[1].first_epoch == 3
    assert here.result(run) == here.result(whole)


def cancelled(here, run):
    """Ask for the cancellation, and wait until the training must have heard of it."""
    with here.database.write() as session:
        transitions.only(session, run, transitions.cancel)
    eventually(lambda: keeper_of(run).stop is Stop.CANCELLED)


def keeper_of(run):
    [thread] = [thread for thread in threading.enumerate() if thread.name == f"keeper of run {run}"]
    return thread._target.__self__


@ONE
def test_a_run_that_diverges_fails_with_epoch_step_and_cause(here):
    run = here.submit("optimizer.adam.learning_rate=1e30")
    here.train()
    record = here.client.run(run)
    assert (record.state, here.outcomes(run)) == ("failed", ["failed"])
    assert record.error.startswith("diverged in epoch 1 at step 2: the outputs are not finite: the weights grew")
    assert here.client.attempts(run)[0].reason == record.error
    assert record.error in here.client.why(run)


@ONE
def test_an_error_of_the_code_fails_the_run_at_once_and_names_itself(here, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(nn, "train", broken)
    run = here.submit()
    here.train()
    assert here.client.run(run).error == "ZeroDivisionError: division by zero"
    assert here.outcomes(run) == ["failed"]
    texts = [line.text for line in here.client.logs(run) if line.level == "error"]
    assert texts[:2] == ["an error that nobody expected", "Traceback (most recent call last):"]
    assert '    raise ZeroDivisionError("division by zero")' in texts
    assert texts[-1] == "failed: ZeroDivisionError: division by zero"


@ONE
def test_what_a_process_is_warned_of_is_in_the_log_of_the_run(here, monkeypatch):
    def warned(*_):
        warnings.simplefilter("default")  # as outside of tests
        warnings.warn("something odd", RuntimeWarning, stacklevel=1)
        yield from train(*_)

    train = nn.train
    monkeypatch.setattr(nn, "train", warned)
    run = here.submit()
    here.train()
    [line] = [line for line in here.client.logs(run) if line.level == "warning"]
    assert line.text.startswith("RuntimeWarning: something odd (")
    assert here.client.run(run).state == "completed"
    assert not logging.getLogger("workers").handlers


@ONE
def test_a_log_costs_no_transaction_and_one_statement(here, monkeypatch):
    patient = here.settings.model_copy(update={"checkpoint_seconds": 600.0, "lease_seconds": 600.0})
    monkeypatch.setattr(slot, "settings", patient)
    monkeypatch.setattr(keeper, "WRITE_SECONDS", 600.0)  # else a slow machine writes in the middle too
    said = []

    def told(connection, cursor, statement, *_):
        said.append(" ".join(statement.split()))

    event.listen(here.database.engine, "before_cursor_execute", told)
    here.submit()
    said.clear()
    here.train()
    event.remove(here.database.engine, "before_cursor_execute", told)
    assert sum("log_lines" in statement for statement in said) == 1, said
    at = next(place for place, statement in enumerate(said) if "log_lines" in statement)
    assert said[at - 1].startswith("UPDATE attempts SET"), said


def test_the_log_of_a_killed_attempt_is_there_and_the_next_one_follows(here, before_step):
    run = here.submit("train.epochs=3")

    def die() -> None:
        eventually(lambda: any(line.text.startswith("epoch 1/3") for line in here.client.logs(run)))
        here.lose(run, 1)
        raise LeaseLost(run, 1)

    before_step({STEPS + 5: die})
    here.train()
    here.train()
    found = [(line.attempt, line.text.partition(" ")[0]) for line in here.client.logs(run)]
    found = [line for line in found if line[1] != "a"]  # a checkpoint is saved
    assert found[:4] == [(1, "attempt"), (1, "rows:"), (1, "epoch"), (1, "lost:")]
    assert found[4:6] == [(2, "attempt"), (2, "goes")]
    assert found[-1] == (2, "completed")


@ONE
def test_running_out_of_memory_fails_the_run_in_words(here, monkeypatch):
    def large(*_):
        raise MemoryError

    monkeypatch.setattr(nn, "train", large)
    run = here.submit()
    here.train()
    assert here.client.run(run).error.startswith("out of memory: ")


def damaged(here, run, damage, whole):
    """Damage the checkpoint of a run, whose id is returned."""
    blob_id = here.row(run).checkpoint_id
    with here.database.write() as session:
        chunk = session.get_one(Chunk, (blob_id, 0))
        if damage == "other bytes":
            chunk.data = chunk.data[:-1] + bytes([chunk.data[-1] ^ 1])
        elif damage == "no bytes":
            session.delete(chunk)
    if damage == "of another network":
        here.set(run, checkpoint_id=blobs.stage(here.database, here.client.weights_file(whole)))
    return blob_id


def with_two_checkpoints(here, before_step):
    """A run trained to its end, and one that was interrupted with a checkpoint in its second and its fourth epoch."""
    whole, run = here.submit(), here.submit()
    here.train()
    before_step({STEPS + 5: drain.request, 3 * STEPS + 6: drain.request})
    for _ in range(2):
        here.train()
        drain._flag[0] = 0
    return whole, run


@pytest.mark.parametrize("damage", ["other bytes", "no bytes", "of another network"])
@ONE
def test_a_run_with_a_damaged_checkpoint_goes_on_from_the_one_before_and_ends_the_same(
    here, before_step, caplog, damage
):
    whole, run = with_two_checkpoints(here, before_step)
    damaged(here, run, damage, whole)
    before = here.row(run).previous_checkpoint_id
    here.train()
    assert f"run {run}: its checkpoint is of no use, the one before it is tried: " in caplog.text
    told = [line.text for line in here.client.logs(run, attempt=3)]
    assert told[1].startswith("its checkpoint is of no use, the one before it is tried: ")
    assert told[2].startswith("goes on from its checkpoint, after epoch ")
    assert here.outcomes(run) == ["interrupted", "interrupted", "completed"]
    assert before is not None
    assert 1 < here.client.attempts(run)[2].first_epoch <= 4
    assert here.result(run) == here.result(whole)


@ONE
def test_a_run_with_two_damaged_checkpoints_starts_over_and_ends_the_same(here, before_step, caplog):
    whole, run = with_two_checkpoints(here, before_step)
    damaged(here, run, "other bytes", whole)
    with here.database.write() as session:
        session.delete(session.get_one(Chunk, (here.row(run).previous_checkpoint_id, 0)))
    here.train()
    assert f"run {run}: its checkpoint is of no use, it starts over: " in caplog.text
    assert here.client.attempts(run)[2].first_epoch == 1
    assert here.result(run) == here.result(whole)


@ONE
def test_a_run_with_a_checkpoint_of_version_0_1_starts_over_and_says_why(here, before_step, caplog):
    """That version counted less: there was no elapsed time, no reason of an ending, no learning rate of a plateau."""
    whole, run = here.submit(), here.submit()
    here.train()
    before_step({3 * STEPS + 5: drain.request})
    here.train()
    drain._flag[0] = 0
    arrays, counters = unpack(here.checkpoint(run), "the checkpoint")
    for name in ("elapsed", "ended", "rate_scale", "rate_waited", "rate_value"):
        del counters[name]
    old = blobs.stage(here.database, pack(arrays, counters))
    here.set(run, checkpoint_id=old, previous_checkpoint_id=None)
    here.train()
    assert f"run {run}: its checkpoint is of no use, it starts over: checkpoint: the counters are [" in caplog.text
    assert here.client.attempts(run)[1].first_epoch == 1
    assert here.result(run) == here.result(whole)


def test_a_long_epoch_is_saved_in_its_middle_and_a_death_there_costs_no_more(here, before_step, monkeypatch):
    """Without waiting for an epoch's end; the bytes are those of a run that was left alone."""
    monkeypatch.setattr(slot, "settings", here.settings.model_copy(update={"checkpoint_seconds": 1e-6}))
    whole, run = here.submit("train.epochs=1"), here.submit("train.epochs=1")
    here.train()

    def saved():
        eventually(lambda: here.row(run).checkpoint_id is not None and not keeper_of(run).saving)

    def dies():
        saved()
        raise SystemExit

    before_step({STEPS // 2: saved, STEPS - 2: dies})
    with pytest.raises(SystemExit):
        here.train()
    here.lose(run, 1)
    _, counters = unpack(here.checkpoint(run), "the checkpoint")
    assert counters["epoch"] == 0
    assert 0 < counters["cursor"] < 1258
    here.train()
    assert here.outcomes(run) == ["lost", "completed"]
    assert here.result(run) == here.result(whole)


def test_what_a_run_has_learned_can_be_had_while_it_rests_and_after_it_was_cancelled_then(here, before_step):
    paused, cancelled = here.submit(), here.submit()
    for run, ask, stop in (
        (paused, here.client.pause, Stop.PAUSED), (cancelled, here.client.cancel, Stop.CANCELLED)
    ):  # fmt: skip

        def stopped(run=run, ask=ask, stop=stop):
            ask(run, timeout=0)
            eventually(lambda: keeper_of(run).stop is stop)

        before_step({2 * STEPS + 5: stopped})
        here.train()
    assert [here.client.run(run).state for run in (paused, cancelled)] == ["paused", "cancelled"]
    best, last, _ = here.result(cancelled)
    assert best != last
    assert here.result(paused)[:2] == (best, last)
    here.client.cancel(paused)
    assert here.result(paused)[:2] == (best, last)
    here.client.retry(paused)
    with pytest.raises(InputError, match="has no weights"):
        here.client.weights_file(paused)


def test_a_paused_run_rests_with_its_work_saved_and_goes_on_to_the_same_bytes(here, before_step):
    whole, run = here.submit(), here.submit()
    here.train()

    def paused():
        here.client.pause(run, timeout=0)
        eventually(lambda: keeper_of(run).stop is Stop.PAUSED)

    before_step({2 * STEPS + 5: paused})
    here.train()
    record = here.client.run(run)
    assert (record.state, record.epoch, here.outcomes(run)) == ("paused", 2, ["paused"])
    assert here.client.attempts(run)[0].reason == "a person paused it"
    here.train()
    assert here.client.run(run).state == "paused"
    here.client.resume(run)
    here.train()
    assert here.outcomes(run) == ["paused", "completed"]
    assert here.result(run) == here.result(whole)


# Limits


@ONE
def test_a_run_beyond_its_time_fails_with_its_weights_and_its_checkpoint(here, before_step):
    run = here.submit("limits.seconds=3600")
    with here.database.write() as session:  # an earlier attempt has used it up
        begun = {"run_id": run, "worker": "bob", "pid": 1, "environment": {}, "outcome": "lost", "number": 0}
        session.add(Attempt(**begun, started=now(), finished=after(3601)))
    before_step({5: lambda: eventually(lambda: keeper_of(run).stop is Stop.LIMIT)})
    here.train()
    record = here.client.run(run)
    assert (record.state, record.error) == ("failed", "it took more than limits.seconds, 1h00m")
    assert here.client.weights(run)
    assert here.row(run).checkpoint_id is not None


def mebibytes(size):
    return f"{size // 2**20} MiB"


@ONE
def test_a_run_beyond_its_memory_fails_and_says_how_much_it_took(here, before_step):
    hoard, limit = [], memory_taken() + 2**28
    run = here.submit(f"limits.memory={mebibytes(limit)}")

    def takes():
        hoard.append(b"1" * (limit - memory_taken() + 2**24))
        eventually(lambda: keeper_of(run).stop is Stop.LIMIT)

    before_step({5: takes})
    here.train()
    hoard.clear()
    record = here.client.run(run)
    assert (record.state, record.error[:8]) == ("failed", "it took ")
    assert f"of memory, more than limits.memory, {mebibytes(limit)}" in record.error


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux refuses memory to a process")
@ONE
def test_a_run_that_asks_for_far_more_than_its_memory_is_refused_it_and_the_slot_has_its_freedom_back(
    here, before_step
):
    limit = mebibytes(memory_taken() + 2**29)
    run, after_it = here.submit(f"limits.memory={limit}"), here.submit()
    before_step({5: lambda: np.empty(2**33, np.uint8)})
    here.train()
    sentence = f"out of memory: the network, the batch or the data is too large for limits.memory, {limit}"
    assert here.client.run(run).error == sentence
    assert np.empty(2**33, np.uint8).nbytes == 2**33
    here.train()
    assert here.client.run(after_it).state == "completed"


@ONE
def test_a_run_that_no_longer_learns_fails_and_an_interruption_does_not_begin_the_count_anew(here, before_step):
    """With a learning rate of next to nothing the loss goes up and down with dropout."""
    overrides = ["limits.stalled_epochs=3", "train.epochs=400", "optimizer.adam.learning_rate=1e-30"]
    whole, moved = here.submit(*overrides), here.submit(*overrides)
    here.train()
    ended = here.client.run(whole)
    assert ended.state == "failed"
    assert ended.error == "the loss has set no new low for 3 epochs, its limits.stalled_epochs"
    before_step({(ended.epoch - 1) * STEPS + 5: drain.request})
    here.train()
    drain._flag[0] = 0
    here.train()
    assert here.outcomes(moved) == ["interrupted", "failed"]
    assert here.client.run(moved).epoch == ended.epoch


@ONE
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["train.target={monitor: accuracy, value: 0.1}"], "accuracy reached 0.1"),
        (["train.max_seconds=0.000001"], "1e-06 s of training were used up"),
        (["train.early_stopping={monitor: loss, patience: 1, min_delta: 1000}"], "loss had not improved for 1 epoch"),
    ],
    ids=["target", "max_seconds", "early_stopping"],
)
def test_a_run_that_ended_early_says_why(here, overrides, sentence):
    run = here.submit(*overrides)
    here.train()
    record = here.client.run(run)
    assert (record.state, record.epoch) == ("completed", 2 if "loss" in sentence else 1)
    assert here.client.attempts(run)[0].reason == sentence
    assert f"completed on ada after {record.epoch} of 6 epochs: {sentence}; best: " in here.client.why(run)


@ONE
def test_a_draining_worker_takes_no_run(here):
    run = here.submit()
    drain.request()
    here.train()
    drain._flag[0] = 0
    with here.database.write() as session:
        worker_store.register(
            session, name="ada", host="here", pid=1, slots=1, queues=[here.queue], metrics_url=None, lease_seconds=5
        )
        worker_store.wish(session, "ada", 5, end=worker_store.DRAIN)
    here.train()
    assert (here.client.run(run).state, here.client.run(run).attempt) == ("queued", 0)


@ONE
def test_a_spare_ticket_does_nothing(here):
    run = here.submit()
    here.train()
    ended = here.client.run(run)
    here.train()
    slot.train_next("a queue that nobody uses")
    assert here.client.runs() == [ended]


def test_an_attempt_whose_run_was_taken_over_writes_nothing_and_ends(here, before_step):
    run = here.submit()
    taken = []

    def take_over():
        eventually(lambda: here.client.run(run).epoch == 2)
        here.lose(run, 1)
        with here.database.write() as session:
            taken.append(transitions.claim(session, here.queue, "bob", 8, 60, {}))
        taken.append(here.client.run(run))
        taken.append(here.client.history(run))
        eventually(lambda: keeper_of(run).stop is Stop.LOST)

    before_step({2 * STEPS + 5: take_over})
    here.train()
    claim, record, history = taken
    assert claim.attempt == 2
    assert here.client.run(run) == record
    assert here.client.history(run) == history
    assert here.outcomes(run) == ["lost", None]
    assert here.row(run).weights_id is None


def test_an_attempt_that_learns_only_at_its_end_that_its_run_was_taken_over_writes_nothing(here, monkeypatch):
    run = here.submit()
    finished = slot.Attempt._finish

    def late(attempt, *arguments, **named):
        here.lose(run, 1)
        finished(attempt, *arguments, **named)

    monkeypatch.setattr(slot.Attempt, "_finish", late)
    here.train()
    record = here.client.run(run)
    assert (record.state, record.weights_sha256, here.outcomes(run)) == ("queued", None, ["lost"])
    assert here.row(run).weights_id is None


@ONE
def test_a_run_whose_worker_died_after_the_last_epoch_is_completed_without_training(here, monkeypatch):
    whole, run = here.submit(), here.submit()
    here.train()

    def dies(attempt, keeper, made, state):
        attempt._save(keeper, state)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(slot.Attempt, "_complete", dies)
        with pytest.raises(SystemExit):
            here.train()
    here.lose(run, 1)
    here.train()
    assert here.outcomes(run) == ["lost", "completed"]
    assert here.client.attempts(run)[1].samples == 0
    assert here.result(run) == here.result(whole)


@ONE
def test_a_run_on_another_kind_of_machine_goes_on_and_the_difference_is_logged(here, before_step, monkeypatch, caplog):
    run = here.submit()
    before_step({STEPS + 5: drain.request})
    here.train()
    drain._flag[0] = 0
    other = environment() | {"blas_kernel": "Another"}
    monkeypatch.setattr(slot, "environment", lambda threads=1: other)
    here.train()
    assert here.outcomes(run) == ["interrupted", "completed"]
    assert f"run {run}: its bytes may differ from an undisturbed run's: blas_kernel: " in caplog.text
    assert here.client.attempts(run)[1].environment["blas_kernel"] == "Another"
