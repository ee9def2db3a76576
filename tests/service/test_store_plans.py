"""The questions that are asked all the time do not scan a table, however long the history has become.

On SQLite the steps of its virtual machine are counted, in a short history and in one that is many times as long.
PostgreSQL is asked for its plans. Filters on metrics and keys that few runs fit are not among the questions: all that
fit are gathered then, by design, in one pass over the rows of that metric or key (see `service.store.pages`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import event, update
from sqlalchemy.orm import Session

from benchmarks import histories
from service.expressions import condition, order
from service.store import activity, history, pages, schema, transitions
from service.store.database import Database
from service.store.tables import Base, Run

SHORT, LONG = 200, 2_000  # runs
MANY_TIMES = 3  # is a growth that a deeper index explains, and ten times the rows do not
Question = Callable[[Session], object]

ORDERS = (
    "id desc", "created", "finished desc", "name", "queue", "worker desc", "val_accuracy", "best(val_loss)", "seed",
    "train.epochs desc", "network[0].dense.activation",
)  # fmt: skip
FREQUENT = "state = completed and val_accuracy > 0.3 and optimizer in (adam, sgd)"
RUNS = [3, 50, 101, 150]


def first(sort: str, where: str | None = None) -> Question:
    fits = None if where is None else condition(where)
    return lambda session: history.runs(session, fits, order(sort), limit=5)


def later(sort: str, where: str | None = None) -> Question:
    """A page from the middle of the history."""
    fits = None if where is None else condition(where)

    def ask(session: Session) -> object:
        return history.runs(session, fits, order(sort), session.info["middle"][sort], limit=5)

    return ask


# Behind a run in its queue SQLite passes over all the others of that queue, in the index: of two columns, where the
# second is the rowid, it compares the first alone. There are few queues, so that is much; 10 ms at 100,000 runs.
LATER = [sort for sort in ORDERS if sort != "queue"]

QUESTIONS: dict[str, Question] = {
    **{f"first page by {sort}": first(sort) for sort in ORDERS},
    **{f"first page that fits by {sort}": first(sort, FREQUENT) for sort in ORDERS},
    **{f"later page by {sort}": later(sort) for sort in LATER},
    **{f"later page that fits by {sort}": later(sort, FREQUENT) for sort in LATER},
    "those in a rare state": first("id desc", "state = running"),
    "those in a rare state, by a metric": first("val_loss", "state = queued"),
    "those with some numbers": first("created", "id in (7, 8)"),
    "a run": lambda session: history.run(session, 150),
    "some runs": lambda session: history.some(session, RUNS),
    "the states of some": lambda session: history.states(session, RUNS),
    "a curve": lambda session: history.curves(session, 150),
    "attempts": lambda session: history.attempts(session, 150),
    "a claim": lambda session: transitions.claim(session, "night", "ada", 7, 60.0, {}),
    "expired leases": transitions.expired,
    "waiting runs": history.waiting,
    "what ended lately": lambda session: activity.ended_since(session, histories.BEGAN + timedelta(days=400)),
    "what some workers train": lambda session: history.holders(session, ["ada", "bob"]),
}


def write_history(database: Database, runs: int) -> dict[str, int]:
    """Some runs wait and some are under way, as many in any history. Returns the run in the middle of each order."""
    schema.upgrade(database)
    histories.write(database, runs, epochs=2)
    with database.write() as session:
        some = random.Random(1).sample(range(1, runs + 1), 15)
        session.execute(update(Run).where(Run.id.in_(some[:10])).values(state="queued", queue="night"))
        lease = update(Run).where(Run.id.in_(some[10:]))
        session.execute(lease.values(state="running", worker="ada", lease_until=histories.BEGAN))
        return {sort: pages.page(session, None, order(sort), limit=runs // 2)[-1] for sort in ORDERS}


# SQLite: the work is counted


@pytest.fixture(scope="module")
def two_lengths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Database, dict[str, int]]]]:
    """A short history and a long one."""
    folder = tmp_path_factory.mktemp("plans")
    databases = [Database(f"sqlite:///{folder / f'{runs}.db'}") for runs in (SHORT, LONG)]
    yield [(database, write_history(database, runs)) for database, runs in zip(databases, (SHORT, LONG), strict=True)]
    for database in databases:
        database.dispose()


def steps(database: Database, middle: dict[str, int], question: Question) -> int:
    """Steps of SQLite's virtual machine, to the nearest ten; what the question changes is rolled back."""
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 10

    with database.read() as session:
        session.info["middle"] = middle
        connection: Any = session.connection().connection.driver_connection
        connection.set_progress_handler(count, 10)
        try:
            question(session)
        finally:
            connection.set_progress_handler(None, 0)
            session.rollback()
    return counted


@pytest.mark.parametrize("name", QUESTIONS)
def test_its_work_does_not_grow_with_the_history(two_lengths, name, monkeypatch):
    monkeypatch.setattr(pages, "STEPS", 100)  # of the walk, less than the short history has
    short, long = (steps(database, middle, QUESTIONS[name]) for database, middle in two_lengths)
    assert 0 < long < MANY_TIMES * short


def test_counting_by_state_reads_an_index_alone(two_lengths):
    database, _ = two_lengths[0]
    assert plans(database, {}, history.counts, "EXPLAIN QUERY PLAN") == ["SCAN runs USING COVERING INDEX ix_runs_state"]


# PostgreSQL: the plans are looked at


@pytest.fixture(scope="module")
def long_history(postgresql_url: str) -> Iterator[tuple[Database, dict[str, int]]]:
    """In a database of its own, with the statistics that autovacuum would have gathered."""
    with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE DATABASE plans TEMPLATE template0")
        database = Database(f"{postgresql_url.rpartition('/')[0]}/plans")
        middle = write_history(database, LONG)
        yield database, middle
        database.dispose()
        connection.execute("DROP DATABASE plans WITH (FORCE)")


def plans(database: Database, middle: dict[str, int], question: Question, explain: str) -> list[Any]:
    """How the database goes about each statement of a question; what the question changes is rolled back."""
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        asked.append((statement, parameters))

    with database.read() as session:
        session.info["middle"] = middle
        event.listen(database.engine, "before_cursor_execute", note)
        try:
            question(session)
        finally:
            event.remove(database.engine, "before_cursor_execute", note)
        session.rollback()
        explained = [session.connection().exec_driver_sql(f"{explain} {sql}", values) for sql, values in asked]
        return [row[-1] for rows in explained for row in rows]


def scanned(plan: Any) -> list[str]:
    """The tables of ours that a plan reads from end to end."""
    match plan:
        case {"Node Type": "Seq Scan", "Relation Name": str(table)} if table in LONG_TABLES:
            return [table]
        case dict():
            return [table for part in plan.values() for table in scanned(part)]
        case list():
            return [table for part in plan for table in scanned(part)]
    return []


LONG_TABLES = set(Base.metadata.tables) - {"workers", "datasets", "paths", "blobs"}  # those do not grow with the runs


@pytest.mark.parametrize("name", QUESTIONS)
def test_postgresql_scans_no_table_for_it(long_history, name):
    assert scanned(plans(*long_history, QUESTIONS[name], "EXPLAIN (FORMAT JSON)")) == []
