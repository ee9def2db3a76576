"""The migrations lead to the tables of the models, once, whoever starts them, wherever they are installed."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from service.store import schema
from service.store.database import Database, DatabaseUnreachable, SchemaMismatch
from service.store.tables import SCHEMA, Base

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def empty(empty_database_url):
    database = Database(empty_database_url)
    yield database
    database.dispose()


def set_schema(database, revision):
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


# Models and migrations


def test_the_schema_that_the_store_expects_is_the_newest_migration():
    assert schema.newest() == SCHEMA


def test_alembic_finds_no_difference_between_models_and_migrations(database):
    options = {"compare_type": True, "compare_server_default": True}
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


DEFINITIONS = {  # what Alembic does not compare: partial indexes, sort orders, WITHOUT ROWID, AUTOINCREMENT
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'alembic%' AND sql IS NOT NULL",
    "postgresql": """
        SELECT indexname, indexdef FROM pg_indexes
        WHERE schemaname = 'public' AND tablename <> 'alembic_version'
        UNION ALL
        SELECT table_name || '.' || column_name,
            concat_ws(' ', data_type, collation_name, is_nullable, column_default, is_identity)
        FROM information_schema.columns WHERE table_schema = 'public' AND table_name <> 'alembic_version'
        UNION ALL
        SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass AND contype <> 'n'
    """,
}


def definitions(database, statement):
    """Every name with the words of its definition; their order says nothing, SQLAlchemy's own may vary.

    Foreign keys are left out: SQLite adds them in other words than it makes them, and Alembic does compare them.
    """
    foreign_key = r"(,?\s*CONSTRAINT \w+ FOREIGN KEY\s?\(\w+\))?\s*REFERENCES \w+ ?\(\w+\)"
    with database.read() as session:
        rows = session.execute(text(statement)).all()
    found = [(name, re.sub(foreign_key, "", definition).replace('"', "")) for name, definition in rows]
    return {name: sorted(filter(None, map(str.strip, re.split("[,()]", definition)))) for name, definition in found}


def test_a_migrated_database_has_the_definitions_of_one_made_from_the_models(database, empty, kind):
    with empty.write() as session:
        session.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        Base.metadata.create_all(session.connection())
    expected = definitions(empty, DEFINITIONS[kind])
    assert len(expected) > len(Base.metadata.tables)
    assert definitions(database, DEFINITIONS[kind]) == expected


# Upgrading


def test_an_empty_database_is_upgraded_and_an_upgraded_one_left_alone(empty):
    assert schema.upgrade(empty) == (None, SCHEMA)
    assert schema.upgrade(empty) == (SCHEMA, SCHEMA)
    empty.require_schema()


def test_a_mistyped_folder_is_told_and_not_made(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'mistyped' / 'trainyard.db'}")
    with pytest.raises(DatabaseUnreachable, match="its folder must be there"):
        schema.upgrade(database)
    assert not (tmp_path / "mistyped").exists()


def test_an_upgrade_keeps_what_is_there(database):
    with database.write() as session:
        session.execute(text("INSERT INTO blobs (sha256, size, created, touched) VALUES ('a', 1, 0, 0)"))
    schema.upgrade(database)
    with database.read() as session:
        assert session.execute(text("SELECT sha256 FROM blobs")).scalars().all() == ["a"]


def upgrade(url: str) -> str:
    database = Database(url)
    try:
        return schema.upgrade(database)[1]
    finally:
        database.dispose()


def test_upgrades_that_race_in_threads_all_succeed(empty_database_url):
    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(upgrade, empty_database_url) for _ in range(6)]
        assert [future.result() for future in futures] == [SCHEMA] * 6


_start: object = None


def _take_barrier(barrier):
    global _start
    _start = barrier


def _upgrade_together(url: str) -> str:
    _start.wait(60)
    return upgrade(url)


def test_upgrades_that_race_in_processes_all_succeed(empty_database_url):
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(3)
    with ProcessPoolExecutor(3, mp_context=spawn, initializer=_take_barrier, initargs=(barrier,)) as pool:
        futures = [pool.submit(_upgrade_together, empty_database_url) for _ in range(3)]
        assert [future.result() for future in futures] == [SCHEMA] * 3


# Another version's database


def test_a_database_of_this_version_is_accepted(database):
    database.require_schema()


def test_a_database_without_tables_is_told_how_to_get_them(empty):
    with pytest.raises(SchemaMismatch, match="has no Trainyard tables yet; run `trainyard db upgrade`"):
        empty.require_schema()


def test_a_file_that_does_not_exist_is_not_made_by_asking(tmp_path):
    database = Database(f"sqlite:///{tmp_path / 'none.db'}")
    with pytest.raises(SchemaMismatch, match="no Trainyard tables"):
        database.require_schema()
    assert list(tmp_path.iterdir()) == []


def test_an_older_database_is_told_to_be_upgraded(database):
    set_schema(database, "0000")
    with pytest.raises(SchemaMismatch, match=f"schema 0000, this version needs {SCHEMA}; run `trainyard db upgrade`"):
        database.require_schema()


def test_a_newer_database_needs_a_newer_trainyard(database):
    set_schema(database, "9999")
    with pytest.raises(SchemaMismatch, match=f"at schema 9999, newer than this version's {SCHEMA}; update Trainyard"):
        database.require_schema()


def test_a_newer_database_is_not_touched_by_an_upgrade(database):
    set_schema(database, "9999")
    with pytest.raises(SchemaMismatch, match="update Trainyard"):
        schema.upgrade(database)
    assert database.schema() == "9999"


# Installed


def packages() -> list[str]:
    """What the wheel holds, by the build's settings: building one needs hatchling, which need not be there."""
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    return settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def test_an_installed_trainyard_brings_its_migrations(tmp_path):
    site = tmp_path / "site-packages"
    for package in packages():
        shutil.copytree(PROJECT / package, site / package, ignore=shutil.ignore_patterns("__pycache__"))
    program = f"""
from pathlib import Path
from service.store import database, schema
assert Path(schema.__file__).is_relative_to({str(site)!r}), schema.__file__
yard = database.Database("sqlite:///yard.db")
print(schema.upgrade(yard))
yard.dispose()
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, f"(None, '{SCHEMA}')\n", "")


def test_git_ignores_no_file_of_the_migrations():
    """Hatchling leaves out of the wheel what git ignores."""
    files = [str(path) for path in (PROJECT / "migrations").rglob("*") if path.suffix in (".py", ".mako")]
    assert any(name.endswith("script.py.mako") for name in files)
    if not (PROJECT / ".git").exists():
        pytest.skip("not a git checkout")
    answer = subprocess.run(["git", "check-ignore", *files], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (answer.stdout, answer.returncode) == ("", 1)
