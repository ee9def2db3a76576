"""The checks of the chaos suite find what they are there for."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete, insert, text, update

from service.store import history, transitions
from service.store.database import Database
from service.store.submissions import NewRun
from service.store.tables import Attempt, Blob, Chunk, Dataset, Metric, Outcome, Run, State
from service.store.transitions import Point, Progress
from tests.chaos import audit, invariants, recoveries, schedule, workload
from tests.chaos.disk import Disk, NoMount
from tests.chaos.findings import Findings
from tests.chaos.link import Proxy
from tests.chaos.recoveries import Blow, Blows
from tests.chaos.watcher import Watcher
from tests.chaos.yards import Kept
from tests.servers import eventually
from tests.yard import settled

ONE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
LEASE = 60.0
NOTED = ("progress", "end", "metric")


@pytest.fixture
def findings():
    return Findings()


# The schedule


@pytest.mark.parametrize("name", ["sqlite", "postgresql"])
def test_a_seed_plans_the_same_faults_again_and_another_seed_plans_others(name):
    planned = schedule.plan(name, 7, 60, 40)
    assert planned == schedule.plan(name, 7, 60, 40)
    assert planned != schedule.plan(name, 8, 60, 40)
    assert len(planned) == 40
    assert all(0 <= strike.at <= 60 for strike in planned)
    assert {strike.kind for strike in planned} == {kind for deck in schedule.DECKS[name].values() for kind in deck}


def test_only_what_is_asked_for_is_planned():
    planned = schedule.plan("postgresql", 7, 60, 5, only=["slot killed"])
    assert [strike.kind for strike in planned] == ["slot killed"] * 5


# Writes that were accepted


@pytest.fixture
def audited(database):
    """A database with triggers and one dataset."""
    audit.install(database)
    with database.write() as session:
        session.add(Blob(id=1, sha256="0" * 64, size=0))
        session.flush()
        session.add(Chunk(blob_id=1, number=0, data=b""))
        session.add(Dataset(sha256="d" * 64, source="digits", schema={}, blob_id=1))
    yield database
    if database.file is None:  # other tests use this database, too
        with database.write() as session:
            for statement in ("DROP TABLE audit", *(f"DROP FUNCTION audit_{name} CASCADE" for name in NOTED)):
                session.execute(text(statement))


def taken_over(database: Database) -> int:
    """A run whose first attempt was lost and whose second trains; both have written something."""
    named = {"name": "digits", "spec": {}, "dataset_sha256": "d" * 64, "epochs": 30, "max_attempts": 9}
    with database.write() as session:
        (run_id,) = transitions.submit(session, [NewRun(**named)])
    for number, worker in ((1, "ada"), (2, "bob")):
        with database.write() as session:
            session.execute(update(Run).values(not_before=Run.created))
            assert transitions.claim(session, "default", worker, 7, LEASE, {}).attempt == number
        written(database, run_id, number)
        if number == 1:
            with database.write() as session:
                transitions.lose(session, run_id, 1, "vanished")
    return run_id


def written(database: Database, run_id: int, number: int) -> None:
    progress = Progress(number, number, [Point("loss", number, 0.5, False)], samples=10, seconds=1.0)
    with database.write() as session:
        transitions.record(session, run_id, number, progress, LEASE)


def test_fenced_writes_are_no_finding(audited, findings):
    taken_over(audited)
    assert audit.check(audited, findings) == 3  # two of progress, one of the end
    assert not findings


def test_a_write_of_an_attempt_that_no_longer_holds_its_run_is_found(audited, findings):
    run_id = taken_over(audited)
    with audited.write() as session:
        session.execute(update(Attempt).where(Attempt.number == 1).values(samples=20))
    audit.check(audited, findings)
    assert findings.sentences == [
        f"run {run_id}: attempt 1 wrote its progress while attempt 2 held it",
        f"run {run_id}: attempt 1 wrote its progress after its end (lost)",
        f"run {run_id}: attempt 1 wrote after attempt 2",
    ]


def test_a_second_end_of_an_attempt_is_found(audited, findings):
    run_id = taken_over(audited)
    with audited.write() as session:
        transitions.finish(session, run_id, 2, Outcome.COMPLETED)
    audit.check(audited, findings)
    assert not findings
    with audited.write() as session:
        session.execute(update(Attempt).where(Attempt.number == 2).values(outcome=Outcome.LOST))
    audit.check(audited, findings)
    assert findings.sentences == [f"run {run_id}: attempt 2 wrote its end after its end (completed)"]


def test_a_metric_of_a_run_that_nobody_trains_is_found(audited, findings):
    run_id = taken_over(audited)
    with audited.write() as session:
        transitions.lose(session, run_id, 2, "vanished")
        session.execute(insert(Metric).values(run_id=run_id, name="loss", epoch=9, value=0.5))
    audit.check(audited, findings)
    assert findings.sentences == [f"run {run_id}: a point of loss was accepted while nobody trained the run"]


@ONE
def test_an_audit_that_sees_nothing_is_found(audited, findings):
    with audited.write() as session:
        session.execute(text("DROP TRIGGER audit_progress"))
    run_id = taken_over(audited)
    audit.check(audited, findings)
    assert findings.sentences == [
        f"run {run_id}: attempt {number} has epochs that no trigger saw: the audit is broken" for number in (1, 2)
    ]


# What the watcher sees


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (update(Attempt).where(Attempt.number == 1).values(outcome=None), "is running at attempt 2, and under way are"),
        (update(Run).values(state="asleep"), "is in the unknown state asleep"),
        (update(Run).values(state=State.FAILED), "has failed"),
        (update(Run).values(attempt=3), "has attempts [1, 2] and counts 3"),
        (update(Attempt).where(Attempt.number == 1).values(outcome="vanished"), "has the unknown outcome vanished"),
    ],
)
@ONE
def test_the_watcher_finds_what_may_not_be(audited, findings, change, sentence):
    run_id = taken_over(audited)
    watcher = Watcher(audited, findings)
    watcher.look()
    assert not findings
    assert [(one.run_id, one.number, one.worker) for one in watcher.open] == [(run_id, 2, "bob")]
    with audited.write() as session:
        session.execute(change)
    watcher.look()
    assert any(sentence in found for found in findings.sentences)


# The end


@pytest.fixture(scope="module")
def ended():
    """A home with runs in every state; the first one has completed."""
    with settled() as there:
        yield there


def test_runs_that_have_not_completed_and_metrics_that_differ_are_found(ended, findings):
    name = ended.client.run(1).name
    calm = {name: workload.result(ended, 1)}
    invariants.runs(ended, calm, findings)
    assert not [sentence for sentence in findings.sentences if sentence.startswith("run 1 ")]
    assert len(findings.sentences) == 4  # failed, cancelled, running, queued
    with ended.client.database.write() as session:
        session.execute(delete(Metric).where(Metric.run_id == 1, Metric.epoch == 2))
    other = Findings()
    invariants.runs(ended, calm, other)
    assert f"run 1 ({name}): its metrics differ from the undisturbed run's" in other.sentences


def test_blobs_that_are_not_whole_are_found(ended, findings):
    database = ended.client.database
    with database.read() as session:
        blob_id = session.get_one(Run, 1).weights_id
    with database.write() as session:
        session.execute(update(Chunk).where(Chunk.blob_id == blob_id).values(data=b"less"))
        session.execute(update(Run).where(Run.id == 3).values(checkpoint_id=blob_id))
    invariants.stored(database, findings)
    assert any(found.startswith(f"blob {blob_id} has 4 of its") for found in findings.sentences)
    assert f"run 3 has completed and still holds checkpoint {blob_id}" in findings.sentences


def test_what_is_left_on_the_machine_is_found(ended, findings):
    invariants.machine(ended, findings)
    assert not findings
    (ended.home / "yard.json.part").touch()
    (ended.home / "metrics" / "ada").mkdir(parents=True)
    left = subprocess.Popen([sys.executable, "-c", "input()", str(ended.home)], stdin=subprocess.PIPE)
    with left, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(ended.home / "a.sock"))
        eventually(lambda: left.pid in ended.processes())  # it has no command line of its own before its program runs
        invariants.machine(ended, findings)
    ended_with = [sentence.partition(" of the yard")[0] for sentence in findings.sentences]
    assert ended_with == [
        f"process {left.pid}",
        "a.sock is left in the home",
        "metrics/ada of a worker that has ended is left in the home",
        "yard.json.part is left in the home",
    ]


# Deaths


@ONE
def test_a_death_is_measured_until_the_run_trains_again_and_a_late_one_is_found(audited, findings):
    run_id = taken_over(audited)
    with audited.read() as session:
        attempts = {run_id: history.attempts(session, run_id)}
    blows = Blows([Blow("slot killed", attempts[run_id][0].finished.timestamp() - 45, run_id, 1)])
    [found] = recoveries.recoveries(blows, attempts, [])
    assert found.noticed == pytest.approx(45)
    assert found.trains >= found.noticed
    recoveries.check([found], lease=10, spare=40, findings=findings)
    assert not findings
    recoveries.check([found], lease=10, spare=30, findings=findings)
    assert len(findings.sentences) == 1
    assert recoveries.check_others(blows, attempts, findings) == 0
    assert len(findings.sentences) == 1


@ONE
def test_a_death_that_no_fault_has_caused_is_found_unless_a_disk_was_full(audited, findings):
    run_id = taken_over(audited)
    with audited.read() as session:
        attempts = {run_id: history.attempts(session, run_id)}
    now = datetime.now(UTC)
    full = [((now - timedelta(seconds=60)).timestamp(), now.timestamp())]
    assert recoveries.check_others(Blows(full=full), attempts, findings) == 1
    assert not findings
    assert recoveries.check_others(Blows(), attempts, findings) == 1
    assert findings.runs == {run_id}


# The tools


@pytest.fixture
def echo():
    """A server that says again what it hears."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                with client:
                    while data := client.recv(100):
                        client.sendall(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


def test_a_silent_proxy_closes_nothing_and_goes_on_with_what_it_has_held_back(echo):
    proxy = Proxy(echo)
    with socket.create_connection((proxy.host, proxy.port), 10) as client:
        client.sendall(b"one")
        assert client.recv(100) == b"one"
        proxy.silence()
        client.sendall(b"two")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.go_on()
        client.settimeout(10)
        assert client.recv(100) == b"two"
        proxy.drop()
        assert client.recv(100) == b""
    proxy.close()


def test_a_full_disk_takes_nothing_more_until_it_is_emptied(tmp_path):
    try:
        disk = Disk(tmp_path / "disk")
    except NoMount as error:
        pytest.skip(str(error))
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space left") as refused:
            (tmp_path / "disk" / "file").write_bytes(b"x" * 1_000_000)
        assert refused.value.errno == errno.ENOSPC
        disk.empty()
        (tmp_path / "disk" / "file").write_bytes(b"x" * 1_000_000)
    finally:
        disk.close()


def test_a_kept_program_is_started_again_unless_it_is_not_wanted():
    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    kept = Kept("ends at once", start)
    eventually(lambda: kept.look() or kept.starts == 2)
    kept.wanted = False
    eventually(lambda: kept.look() or (kept.process is None and len(kept.ends) == 2))
    assert kept.ends == [3, 3]
    before, deadline = kept.starts, time.monotonic() + 1.5
    while time.monotonic() < deadline:
        kept.look()
    assert kept.starts == before
