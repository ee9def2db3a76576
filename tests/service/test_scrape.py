"""The yard's figures for Prometheus: counters that never fall, bounded names, a scrape that does not wait for sums."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event, update

from service import Client
from service.errors import Unreachable
from service.metrics import pool, registry
from service.metrics.kept import QUICK, REST, Kept
from service.metrics.ledger import Ledger
from service.store import removal, totals
from service.store import workers as store
from service.store.clock import after
from service.store.records import WorkerRecord
from service.store.tables import Attempt, Outcome, Run, State
from service.store.totals import Sums
from tests.servers import free_port


def lose(yard, claim):
    yard.lose(claim)
    yard.set(claim.run_id, not_before=after(-1), lost_by=None)  # at once, and by whom it may be


# Counters


def test_every_end_of_an_attempt_is_counted_once(yard):
    ledger = Ledger()
    yard.ask(ledger.look)
    claim = yard.claimed()
    yard.ask(ledger.look)
    lose(yard, claim)
    yard.ask(ledger.look)
    yard.finish(yard.claim())
    yard.finish(yard.claimed(), Outcome.FAILED)
    for _ in range(2):
        yard.ask(ledger.look)
    assert ledger.ended == {Outcome.LOST: 1, Outcome.COMPLETED: 1, Outcome.FAILED: 1}
    assert ledger.retries == 1


def test_what_happens_before_the_first_scrape_is_counted_too_but_not_what_was_before(yard):
    yard.finish(yard.claimed())
    yard.do(lambda session: session.execute(update(Attempt).values(started=after(-5), finished=after(-3))))
    lasting = yard.claimed()
    yard.record(lasting, epoch=4, first_epoch=1, samples=400)
    yard.do(lambda session: session.execute(update(Attempt).where(Attempt.run_id == lasting.run_id).values(
        started=after(-5))))  # fmt: skip
    ledger = Ledger()
    yard.finish(lasting, Outcome.FAILED)
    short = yard.claimed()
    yard.record(short, epoch=2, first_epoch=1, samples=200)
    yard.finish(short)
    yard.ask(ledger.look)
    assert ledger.ended == {Outcome.FAILED: 1, Outcome.COMPLETED: 1}
    assert (ledger.epochs, ledger.samples) == (2, 200)


def test_samples_and_epochs_are_counted_while_an_attempt_goes_on(yard):
    ledger = Ledger()
    yard.ask(ledger.look)
    claim = yard.claimed()
    for epoch in (1, 3):
        yard.record(claim, epoch=epoch, first_epoch=1, samples=epoch * 100)
        yard.ask(ledger.look)
        assert (ledger.epochs, ledger.samples) == (epoch, epoch * 100)
    lose(yard, claim)
    again = yard.claim()
    yard.record(again, epoch=4, first_epoch=3, samples=200)  # from a checkpoint after its second epoch
    yard.ask(ledger.look)
    assert (ledger.epochs, ledger.samples) == (5, 500)


def test_removed_runs_take_nothing_off_the_counters(yard):
    ledger = Ledger()
    yard.ask(ledger.look)
    claim = yard.claimed()
    yard.finish(claim)
    yard.ask(ledger.look)
    removal.remove(yard.database, [claim.run_id])
    yard.ask(ledger.look)
    assert ledger.ended == {Outcome.COMPLETED: 1}


def test_an_end_that_is_committed_late_is_counted(yard):
    ledger = Ledger()
    claim = yard.claimed()
    yard.ask(ledger.look)
    yard.finish(claim)
    late = {"finished": after(-10)}  # written ten seconds ago
    yard.do(lambda session: [session.execute(update(table).values(**late)) for table in (Run, Attempt)])
    yard.ask(ledger.look)
    assert ledger.ended == {Outcome.COMPLETED: 1}


# Sums


def test_sums_tell_queues_apart_and_see_expired_leases(yard):
    yard.submit(queue="night")
    yard.claimed()
    expired = yard.claimed(queue="night")
    yard.expire(expired.run_id)
    yard.submit(queue="night")
    sums = yard.ask(totals.sums)
    assert (sums.runs[State.QUEUED], sums.runs[State.RUNNING], sums.expired) == (2, 2, 1)
    assert {queue: number for queue, (number, _) in sums.waiting.items()} == {"night": 2}
    assert sums.training == {"default": 1, "night": 1}


def test_a_run_that_has_trained_waits_since_it_came_back(yard):
    claim = yard.claimed()
    yard.set(claim.run_id, created=after(-7200), not_before=after(-7200))
    yard.interrupt(claim)
    (number, seconds) = yard.ask(totals.sums).waiting["default"]
    assert number == 1
    assert 0 <= seconds < 600


# Names


def worker(name: str, **changes: Any) -> WorkerRecord:
    values = {
        "name": name, "host": "h", "pid": 1, "slots": 2, "busy": 1, "queues": ("default",), "state": "ready",
        "last_seen": datetime(2026, 1, 1, tzinfo=UTC), "silent_seconds": 0.0, "metrics_url": None, "set_aside": None,
    } | changes  # fmt: skip
    return WorkerRecord(**values)


def values(families: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Name of a family -> the values of its labels -> its value."""
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples} for family in families
    }


