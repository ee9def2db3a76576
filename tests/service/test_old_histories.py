"""Histories that earlier versions have trained are upgraded and used: nothing of them is lost, all goes on from there.

recorded/histories/ holds one SQLite file for each schema left behind, by the code of its time; `record_history.py` says
which runs are in it. For PostgreSQL its rows are put into the tables that the schema had there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, MetaData, Table, create_engine, func, select, text, update

from service.client import Client
from service.expressions import condition
from service.settings import Settings
from service.spec import Spec
from service.store import history, schema, spec_keys, transitions
from service.store.database import Database
from service.store.tables import SCHEMA, Base, Run, SpecKey
from service.store.tables import Path as PathRow
from service.store.tables import Spec as SpecRow
from service.weights import sha256, unpack
from tests.yard import ROOT
from workers import slot

FILES = sorted((Path(__file__).parent / "recorded" / "histories").glob("*.db"))
EPOCHS = 6
CLONES = {"0001": {}} | {version: {8: 1, 9: 8} for version in ("0002", "0003", "0004", "0005")}  # run: cloned from
STOPPED = 4  # paused; where a version knew no pause, its worker was told to stop


@dataclass
class Old:
    """An upgraded history, and its file as it was."""

    version: str
    database: Database
    client: Client
    file: Engine

    @cached_property
    def tables_then(self) -> MetaData:
        return reflected(self.file)

    @cached_property
    def tables_now(self) -> MetaData:
        return reflected(self.database.engine)

    def train(self, queue: str = "default") -> None:
        with self.database.write() as session:  # in case that this machine's clock is behind the recording's
            session.execute(update(Run).values(not_before=Run.created))
        slot.train_next(queue)


@pytest.fixture(scope="module", params=product(FILES, ("sqlite", "postgresql")), ids=lambda p: f"{p[0].stem}-{p[1]}")
def old(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Old]:
    """Upgraded once for the tests of this module; each that changes runs changes its own."""
    file, kind = request.param
    home = tmp_path_factory.mktemp(f"old-{kind}")
    kept = create_engine(f"sqlite:///{shutil.copy(file, home / 'kept.db')}")
    if kind == "sqlite":
        url = f"sqlite:///{shutil.copy(file, home / 'trainyard.db')}"
        yield from upgraded(file.stem, url, kept, home)
        return
    server, name = request.getfixturevalue("postgresql_url"), f"old_{uuid4().hex}"
    with psycopg.connect(server.replace("+psycopg", "", 1), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        url = f"{server.rpartition('/')[0]}/{name}"
        made(file.stem, url)
        copy_rows(kept, url)
        yield from upgraded(file.stem, url, kept, home)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def upgraded(version: str, url: str, file: Engine, home: Path) -> Iterator[Old]:
    database = Database(url)
    assert schema.upgrade(database) == (version, SCHEMA)
    settings = Settings(home=home, database_url=url, broker_url="", lease_seconds=60)
    client = Client(settings)
    client.__dict__["database"] = database
    with pytest.MonkeyPatch.context() as patch:
        for name, here in {"settings": settings, "database": database, "worker": "eve"}.items():
            patch.setattr(slot, name, here)
        yield Old(version, database, client, file)
    database.dispose()
    file.dispose()


def made(version: str, url: str) -> None:
    """The tables that this version of the schema had."""
    database, config = Database(url), schema._config()
    config.attributes["database"] = database
    command.upgrade(config, version)
    database.dispose()


def copy_rows(source: Engine, url: str) -> None:
    """Every row of one database into the empty tables of another, and the counters set behind them."""
    target = create_engine(url)
    theirs, ours = reflected(source), reflected(target)
    with source.connect() as read, target.begin() as write:
        for table in ours.sorted_tables:
            if table.name != "alembic_version" and (rows := read.execute(select(theirs.tables[table.name])).all()):
                write.execute(table.insert(), [dict(row._mapping) for row in rows])
            for column in table.primary_key:
                if column.server_default is not None:
                    last = write.scalar(select(func.max(column)))
                    counter = func.pg_get_serial_sequence(table.name, column.name)
                    write.execute(select(func.setval(counter, last or 1, last is not None)))
    target.dispose()


def reflected(engine: Engine) -> MetaData:
    found = MetaData()
    found.reflect(engine)
    return found


def rows(engine: Engine, table: Table, columns: Iterable[str]) -> list[Any]:
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(select(*(table.c[name] for name in columns)))]
    return sorted(found, key=repr)


def alike(found: list[Any]) -> list[str]:
    """JSON as every database gives it back: PostgreSQL's has its own order, and 1e30 is a whole number there."""
    read = json.loads(json.dumps(found, default=repr), parse_int=float)
    return sorted(json.dumps(row, sort_keys=True) for row in read)


