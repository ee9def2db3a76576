"""Who writes when: in the order of coming, and never more than a chunk of a blob before a small write."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from sqlalchemy import text

from service.store import blobs, turns
from service.store.database import Database, sqlite_module
from service.store.turns import Turns
from tests.servers import eventually

LOCKS = Path("/proc/locks")  # tells who waits for which file; without it nobody knows when a waiter stands in line
pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
seen_waiting = pytest.mark.skipif(not LOCKS.exists(), reason="this system does not tell who waits for a lock")


@pytest.fixture
def file(database):
    return database.file


def waiting(file, lock):
    """How many wait for this lock of the database."""
    path = Path(f"{file}-{lock}")
    if not path.exists():
        return 0
    inode = str(path.stat().st_ino)
    return sum("->" in line and f":{inode} " in line for line in LOCKS.read_text().splitlines())


class Writer(threading.Thread):
    """Takes a turn, tells when it has it, and gives it back when it may."""

    def __init__(self, file, name, order, *, large=False, may_end=None):
        super().__init__(name=name, daemon=True)
        self.file, self.order, self.large = file, order, large
        self.may_end = may_end or (lambda: True)
        self.start()

    def run(self):
        turns = Turns(self.file)
        with turns.alone() if self.large else nullcontext(), turns.take():
            self.order.append(self.name)
            eventually(self.may_end)


@contextmanager
def child(do):
    """A forked process that does this and tells when it is ready; killed at the end."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            do(lambda: os.write(writes, b"!"))
        finally:
            os._exit(0)
    try:
        os.close(writes)
        assert os.read(reads, 1) == b"!", "the child ended before it was ready"
        yield pid
    finally:
        os.close(reads)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@seen_waiting
def test_writers_have_their_turns_in_the_order_in_which_they_came(file):
    order, writers = [], []
    with Turns(file).take():
        for number in range(6):
            writers.append(Writer(file, f"writer {number}", order))
            eventually(lambda number=number: waiting(file, "turn") + waiting(file, "next") == number + 1)
        assert order == []
    for writer in writers:
        writer.join(30)
    assert order == [writer.name for writer in writers]


@seen_waiting
def test_who_stages_a_blob_cannot_write_another_chunk_before_one_who_waits(database, monkeypatch):
    real, told = blobs._chunk, threading.Event()
    written, before_the_small_one = [], []

    def chunk(blob_id, number, data):
        if number == 3:
            told.set()
            eventually(lambda: waiting(database.file, "turn") == 1)  # this chunk has the turn until somebody waits
        return real(blob_id, number, data)

    def small():
        told.wait(30)
        with database.write() as session:
            session.execute(text("UPDATE runs SET epoch = 1"))
            before_the_small_one.extend(written)

    monkeypatch.setattr(blobs, "CHUNK", 16)
    monkeypatch.setattr(blobs, "_chunk", chunk)
    writer = threading.Thread(target=small)
    writer.start()
    blobs.stage(database, os.urandom(16 * 200), between=lambda: written.append(len(written)))
    writer.join(30)
    assert len(before_the_small_one) in (3, 4)  # chunks 0 to 2, and chunk 3 if the stager has got to say so


@seen_waiting
def test_of_many_that_stage_blobs_one_is_before_a_small_write(file):
    order, small_is_next = [], threading.Event()
    with Turns(file).take():
        large = [
            Writer(file, f"large {number}", order, large=True, may_end=small_is_next.is_set) for number in range(5)
        ]
        eventually(lambda: (waiting(file, "large"), waiting(file, "turn")) == (4, 1))
        small = Writer(file, "small", order)
        eventually(lambda: waiting(file, "next") == 1)
    eventually(lambda: waiting(file, "turn") == 1)  # the first large one has the turn, and the small one is next
    small_is_next.set()
    for writer in [*large, small]:
        writer.join(30)
    assert order[1] == "small"
    assert len(order) == 6


def test_a_killed_process_gives_its_turn_back(database, monkeypatch):

    def hold(ready):
        with database.write(large=True):
            ready()
            signal.pause()

    with child(hold):
        assert_taken(database, taken=True)
    assert_taken(database, taken=False)


def assert_taken(database, *, taken):
    with Turns(database.file).alone(0.2) as large, Turns(database.file).take() as mine:
        assert (large, mine) == (not taken, not taken)


def test_a_child_that_outlives_its_killed_parent_does_not_keep_its_turn(database, monkeypatch):
    reads, writes = os.pipe()

    def hold(ready):
        with database.write(large=True):
            grandchild = os.fork()
            if grandchild == 0:
                signal.pause()
            os.write(writes, str(grandchild).encode())
            ready()
            signal.pause()

    with child(hold):
        grandchild = int(os.read(reads, 20))
    try:
        assert_taken(database, taken=False)
    finally:
        os.kill(grandchild, signal.SIGKILL)
        os.close(reads)
        os.close(writes)


