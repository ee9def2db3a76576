"""The two kinds of transaction, and what is said when the database cannot be had."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select, text, update

from service.store import database as store_database
from service.store import history
from service.store.database import Database, DatabaseUnreachable
from service.store.tables import Run
from tests.servers import free_port


def count(session):
    return session.scalar(select(func.count()).select_from(Run))


def test_what_fails_half_way_leaves_nothing(yard):
    def submit_and_fail(session):
        session.add(Run(name="x", dataset_sha256="d" * 64, epochs=1, max_attempts=1))
        session.flush()
        raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        yard.do(submit_and_fail)
    assert yard.ask(count) == 0


def test_reading_writes_nothing(yard):
    with yard.database.read() as session:
        session.add(Run(name="x", dataset_sha256="d" * 64, epochs=1, max_attempts=1))
        session.flush()
    assert yard.ask(count) == 0


def test_a_reader_neither_waits_for_a_writer_nor_sees_what_it_has_not_committed(yard):
    with yard.database.write() as session:
        session.add(Run(name="x", dataset_sha256="d" * 64, epochs=1, max_attempts=1))
        session.flush()
        assert yard.ask(count) == 0
    assert yard.ask(count) == 1


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_whoever_stops_in_the_middle_of_a_transaction_does_not_hold_up_others_for_ever(yard, monkeypatch):
    """Such as a frozen slot: its run could not be taken away, and every supervisor that tried would wait."""
    run_id = yard.submit()
    monkeypatch.setattr(store_database, "IDLE_SECONDS", 0.2)
    frozen = Database(yard.database.url)

    def stop_half_way_and_go_on():
        with frozen.write() as session:
            session.execute(update(Run).values(epoch=1))
            yard.set(run_id, epoch=2)  # waits for the lock
            session.execute(update(Run).values(epoch=3))

    with pytest.raises(DatabaseUnreachable, match="idle"):
        stop_half_way_and_go_on()
    frozen.dispose()
    assert yard.run(run_id).epoch == 2


def test_writers_that_read_first_wait_for_each_other(yard):
    """With a plain BEGIN they would fail on SQLite: "database is locked"."""
    run_id = yard.submit()

    def read_and_write(session):
        epoch = session.scalar(select(Run.epoch).where(Run.id == run_id).with_for_update())
        session.execute(text("UPDATE runs SET epoch = :epoch"), {"epoch": epoch + 1})

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(yard.do, read_and_write) for _ in range(80)]:
            future.result()
    assert yard.run(run_id).epoch == 80


def test_a_forked_child_has_its_own_connections(yard):
    """A connection used on both sides of a fork gives one side the other's answers."""
    run_ids = [yard.submit() for _ in range(5)]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            yard.database.dispose(forked=True)
            code = 0 if [yard.run(run_id).id for _ in range(20) for run_id in run_ids] == run_ids * 20 else 1
        finally:
            os._exit(code)
    assert [yard.run(run_id).id for _ in range(20) for run_id in run_ids] == run_ids * 20
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def backend(session):
    return session.scalar(text("SELECT pg_backend_pid()"))


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_a_forked_child_leaves_its_parents_connection_alone(yard):
    before = yard.ask(backend)
    child = os.fork()
    if child == 0:
        yard.database.dispose(forked=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert yard.ask(backend) == before


def test_a_disposed_database_opens_again(yard):
    yard.database.dispose()
    assert yard.ask(count) == 0


def test_a_server_that_is_not_there_is_told_without_its_password():
    database = Database(f"postgresql+psycopg://ada:secret@127.0.0.1:{free_port()}/yard")
    with pytest.raises(DatabaseUnreachable, match=r"ada:\*\*\*@127.0.0.1.*cannot be reached") as caught:
        database.schema()
    assert "secret" not in str(caught.value)
    assert caught.value.exit_code == 3
    database.dispose()


def test_a_wrong_password_is_told(postgresql_url):
    user, _, address = postgresql_url.rpartition("@")
    database = Database(f"{user.rpartition(':')[0]}:wrong@{address}")
    with pytest.raises(DatabaseUnreachable, match="password authentication failed"):
        database.schema()
    database.dispose()


def test_a_file_that_is_no_database_is_told(tmp_path):
    file = tmp_path / "notes.db"
    file.write_text("these are my notes, and no database at all\n" * 100)
    database = Database(f"sqlite:///{file}")
    with pytest.raises(DatabaseUnreachable, match=r"notes\.db cannot be reached: file is not a database"):
        database.schema()
    database.dispose()


def test_tables_that_are_missing_are_told(empty_database_url):
    database = Database(empty_database_url)
    with pytest.raises(DatabaseUnreachable, match="runs"), database.read() as session:
        history.counts(session)
    database.dispose()


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_a_connection_that_the_server_ended_is_replaced(yard):
    ended = yard.ask(backend)
    other = Database(yard.database.url)
    with other.write() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": ended})
    other.dispose()
    assert yard.ask(count) == 0