def test_there_are_never_more_names_of_queues_than_may_be(monkeypatch):
    monkeypatch.setattr(pool, "MOST_NAMES", 2)
    waiting = {"few": (1, 90.0), "many": (9, 10.0), "some": (2, 20.0)}
    sums = Sums(runs={}, waiting=waiting, training={"some": 1}, expired=0)
    told = values(pool.queues(sums, [worker("ada", queues=("few", "some"))]))
    assert told["trainyard_queue_depth"] == {("default",): 0, ("many",): 9, (pool.OTHERS,): 3}
    assert told["trainyard_queue_oldest_seconds"] == {("default",): 0, ("many",): 10, (pool.OTHERS,): 90}
    assert told["trainyard_queue_running"][(pool.OTHERS,)] == 1
    assert told["trainyard_queue_slots"] == {("default",): 0, ("many",): 0, (pool.OTHERS,): 2}


def test_there_are_never_more_names_of_workers_than_may_be(monkeypatch):
    monkeypatch.setattr(pool, "MOST_NAMES", 1)
    known = [worker("ada"), worker("bob", busy=0), worker("eve", state="gone", silent_seconds=9.0)]
    told = values(pool.each(known))
    assert told["trainyard_worker_gone"] == {("ada",): 0, (pool.OTHERS,): 1}
    assert told["trainyard_worker_slots"] == {
        ("ada", "busy"): 1, ("ada", "idle"): 1, (pool.OTHERS, "busy"): 0, (pool.OTHERS, "idle"): 2,
    }  # fmt: skip


def test_a_worker_that_ended_is_not_named_and_one_that_is_gone_for_an_hour():
    known = [
        worker("ended", state="stopped"), worker("gone", state="gone", silent_seconds=3599.0),
        worker("forgotten", state="gone", silent_seconds=3601.0),
    ]  # fmt: skip
    assert values(pool.each(known))["trainyard_worker_gone"] == {("gone",): 1}


def test_slots_that_take_nothing_do_not_serve_a_queue():
    sums = Sums(runs={}, waiting={"night": (1, 1.0)}, training={}, expired=0)
    known = [worker("ada", state="draining"), worker("bob", set_aside="lost much"), worker("eve", state="gone")]
    assert set(values(pool.queues(sums, known))["trainyard_queue_slots"].values()) == {0}


# Keeping


class Clock:
    def __init__(self) -> None:
        self.now, self.cost, self.reads = 100.0, 0.0, 0

    def __call__(self) -> float:
        return self.now

    def read(self) -> int:
        self.now += self.cost
        self.reads += 1
        return self.reads


@pytest.fixture
def clock() -> Clock:
    return Clock()


def settle(kept: Kept[int]) -> None:
    if kept._thread is not None:
        kept._thread.join(10)


def test_what_is_quick_is_read_at_every_scrape(clock):
    kept = Kept(clock.read, clock=clock)
    assert [kept.get() for _ in range(3)] == [1, 2, 3]


