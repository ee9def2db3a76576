"""Databases and brokers for every test that asks: a server for the session, an upgraded database for each test.

A server that cannot be had skips the test at home and fails it in CI (`CI=true`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import hypothesis
import numpy  # noqa: F401 - loads the BLAS that `_one_blas_thread` limits
import psycopg
import pytest
from threadpoolctl import threadpool_limits

from service.store import schema
from service.store.database import Database
from service.store.tables import SCHEMA, Base
from tests import servers
from tests.distribution import pytest_xdist_make_scheduler  # noqa: F401 - a hook of pytest-xdist

hypothesis.settings.register_profile("patient", deadline=None)  # how fast an example is, depends on the machine
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def _one_blas_thread() -> Iterator[None]:
    """As in a slot. On several, small networks in several test processes at once take twice the time and more."""
    with threadpool_limits(1, user_api="blas"):
        yield


@contextmanager
def _required() -> Iterator[None]:
    try:
        yield
    except servers.ServerMissing as missing:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(missing))


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """The URL of the session's PostgreSQL server, with its database `postgres`."""
    with _required(), servers.postgresql() as server:
        yield server.url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of the session's Redis, with its password. Tests share it: use queues of your own, or flush it."""
    with _required(), servers.redis() as server:
        yield server.url


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    """Every test of `database` runs on both; `@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)`: on one."""
    return str(request.param)


@pytest.fixture
def empty_database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server, name = request.getfixturevalue("postgresql_url"), f"test_{uuid4().hex}"
    with psycopg.connect(_plain(server), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        yield _of(server, name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an upgraded database without any row, for tests with several processes."""
    if kind == "sqlite":
        return f"sqlite:///{shutil.copy(request.getfixturevalue('_sqlite_template'), tmp_path / 'trainyard.db')}"
    url: str = request.getfixturevalue("_postgresql_upgraded")
    with psycopg.connect(_plain(url)) as connection:
        connection.execute(END_THE_OTHERS)
        [size] = connection.execute(SIZE).fetchone() or [0]
        connection.execute(EMPTY if size < MOST_BYTES else EMPTY_FILES)
        connection.execute(f"UPDATE alembic_version SET version_num = '{SCHEMA}'")  # which a test may have changed
    return url


# What an earlier test has left open, or a process that it started, would hold up the emptying.
END_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

# To TRUNCATE makes some hundred files anew, which takes 80 ms. To DELETE takes 5, but the rows stay in the files, and
# what lies in there shall not slow down what comes after.
MOST_BYTES = 4 * 2**20
SIZE = """
    SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
"""
EMPTY_FILES = f"TRUNCATE {', '.join(Base.metadata.tables)} RESTART IDENTITY"
EMPTY = f"""
    SET LOCAL session_replication_role = replica;  -- in any order, without a look at foreign keys
    {" ".join(f"DELETE FROM {table};" for table in Base.metadata.tables)}
    SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false)
    FROM pg_sequences WHERE last_value IS NOT NULL
"""


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An upgraded database, closed at the end."""
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture(scope="session")
def _sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "template.db"
    _upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def _postgresql_upgraded(postgresql_url: str) -> str:
    """One database for the session: emptying it takes 5 ms, copying one from a template up to 300 (1,000 files)."""
    with psycopg.connect(_plain(postgresql_url), autocommit=True) as connection:
        connection.execute("CREATE DATABASE upgraded TEMPLATE template0")
    _upgrade(_of(postgresql_url, "upgraded"))
    return _of(postgresql_url, "upgraded")


def _upgrade(url: str) -> None:
    database = Database(url)
    schema.upgrade(database)
    database.dispose()  # the last connection leaves a SQLite file whole, without a write-ahead log


def _of(server_url: str, name: str) -> str:
    return f"{server_url.rpartition('/')[0]}/{name}"


def _plain(url: str) -> str:
    return url.replace("+psycopg", "", 1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("a small disk can be mounted on Linux only")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=8m", "tmpfs", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount a small disk: {done.stderr.strip()}")