# The schema


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_migrations_still_make_the_tables_that_they_made_then(file, tmp_path):
    made(file.stem, f"sqlite:///{tmp_path / 'now.db'}")
    then, now = (create_engine(f"sqlite:///{shutil.copy(there, tmp_path / f'{name}-copy.db')}")
                 for name, there in (("then", file), ("now", tmp_path / "now.db")))  # fmt: skip
    definitions = text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
    with then.connect() as before, now.connect() as after:
        assert before.execute(definitions).all() == after.execute(definitions).all()
    then.dispose()
    now.dispose()


def test_every_schema_left_behind_has_a_file():
    before = [f"{number:04}" for number in range(1, int(SCHEMA))]
    assert [file.stem for file in FILES] == before, "record_history.py says how to make one"


def test_an_upgraded_history_has_the_tables_of_the_models(old):
    with old.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


# What was there. These tests stand before those that go on with the runs.


def test_no_row_and_no_value_is_lost(old):
    before, after = old.tables_then, old.tables_now
    kept = 0
    for name in before.tables.keys() - {"alembic_version"}:
        there = before.tables[name].columns.keys()
        columns = [column for column in there if column in after.tables[name].columns]
        gone = set(there) - set(columns)
        assert gone <= ({"spec", "cancel_requested"} if old.version < "0003" else set()), name
        if (name, old.version) == ("runs", "0002"):
            assert gone == {"spec"}
        found = rows(old.database.engine, after.tables[name], columns)
        assert alike(found) == alike(rows(old.file, before.tables[name], columns)), name
        kept += len(found)
    assert kept > 100


def test_every_spec_is_kept_with_an_identity_of_its_own_and_its_keys(old):
    kept = ("runs", ["id", "spec"]) if old.version < "0003" else ("specs", ["run_id", "document"])
    specs = dict(rows(old.file, old.tables_then.tables[kept[0]], kept[1]))
    with old.database.read() as session:
        found = session.scalars(select(SpecRow)).all()
        keys = session.execute(
            select(SpecKey.run_id, PathRow.path, SpecKey.number, SpecKey.text, SpecKey.truth).join(
                PathRow, PathRow.id == SpecKey.path_id
            )
        ).all()
    for row in found:  # as they are read: JSONB returns 1e30 as the whole number that it nearly is
        assert Spec.from_document(row.document) == Spec.from_document(specs[row.run_id])
    assert len({row.uid for row in found if len(row.uid) == 32}) == len(specs)
    expected = {(run, *row) for run, document in specs.items() for row in spec_keys.rows(document)}
    assert set(map(tuple, keys)) == expected


def test_an_upgrade_moves_the_specs_of_more_runs_than_it_takes_at_once(tmp_path):
    database = Database(f"sqlite:///{shutil.copy(FILES[1], tmp_path / 'many.db')}")
    columns = "state, queue, priority, dataset_sha256, epochs, epoch, attempt, max_attempts, created, not_before, spec"
    numbers = "WITH RECURSIVE n(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM n WHERE i < 1199)"
    with database.write() as session:
        copies = f"SELECT i, 'copy ' || i, {columns} FROM runs, n WHERE id = 6"
        session.execute(text(f"{numbers} INSERT INTO runs (id, name, {columns}) {copies}"))
    schema.upgrade(database)
    with database.read() as session:
        assert session.scalar(select(func.count(func.distinct(SpecRow.uid)))) == 1100 + 9
        seeds = select(func.count()).select_from(Run).where(condition("seed = 1"))
        assert session.scalar(seeds) == 1100 + 9
    database.dispose()


def test_the_parents_are_right(old):
    runs = old.client.runs(limit=None)
    assert {run.id: run.fine_tuned_from for run in runs if run.fine_tuned_from} == {5: 1}
    assert {run.id: run.cloned_from for run in runs if run.cloned_from} == CLONES[old.version]


FOUND = {
    "optimizer.adam.learning_rate < 0.02": {5},
    "optimizer.adam.learning_rate = 0.02 and state = 'completed'": {1},
    "begin.run = 1 or fine_tuned_from = 1": {5},
    "network.layers = 3 and network[0].dense.units = 4 and tag = 'base'": {1},
    "tag = 'try' and best(val_loss) < 10 and not state = 'cancelled'": {5, 1},
    "at(loss, 6) is not null and at(loss, 7) is null and optimizer = 'adam' and id < 8": {5, 1},
    "error like 'diverged%'": {2},
    "data.source = 'iris' and train.early_stopping is null and queue = 'night'": {6},
    "attempts > 0 and duration is not null and worker = 'bob'": {7},
    "cloned_from > 7": {9},
}