@pytest.mark.parametrize("place", ["turn", "next", "large"])
def test_whoever_is_frozen_in_the_line_keeps_nobody_from_writing(database, monkeypatch, place):
    monkeypatch.setattr(turns, "COURTESY", 0.05)
    monkeypatch.setattr("service.store.database.COURTESY", 0.05)
    with turns._locked(Path(f"{database.file}-{place}"), 0.0) as mine:
        assert mine
        other = Database(database.url)
        for large in (False, True):
            with other.write(large=large) as session:
                session.execute(text("UPDATE runs SET epoch = 1"))
        other.dispose()


def test_a_turn_that_did_not_come_is_not_had_later(database, monkeypatch):
    monkeypatch.setattr(turns, "COURTESY", 0.05)
    with Turns(database.file).take() as first, Turns(database.file).take() as second:
        assert (first, second) == (True, False)
    assert_taken(database, taken=False)


def log_size(database):
    return os.path.getsize(f"{database.file}-wal")


def test_the_log_does_not_grow_with_what_is_staged(database):
    largest = []
    blobs.stage(database, bytes(20 * 2**20), between=lambda: largest.append(log_size(database)))
    assert 0 < max(largest) < 8 * 2**20


def small_writes(database, number):
    for _ in range(number):
        with database.write() as session:
            session.execute(text("INSERT INTO blobs (sha256, size, created, touched) VALUES ('', 0, 0, 0)"))


def test_the_log_of_small_writes_does_not_grow_without_end(database, monkeypatch):
    monkeypatch.setattr("service.store.database.LOG_LIMIT", 200_000)
    small_writes(database, 200)
    assert log_size(database) < 300_000


def test_the_log_that_a_reader_needs_is_emptied_when_he_has_gone(database, monkeypatch):
    monkeypatch.setattr("service.store.database.LOG_LIMIT", 200_000)
    with database.read() as session:
        session.execute(text("SELECT count(*) FROM blobs")).all()
        small_writes(database, 100)
        assert log_size(database) > 400_000
    small_writes(database, 3)
    assert log_size(database) < 300_000


def test_a_log_that_others_keep_writing_to_is_emptied_in_a_turn(database, monkeypatch):
    """What others write while it is copied back keeps it from beginning anew; in a turn nobody does."""
    monkeypatch.setattr("service.store.database.LOG_LIMIT", 200_000)
    real, other = Database._copy_back, Database(database.url)

    def while_others_write(self):
        if self.in_turn:
            real(self)
            return
        with other.read() as session:  # SQLite copies what this one sees, and not what is written now
            session.execute(text("SELECT count(*) FROM blobs")).all()
            with other.engine.begin() as connection:
                connection.execute(text("UPDATE blobs SET size = size + 1"))
            real(self)

    class Told(Database):
        in_turn = False

        @contextmanager
        def turn(self):
            with super().turn():
                self.in_turn = True
                yield
            self.in_turn = False

    told = Told(database.url)
    monkeypatch.setattr(Told, "_copy_back", while_others_write)
    small_writes(told, 200)
    assert log_size(database) < 400_000
    told.dispose()
    other.dispose()


def test_a_log_that_cannot_be_emptied_fails_no_write(database, monkeypatch, caplog):
    monkeypatch.setattr("service.store.database.LOG_LIMIT", 0)
    real = Database._copy_back

    def refused(self):
        raise sqlite_module().OperationalError("disk I/O error")

    monkeypatch.setattr(Database, "_copy_back", refused)
    small_writes(database, 3)
    assert "disk I/O error; the next to write tries again" in caplog.text
    monkeypatch.setattr(Database, "_copy_back", real)
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM blobs")) == 3


def test_readers_wait_for_no_turn(database):
    with database.write(large=True), Database(database.url).read() as session:
        assert session.scalar(text("SELECT count(*) FROM runs")) == 0


def test_a_small_write_does_not_wait_for_who_stages_a_blob_and_is_not_writing(database, monkeypatch):
    monkeypatch.setattr("service.store.database.LOG_LIMIT", 0)  # so that it even wants to empty the log
    with Turns(database.file).alone():
        small_writes(database, 3)
        assert log_size(database) > 0
    small_writes(database, 1)


def test_who_writes_much_is_alone_in_it_and_who_writes_little_is_not(database):
    for large in (True, False):
        with database.write(large=large), Turns(database.file).alone(0.0) as another_may:
            assert another_may is not large


def test_every_chunk_is_staged_and_removed_in_a_turn_of_its_own(database, monkeypatch):
    turns_had, larges = [], []

    class Counting(Database):
        @contextmanager
        def write(self, *, large=False):
            larges.append(large)
            with super().write(large=large) as session:
                yield session

        @contextmanager
        def turn(self):
            with super().turn():
                turns_had.append(1)
                yield

    counting = Counting(database.url)
    monkeypatch.setattr(blobs, "CHUNK", 16)
    blob_id = blobs.stage(counting, bytes(16 * 10))
    assert len(turns_had) == 10
    blobs.remove(counting, blob_id)
    assert len(turns_had) == 10 + 11  # the last one removes the blob itself
    assert larges == [True] * 21
    counting.dispose()
