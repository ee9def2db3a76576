"""The keeper holds the lease, brings back what people want, and writes what is reported, whatever the database does."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select

from service.store import blobs, history, transitions
from service.store.clock import after
from service.store.database import DatabaseUnreachable
from service.store.points import Point
from service.store.tables import Blob, Outcome
from service.store.transitions import LeaseLost
from tests.servers import eventually
from workers import keeper as module
from workers.keeper import Keeper, Stop

LEASE = 5.0


class Patchy:
    """A database whose writes, or a part of them, may be made to fail, before or after the commit."""

    def __init__(self, database):
        self._database = database
        self.url = database.url
        self.refuses = threading.Event()
        self.loses_answers = threading.Event()
        self.refused = 0
        self.writes = 0

    def read(self):
        return self._database.read()

    @contextmanager
    def write(self, *, large=False):
        self.writes += 1
        if self.refuses.is_set():
            self.refused += 1
            raise DatabaseUnreachable(self.url, ConnectionError("away"))
        with self._database.write(large=large) as session:
            yield session
        if self.loses_answers.is_set():
            self.loses_answers.clear()
            raise DatabaseUnreachable(self.url, ConnectionError("away after the commit"))


@pytest.fixture
def claim(here):
    run = here.submit()
    with here.database.write() as session:
        claim = transitions.claim(session, here.queue, "ada", 7, LEASE, {})
    assert claim.run_id == run
    return claim


@pytest.fixture
def patchy(here):
    return Patchy(here.database)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.02)


def points(epoch, value=0.5):
    return [Point("loss", epoch, value / epoch, False)]


def report(keeper, epoch):
    keeper.report(epoch, points(epoch), epoch * 10, epoch * 1.0)


def told(here, claim):
    """The epochs and values that the history tells."""
    return [(row["epoch"], row["loss"]) for row in here.client.history(claim.run_id)]


def all_of(epochs):
    return [(epoch, 0.5 / epoch) for epoch in epochs]


def blob_count(here):
    with here.database.read() as session:
        return session.scalar(select(func.count()).select_from(Blob))


def lease(here, claim):
    return here.row(claim.run_id).lease_until


def test_the_lease_is_renewed_while_nothing_is_reported(here, claim):
    here.expire(claim.run_id)
    with Keeper(here.database, claim, 0.5):
        before = lease(here, claim)
        eventually(lambda: lease(here, claim) > before)
        again = lease(here, claim)
        eventually(lambda: lease(here, claim) > again)


def test_the_lease_is_renewed_between_the_chunks_of_a_large_checkpoint(here, claim, monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK", 1000)
    record, pointers = transitions.record, []

    def recorded(session, run_id, attempt, progress, lease_seconds):
        pointers.append(progress.checkpoint_id)
        return record(session, run_id, attempt, progress, lease_seconds)

    with Keeper(here.database, claim, LEASE) as keeper:

        def made_after_a_long_time():
            monkeypatch.setattr(transitions, "record", recorded)
            keeper._renewed -= LEASE
            return b"x" * 5000

        keeper.save(made_after_a_long_time)
        eventually(lambda: not keeper.saving)
    *renewals, pointer = pointers
    assert renewals  # as many as a busy machine needs
    assert not any(renewals)
    assert pointer == here.row(claim.run_id).checkpoint_id
    with here.database.read() as session:
        assert blobs.load(session, pointers[-1]) == b"x" * 5000


def test_what_is_reported_is_stored_once_with_the_attempts_counts(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        for epoch in range(1, 101):
            report(keeper, epoch)
        eventually(lambda: here.client.run(claim.run_id).epoch == 100)
    assert told(here, claim) == all_of(range(1, 101))
    [attempt] = here.client.attempts(claim.run_id)
    assert (attempt.first_epoch, attempt.epoch, attempt.samples, attempt.seconds) == (1, 100, 1000, 100.0)


def test_reports_are_written_in_batches(here, claim, patchy):
    keeper = Keeper(patchy, claim, LEASE)
    for epoch in range(1, 1001):
        report(keeper, epoch)  # before the thread runs, for a machine of any speed
    with keeper:
        eventually(lambda: here.client.run(claim.run_id).epoch == 1000)
    assert patchy.writes == 1


def test_a_wish_to_cancel_comes_back_without_any_report(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        assert keeper.stop is None
        here.client.cancel(claim.run_id, timeout=0)
        eventually(lambda: keeper.stop is Stop.CANCELLED)


def test_a_wish_to_cancel_comes_back_with_a_report(here, claim):
    here.client.cancel(claim.run_id, timeout=0)
    with Keeper(here.database, claim, LEASE) as keeper:
        report(keeper, 1)
    assert keeper.stop is Stop.CANCELLED
    assert told(here, claim) == all_of([1])


def test_an_attempt_that_was_taken_over_learns_of_it_and_writes_nothing_more(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        report(keeper, 1)
        eventually(lambda: told(here, claim))
        here.lose(claim.run_id, 1)
        eventually(lambda: keeper.stop is Stop.LOST)
        report(keeper, 2)
        keeper.save(lambda: b"late")
    assert told(here, claim) == all_of([1])
    assert here.row(claim.run_id).checkpoint_id is None


def test_to_be_taken_over_counts_more_than_to_be_cancelled(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        here.client.cancel(claim.run_id, timeout=0)
        eventually(lambda: keeper.stop is Stop.CANCELLED)
        here.lose(claim.run_id, 1)
        eventually(lambda: keeper.stop is Stop.LOST)


def test_the_last_two_checkpoints_are_kept_and_older_ones_removed(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        before, pointers = blob_count(here), []
        for content in (b"first", b"second", b"third"):
            keeper.save(lambda content=content: content)
            eventually(lambda: not keeper.saving)
            pointers.append(here.row(claim.run_id).checkpoint_id)
            with here.database.read() as session:
                assert blobs.load(session, pointers[-1]) == content
    assert len(set(pointers)) == 3
    row = here.row(claim.run_id)
    assert [row.previous_checkpoint_id, row.checkpoint_id] == pointers[1:]
    assert blob_count(here) == before + 2


def test_the_checkpoint_of_the_attempt_before_is_removed_when_there_are_two_newer_ones(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        keeper.save(lambda: b"first")
    here.lose(claim.run_id, 1)
    with here.database.write() as session:
        again = transitions.claim(session, here.queue, "bob", 8, LEASE, {})
    before = blob_count(here)
    with Keeper(here.database, again, LEASE) as keeper:
        for content in (b"second", b"third"):
            keeper.save(lambda content=content: content)
            eventually(lambda: not keeper.saving)
    assert blob_count(here) == before + 1
    with here.database.read() as session, pytest.raises(blobs.BlobDamaged):
        blobs.load(session, again.checkpoint_id)


def test_a_checkpoint_left_while_another_is_written_is_written_too(here, claim):
    """As a worker does that is told to stop: the later one must win, or what it saved is not all of its work."""
    making, go_on = threading.Event(), threading.Event()

    def slowly():
        making.set()
        assert go_on.wait(30)
        return b"earlier"

    with Keeper(here.database, claim, LEASE) as keeper:
        keeper.save(slowly)
        assert making.wait(30)
        keeper.save(lambda: b"later")
        go_on.set()
    assert not keeper.saving
    with here.database.read() as session:
        assert blobs.load(session, here.row(claim.run_id).checkpoint_id) == b"later"


def test_points_survive_an_unreachable_database_and_are_told_once(here, claim, patchy):
    with Keeper(patchy, claim, 0.5) as keeper:
        report(keeper, 1)
        eventually(lambda: told(here, claim))
        patchy.refuses.set()
        for epoch in range(2, 50):
            report(keeper, epoch)
        eventually(lambda: patchy.refused >= 3)
        for epoch in range(50, 100):
            report(keeper, epoch)
        assert keeper.stop is None
        patchy.refuses.clear()
        eventually(lambda: here.client.run(claim.run_id).epoch == 99)
    assert told(here, claim) == all_of(range(1, 100))
    [attempt] = here.client.attempts(claim.run_id)
    assert (attempt.first_epoch, attempt.epoch, attempt.samples) == (1, 99, 990)


def test_a_commit_whose_answer_was_lost_is_repeated_without_doubling_anything(here, claim, patchy):
    patchy.loses_answers.set()
    with Keeper(patchy, claim, 0.5) as keeper:
        for epoch in (1, 2, 3):
            report(keeper, epoch)
        eventually(lambda: not patchy.loses_answers.is_set())
        report(keeper, 4)
    assert told(here, claim) == all_of([1, 2, 3, 4])


def test_a_checkpoint_survives_an_unreachable_database(here, claim, patchy):
    patchy.refuses.set()
    with Keeper(patchy, claim, 0.5) as keeper:
        keeper.save(lambda: b"kept")
        eventually(lambda: patchy.refused >= 2)
        assert keeper.saving
        patchy.refuses.clear()
        eventually(lambda: not keeper.saving)
    with here.database.read() as session:
        assert blobs.load(session, here.row(claim.run_id).checkpoint_id) == b"kept"


def test_closing_waits_for_the_database_and_writes_what_is_left(here, claim, patchy):
    keeper = Keeper(patchy, claim, 0.5)
    patchy.refuses.set()
    with keeper:
        report(keeper, 1)
        keeper.save(lambda: b"left")
        closing = threading.Thread(target=keeper.close)
        closing.start()
        eventually(lambda: patchy.refused >= 2)
        assert closing.is_alive()
        patchy.refuses.clear()
        closing.join(30)
    assert told(here, claim) == all_of([1])
    with here.database.read() as session:
        assert blobs.load(session, here.row(claim.run_id).checkpoint_id) == b"left"


def test_closing_a_cancelled_attempt_also_waits_for_the_database(here, claim, patchy):
    with Keeper(patchy, claim, 0.5) as keeper:
        here.client.cancel(claim.run_id, timeout=0)
        eventually(lambda: keeper.stop is Stop.CANCELLED)
        patchy.refuses.set()
        report(keeper, 1)
        keeper.save(lambda: b"left")
        closing = threading.Thread(target=keeper.close)
        closing.start()
        eventually(lambda: patchy.refused >= 2)
        patchy.refuses.clear()
        closing.join(30)
    assert told(here, claim) == all_of([1])
    assert here.row(claim.run_id).checkpoint_id is not None


def test_the_training_waits_when_too_much_is_unwritten_and_no_point_is_dropped(here, claim, patchy, monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 10)
    patchy.refuses.set()
    with Keeper(patchy, claim, 0.5) as keeper:

        def train():
            for epoch in range(1, 31):
                report(keeper, epoch)

        training = threading.Thread(target=train)
        training.start()
        eventually(lambda: len(keeper._progress.points) >= 10)
        refused = patchy.refused
        eventually(lambda: patchy.refused > refused + 1)
        assert training.is_alive()
        assert len(keeper._progress.points) <= 20  # as many again while a write is under way
        patchy.refuses.clear()
        training.join(30)
        assert not training.is_alive()
    assert told(here, claim) == all_of(range(1, 31))


def steps(here, claim):
    return [(row["step"], row["value"]) for row in here.client.steps(claim.run_id, points=None)]


def test_what_a_step_tells_is_stored_before_its_epoch_ends(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        keeper.log(1, {"loss": 0.5, "learning_rate": 0.1})
        eventually(lambda: here.client.steps(claim.run_id))
        assert here.client.run(claim.run_id).epoch == 0
    assert here.client.steps(claim.run_id) == [
        {"step": 1, "name": "learning_rate", "value": 0.1}, {"step": 1, "name": "loss", "value": 0.5},
    ]  # fmt: skip


def test_points_of_steps_are_written_with_the_checkpoint_that_was_left_after_them(here, claim, patchy):
    """Else a death between the two writes would lose them: the next attempt begins behind them."""
    keeper = Keeper(patchy, claim, LEASE)
    for step in range(1, 101):
        keeper.log(step, {"loss": 0.5})
    keeper.save(lambda: b"after a hundred steps")
    patchy.loses_answers.set()
    with keeper:
        eventually(lambda: here.row(claim.run_id).checkpoint_id)
        assert len(steps(here, claim)) == 100


def test_the_training_waits_when_too_many_points_of_steps_are_unwritten_and_none_is_dropped_or_doubled(
    here, claim, patchy, monkeypatch
):
    monkeypatch.setattr(module, "MOST_STEPS", 10)
    patchy.refuses.set()
    with Keeper(patchy, claim, 0.5) as keeper:

        def train():
            for step in range(1, 101):
                keeper.log(step, {"loss": 0.5 / step})

        training = threading.Thread(target=train)
        training.start()
        eventually(lambda: len(keeper._progress.steps) >= 10)
        refused = patchy.refused
        eventually(lambda: patchy.refused > refused + 1)
        assert training.is_alive()
        assert len(keeper._progress.steps) <= 20  # as many again while a write is under way
        patchy.loses_answers.set()
        patchy.refuses.clear()
        training.join(30)
        assert not training.is_alive()
    assert steps(here, claim) == [(step, 0.5 / step) for step in range(1, 101)]


def test_what_a_step_tells_while_a_write_fails_is_stored_after_what_could_not_be_written(here, claim, monkeypatch):
    record = transitions.record

    def fails_once(*_):
        monkeypatch.setattr(transitions, "record", record)
        keeper.log(2, {"loss": 0.25})
        raise DatabaseUnreachable(here.database.url, ConnectionError("away"))

    with Keeper(here.database, claim, 0.5) as keeper:
        keeper.log(1, {"loss": 0.5})
        monkeypatch.setattr(transitions, "record", fails_once)
        eventually(lambda: steps(here, claim))
    assert steps(here, claim) == [(1, 0.5), (2, 0.25)]


def test_a_training_that_waits_for_its_points_to_be_written_wakes_the_keeper(here, claim, monkeypatch):
    monkeypatch.setattr(module, "MOST_STEPS", 10)
    monkeypatch.setattr(module, "TICK_SECONDS", 3600)
    with Keeper(here.database, claim, LEASE) as keeper:

        def train():
            for step in range(1, 32):
                keeper.log(step, {"loss": 0.5})

        training = threading.Thread(target=train, daemon=True)
        training.start()
        training.join(20)
        assert not training.is_alive()
        assert len(steps(here, claim)) == 30


def test_a_waiting_training_goes_on_when_its_run_is_taken_over(here, claim, patchy, monkeypatch):
    monkeypatch.setattr(module, "MOST_POINTS", 1)
    patchy.refuses.set()
    with Keeper(patchy, claim, 0.5) as keeper:
        report(keeper, 1)
        training = threading.Thread(target=report, args=(keeper, 2))
        training.start()
        here.lose(claim.run_id, 1)
        patchy.refuses.clear()
        training.join(30)
        assert not training.is_alive()
        assert keeper.stop is Stop.LOST


def test_an_attempt_gives_up_when_the_database_stays_away_too_long(here, claim, patchy, monkeypatch):
    monkeypatch.setattr(module, "LONGEST_SILENCE", 0.3)
    patchy.refuses.set()
    with Keeper(patchy, claim, 0.5) as keeper:
        report(keeper, 1)
        eventually(lambda: keeper.stop is Stop.LOST)
    assert told(here, claim) == []


def test_closing_twice_does_no_harm_and_ends_the_renewing(here, claim):
    with Keeper(here.database, claim, LEASE) as keeper:
        keeper.close()
    here.set(claim.run_id, lease_until=after(-1))
    keeper.close()
    with here.database.read() as session:
        assert [run for run, _, _ in transitions.expired(session)] == [claim.run_id]
        assert history.run(session, claim.run_id).state == "running"


def test_after_the_end_of_a_run_its_late_keeper_is_told(here, claim):
    with here.database.write() as session:
        transitions.finish(session, claim.run_id, claim.attempt, Outcome.FAILED, error="elsewhere")
    with Keeper(here.database, claim, LEASE) as keeper:
        report(keeper, 1)
    assert keeper.stop is Stop.LOST
    with here.database.write() as session, pytest.raises(LeaseLost):
        transitions.interrupt(session, claim.run_id, claim.attempt, "late")
