"""The connection to the database, and the two kinds of transaction there are: reading and writing."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from service.errors import InputError, Unreachable
from service.settings import without_secrets
from service.store.tables import SCHEMA

# A process that is frozen, or whose machine has lost its power, in the middle of a transaction holds the lock of its
# run, and whoever wants to take the run away would wait for hours, until TCP notices. None of ours takes so long.
IDLE_SECONDS = 10.0


class DatabaseUnreachable(Unreachable):
    def __init__(self, url: str, cause: BaseException) -> None:
        first_line = str(getattr(cause, "orig", cause)).strip().partition("\n")[0]
        super().__init__(
            f"the database {without_secrets(url)} cannot be reached: {first_line}; "
            "is it up, and is TRAINYARD_DATABASE_URL right?"
        )


class SchemaMismatch(InputError):
    """The database was made by another version."""

    def __init__(self, found: str | None) -> None:
        if found is None:
            message = "the database has no Trainyard tables yet; run `trainyard db upgrade`"
        elif found < SCHEMA:
            message = f"the database is at schema {found}, this version needs {SCHEMA}; run `trainyard db upgrade`"
        else:
            message = f"the database is at schema {found}, newer than this version's {SCHEMA}; update Trainyard"
        super().__init__(message)


class Database:
    """An engine, made lazily so that nothing of it crosses a fork, and its transactions."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine: Engine | None = None
        self._making = threading.Lock()

    @property
    def engine(self) -> Engine:
        with self._making:
            if self._engine is None:
                self._engine = _sqlite(self.url) if self.url.startswith("sqlite") else _postgresql(self.url)
            return self._engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._translated(), Session(self.engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction, committed at the end. SQLite takes its write lock at the start: a reader that becomes a
        writer half-way would fail with "database is locked" where this one waits."""
        writer = self.engine.execution_options(begin="IMMEDIATE")
        with self._translated(), Session(writer, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise DatabaseUnreachable(self.url, error) from error
        except DatabaseError as error:
            if isinstance(error, ProgrammingError | InternalError) or "file is not a database" in str(error):
                raise DatabaseUnreachable(self.url, error) from error
            raise

    def require_schema(self) -> None:
        """Raise SchemaMismatch unless the tables are those of this version."""
        found = self.schema()
        if found != SCHEMA:
            raise SchemaMismatch(found)

    def schema(self) -> str | None:
        """The newest migration that the database has seen, or None when there is none."""
        if self.file is not None and not self.file.exists():
            return None
        with self.read() as session:
            exists = session.execute(text(_HAS_VERSION[self.engine.dialect.name])).first()
            return session.execute(text("SELECT version_num FROM alembic_version")).scalar() if exists else None

    @property
    def file(self) -> Path | None:
        """The file of a SQLite database."""
        url = make_url(self.url)
        return Path(url.database) if url.get_backend_name() == "sqlite" and url.database else None

    def dispose(self, *, forked: bool = False) -> None:
        """Close the connections; in a forked child drop them unclosed, for they are the parent's."""
        if self._engine is not None:
            self._engine.dispose(close=not forked)
            self._engine = None


_HAS_VERSION = {
    "sqlite": "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'",
    "postgresql": "SELECT 1 WHERE to_regclass('alembic_version') IS NOT NULL",
}


def sqlite_module() -> ModuleType:
    """A SQLite without the WAL-reset bug (fixed in 3.51.3) where its wheel exists, else Python's own."""
    try:
        return importlib.import_module("pysqlite3.dbapi2")
    except ImportError:
        return importlib.import_module("sqlite3")


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, module=sqlite_module(), connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions by itself
        _write_ahead(connection)
        for pragma in ("synchronous = NORMAL", "busy_timeout = 30000", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")

    return engine


def _write_ahead(connection: Any) -> None:
    """Switch to WAL. Of two that open a new file at once one hears "locked" at once, whatever its busy_timeout."""
    end = time.monotonic() + 30
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite_module().OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _postgresql(url: str) -> Engine:
    arguments = {"connect_timeout": 5, "keepalives_idle": 10, "keepalives_interval": 5, "tcp_user_timeout": 20_000}
    engine = create_engine(url, pool_pre_ping=True, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.execute(f"SET idle_in_transaction_session_timeout = '{IDLE_SECONDS * 1000:.0f}ms'")
        connection.commit()

    return engine
