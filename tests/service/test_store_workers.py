"""Workers as they report themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text, update

from service.store import workers
from service.store.clock import after
from service.store.tables import Worker
from service.store.workers import DRAIN, DRAINING, GONE, READY, STOP, STOPPED, NoSuchWorker, WorkerNameTaken
from tests.servers import eventually

LEASE = 60.0


def register(yard, name="ada", pid=7, slots=2, host="here", queues=("default",)):
    yard.do(
        workers.register, name=name, host=host, pid=pid, slots=slots, queues=queues,
        metrics_url="http://here:1", lease_seconds=LEASE,
    )  # fmt: skip


def report(yard, name="ada", pid=7, slots=2, state=READY):
    return yard.do(workers.report, name, pid, slots=slots, state=state)


def wish(yard, name="ada", **wanted):
    yard.do(workers.wish, name, LEASE, **wanted)


def everyone(yard):
    return yard.ask(workers.workers, LEASE)


def silence(yard, name, seconds=LEASE + 1):
    statement = update(Worker).where(Worker.name == name).values(last_seen=after(-seconds))
    yard.do(lambda session: session.execute(statement))


def test_nobody_works_in_an_empty_yard(yard):
    assert everyone(yard) == []


def test_a_registered_worker_is_ready_with_no_slot_until_it_reports(yard):
    register(yard, queues=("default", "night"))
    [worker] = everyone(yard)
    assert (worker.name, worker.host, worker.pid, worker.state) == ("ada", "here", 7, READY)
    assert (worker.slots, worker.busy, worker.queues, worker.metrics_url) == (
        0,
        0,
        ("default", "night"),
        "http://here:1",
    )
    assert report(yard) == (2, None)
    assert everyone(yard)[0].slots == 2


def test_the_name_of_a_worker_that_runs_is_taken(yard):
    register(yard)
    with pytest.raises(WorkerNameTaken, match=r"'ada' runs already \(process 7 on here\); choose another with --name"):
        register(yard, pid=8, host="there")
    assert report(yard) == (2, None)


@pytest.mark.parametrize("state", [READY, DRAINING])
def test_a_worker_that_was_silent_for_a_lease_loses_its_name(yard, state):
    register(yard)
    report(yard, state=state)
    silence(yard, "ada")
    register(yard, pid=8, slots=4)
    assert report(yard, pid=8) == (4, None)
    assert report(yard, pid=7) is None, "the old process must hear that its name is another's"
    assert [worker.pid for worker in everyone(yard)] == [8]


def test_the_name_of_a_stopped_worker_is_free_at_once(yard):
    register(yard)
    report(yard, state=STOPPED)
    register(yard, pid=8)
    assert everyone(yard)[0].state == READY


def test_a_new_worker_does_not_inherit_the_wish_for_its_predecessor(yard):
    register(yard)
    wish(yard, end=STOP)
    report(yard, state=STOPPED)
    register(yard, pid=8)
    assert report(yard, pid=8) == (2, None)


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)  # SQLite lets the second begin after the first
@pytest.mark.parametrize("known", [False, True], ids=["a new name", "the name of one that has ended"])
def test_of_two_workers_that_register_a_name_at_the_same_instant_one_gets_it(yard, known):
    if known:
        register(yard)
        report(yard, state=STOPPED)
    named = {"slots": 1, "queues": ["default"], "lease_seconds": LEASE}
    with ThreadPoolExecutor(1) as other:
        with yard.database.write() as session:
            workers.register(session, name="ada", host="here", pid=8, **named)
            late = other.submit(register, yard, pid=9, host="there")
            eventually(lambda: yard.ask(lambda asked: asked.scalar(text(WAITING))))
        with pytest.raises(WorkerNameTaken, match="process 8 on here"):
            late.result(10)
    assert [worker.pid for worker in everyone(yard)] == [8]


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def test_a_registered_worker_tells_where_its_figures_are(yard):
    register(yard)
    yard.do(workers.tell_metrics, "ada", 8, "http://somebody-else:1")
    yard.do(workers.tell_metrics, "ada", 7, "http://here:2")
    assert [worker.metrics_url for worker in everyone(yard)] == ["http://here:2"]


def test_a_worker_nobody_registered_cannot_report(yard):
    assert report(yard, "nobody") is None


@pytest.mark.parametrize("end", [DRAIN, STOP])
def test_a_worker_hears_with_its_report_what_is_wished(yard, end):
    register(yard)
    wish(yard, slots=5)
    assert report(yard) == (5, None)
    wish(yard, end=end)
    assert report(yard, slots=5) == (5, end)


def test_a_wish_for_zero_slots_is_heard(yard):
    register(yard)
    wish(yard, slots=0)
    assert report(yard) == (0, None)


@pytest.mark.parametrize("way", ["unknown", "stopped", "gone"])
def test_nothing_can_be_wished_of_a_worker_that_does_not_run(yard, way):
    register(yard, "grace", pid=9)
    if way != "unknown":
        register(yard)
    if way == "stopped":
        report(yard, state=STOPPED)
    if way == "gone":
        silence(yard, "ada")
    with pytest.raises(NoSuchWorker, match="there is no running worker 'ada'; those there are: grace"):
        wish(yard, end=DRAIN)


def test_without_any_worker_a_wish_says_how_to_start_one(yard):
    with pytest.raises(NoSuchWorker, match="there is none; start one: trainyard workers start"):
        wish(yard, end=DRAIN)


def test_a_silent_worker_is_gone_and_a_stopped_one_stays_stopped(yard):
    for name in ("ada", "grace", "mary"):
        register(yard, name)
    report(yard, "grace", state=STOPPED)
    silence(yard, "ada", 300)
    silence(yard, "grace", 300)
    found = {worker.name: worker for worker in everyone(yard)}
    assert {name: worker.state for name, worker in found.items()} == {"ada": GONE, "grace": STOPPED, "mary": READY}
    assert found["ada"].silent_seconds == pytest.approx(300, abs=30)


def test_a_worker_that_speaks_again_is_back(yard):
    register(yard)
    silence(yard, "ada")
    report(yard)
    assert everyone(yard)[0].state == READY


def test_those_that_run_are_listed_first(yard):
    for name in ("b-stopped", "c-draining", "d-ready", "a-gone", "a-ready"):
        register(yard, name)
    report(yard, "b-stopped", state=STOPPED)
    report(yard, "c-draining", state=DRAINING)
    silence(yard, "a-gone")
    assert [worker.name for worker in everyone(yard)] == ["a-ready", "d-ready", "c-draining", "a-gone", "b-stopped"]


def test_a_worker_is_as_busy_as_it_has_running_runs(yard):
    for name in ("ada", "grace", "mary"):
        register(yard, name)
    claims = [yard.claimed() for _ in range(3)]
    yard.submit()
    yard.claim(worker="grace")
    yard.finish(claims[0])
    yard.interrupt(claims[1])
    assert {worker.name: worker.busy for worker in everyone(yard)} == {"ada": 1, "grace": 1, "mary": 0}