def test_what_takes_long_is_read_aside_with_rests(clock):
    kept = Kept(clock.read, clock=clock)
    clock.cost = 10 * QUICK
    assert [kept.get(), kept.get()] == [1, 1]
    clock.now += REST * clock.cost + 1
    kept.get()  # and a thread reads
    settle(kept)
    assert (kept.get(), clock.reads) == (2, 2)


def test_nobody_waits_for_what_a_thread_reads(clock):
    go_on = threading.Event()
    kept = Kept(lambda: clock.read() if clock.reads == 0 else (go_on.wait(10), clock.read())[1], clock=clock)
    clock.cost = 10 * QUICK
    kept.get()
    clock.now += REST * clock.cost + 1
    assert [kept.get(), kept.get()] == [1, 1]
    go_on.set()
    settle(kept)
    assert kept.get() == 2


def test_what_changes_slowly_is_read_once_in_a_while(clock):
    kept = Kept(clock.read, 60, clock=clock)
    assert [kept.get(), kept.get()] == [1, 1]
    clock.now += 60
    assert kept.get() == 2


def test_what_a_thread_could_not_read_is_told_by_the_next_scrape(clock, caplog):
    away = False

    def read() -> int:
        if away:
            raise Unreachable("the database is away")
        return clock.read()

    kept = Kept(read, clock=clock)
    clock.cost = 10 * QUICK
    kept.get()
    away = True
    clock.now += REST * clock.cost + 1
    kept.get()
    settle(kept)
    with pytest.raises(Unreachable):
        kept.get()
    away = False
    assert kept.get() == 2
    assert "the database is away" in caplog.text


# The page


def test_the_page_tells_of_runs_workers_and_room(yard, tmp_path):
    client = Client(home=tmp_path, database_url=yard.database.url)
    client.__dict__["tickets"] = SimpleNamespace(ping=lambda: None)
    made = registry(client)
    yard.do(store.register, name="ada", host="h", pid=1, slots=2, queues=["default", "night"], lease_seconds=30)
    yard.do(store.report, "ada", 1, slots=2, state="ready")
    yard.claimed()
    yard.finish(yard.claimed())
    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(generate_latest(made).decode())
        for sample in family.samples
    }
    client.close()
    assert told["trainyard_runs", "completed"] == told["trainyard_attempts_ended_total", "completed"] == 1
    assert told["trainyard_queue_running", "default"] == told["trainyard_worker_slots", "busy", "ada"] == 1
    assert told["trainyard_queue_slots", "night"] == 2
    assert told["trainyard_datasets",] == told["trainyard_blobs",] == 1
    assert told["trainyard_database_bytes", "rest"] > 0
    assert 0 < told["trainyard_disk_free_bytes", "home"] < told["trainyard_disk_bytes", "home"]
    assert (("trainyard_disk_bytes", "database") in told) == yard.database.url.startswith("sqlite")


def test_a_database_that_is_away_is_told_with_whatever_needs_none(tmp_path):
    client = Client(home=tmp_path, database_url=f"postgresql://nobody@127.0.0.1:{free_port()}/away")
    client.__dict__["tickets"] = SimpleNamespace(ping=lambda: None)
    page = generate_latest(registry(client)).decode()
    assert "trainyard_database_up 0.0" in page
    assert "trainyard_broker_up 1.0" in page
    assert 'trainyard_disk_free_bytes{place="home"}' in page
    assert "trainyard_runs" not in page


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_no_scrape_reads_every_attempt_or_every_row_of_a_run(yard):
    """What is read whole is one index of the runs, for how many are in each state."""
    said: list[str] = []

    @event.listens_for(yard.database.engine, "before_cursor_execute")
    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            plan = cursor.connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            said.extend(row[-1] for row in plan)

    yard.ask(totals.attempts, 0.0)
    yard.ask(totals.sums)
    assert any("ix_runs_finished" in line for line in said)
    scans = [line for line in said if line.startswith("SCAN") and "VIRTUAL" not in line]
    whole = [line for line in scans if not line.endswith(("USING COVERING INDEX ix_runs_state", "ix_runs_waiting"))]
    assert whole == []