def test_expressions_find_old_runs(old):
    there = {run.id for run in old.client.runs(limit=None)}
    found = {where: {run.id for run in old.client.runs(where=where)} for where in FOUND}
    assert found == {where: runs & there for where, runs in FOUND.items()}


def test_old_runs_are_sorted_by_a_key_of_their_spec(old):
    frame = old.client.frame(columns=["optimizer.adam.learning_rate"], sort="optimizer.adam.learning_rate")
    clones = [0.05] * len(CLONES[old.version])
    assert frame["optimizer.adam.learning_rate"].to_list() == [0.005, *[0.02] * 5, *clones, 1e30]


def test_old_metrics_are_read_as_curves_and_summaries(old):
    for run in (1, 5):
        curves = old.client.history(run)
        assert [row["epoch"] for row in curves] == list(range(1, EPOCHS + 1))
        summary = old.client.run(run).metrics["val_loss"]
        assert summary.last == curves[-1]["val_loss"]
        assert summary.best == min(row["val_loss"] for row in curves) == curves[summary.best_epoch - 1]["val_loss"]


def test_why_says_of_every_old_run_what_became_of_it(old):
    said = {run.id: old.client.why(run.id) for run in old.client.runs(limit=None)}
    assert "diverged in epoch 1" in said[2]
    assert all(said.values())


def test_old_weights_are_whole_and_still_predict(old):
    for run in old.client.runs(where="weights is not null"):
        weights = unpack(old.client.weights_file(run.id))
        assert sha256(weights.parameters) == run.weights_sha256
        assert old.client.weights(run.id)["1.dense.weight"].shape == (4, 4)
    told = old.client.predict(1, ROOT / "examples" / "flowers.csv")
    assert set(told["prediction"]) <= {"setosa", "versicolor", "virginica"}
    test_loss = old.client.run(1).metrics["test_loss"].last
    assert old.client.evaluate(1).metrics["loss"] == pytest.approx(test_loss, rel=1e-4)


# Going on


def test_a_second_upgrade_changes_nothing(old):
    def everything() -> dict[str, list[Any]]:
        tables = old.tables_now.tables.values()
        return {table.name: rows(old.database.engine, table, table.columns.keys()) for table in tables}

    before = everything()
    assert schema.upgrade(old.database) == (SCHEMA, SCHEMA)
    assert everything() == before


def goes_on_to_its_end(old: Old, run: int) -> None:
    """The run ends as run 1, which nobody disturbed, up to what this machine and this version compute otherwise."""
    record = old.client.run(run)
    assert (record.state, record.epoch, record.attempt, record.worker) == ("completed", EPOCHS, 2, "eve")
    [first, second] = old.client.attempts(run)
    assert (first.epoch, second.first_epoch, second.epoch) == (2, 3, EPOCHS)
    curves, others = old.client.history(run), old.client.history(1)
    assert [row["epoch"] for row in curves] == list(range(1, EPOCHS + 1))
    assert [row["loss"] for row in curves] == pytest.approx([row["loss"] for row in others], rel=1e-3)


def test_a_run_that_was_stopped_trains_on_to_its_end(old):
    queue = old.client.run(STOPPED).queue
    if old.version != "0001":
        assert old.client.resume(STOPPED).state == "queued"
    old.train(queue)
    goes_on_to_its_end(old, STOPPED)


def test_a_cancelled_run_that_is_retried_goes_on_from_its_checkpoint(old):
    assert old.client.retry(3).state == "queued"
    old.train()
    goes_on_to_its_end(old, 3)


def test_a_failed_run_that_is_retried_fails_of_the_same(old):
    before = old.client.run(2).error
    assert old.client.retry(2).error is None
    old.train()
    assert (old.client.run(2).state, old.client.run(2).error) == ("failed", before)
    assert len(old.client.attempts(2)) == 2


def test_a_run_that_was_asked_to_cancel_is_cancelled_once_its_worker_is_found_dead(old):
    assert (old.client.run(7).state, old.client.run(7).wish) == ("running", "cancel")
    with old.database.write() as session:
        transitions.lose(session, 7, 1, "vanished")
    assert old.client.run(7).state == "cancelled"


def test_an_old_run_can_be_cloned_and_trained(old):
    last = old.client.runs(limit=1)[0].id
    clone = old.client.clone(5, overrides=["train.epochs=2", "train.max_seconds=600"], queue="clones")  # a new key
    assert (clone.id, clone.cloned_from, clone.fine_tuned_from) == (last + 1, 5, 1)
    old.train("clones")
    assert old.client.run(clone.id).state == "completed"
    with old.database.read() as session:
        assert [run.id for run in history.runs(session, where=Run.cloned_from == 5)] == [clone.id]
