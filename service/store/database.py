"""The connection to the database, and the two kinds of transaction there are: reading and writing."""

from __future__ import annotations

import importlib
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from service.errors import InputError, Unreachable
from service.store.tables import SCHEMA
from service.store.turns import COURTESY, Turns
from service.urls import without_secrets

log = logging.getLogger(__name__)

# SQLite writes into a log beside the database, and what is in there is copied back now and then, which ends in fsyncs.
# Nobody shall wait for another's: it is done outside one's turn, by those who write much, and the log begins anew when
# nobody has written meanwhile. Beyond the limit somebody makes sure of that, in a turn, with little left to copy.
COPIED_BACK = 4 * 2**20  # bytes
LOG_LIMIT = 32 * 2**20

# A process that is frozen, or whose machine has lost its power, in the middle of a transaction holds the lock of its
# run, and whoever wants to take the run away would wait for hours, until TCP notices. None of ours takes so long.
IDLE_SECONDS = 10.0


class DatabaseUnreachable(Unreachable):
    def __init__(self, url: str, cause: BaseException) -> None:
        first_line = str(getattr(cause, "orig", cause)).strip().partition("\n")[0]
        advice = ADVICE if url.startswith("sqlite") else {}
        sentence = next((sentence for part, sentence in advice.items() if part in first_line), UP)
        super().__init__(f"the database {without_secrets(url)} cannot be {sentence.format(cause=first_line)}")


UP = "reached: {cause}; is it up, and is TRAINYARD_DATABASE_URL right?"
ROOM = "written: {cause}; make room on its disk, what was stored before is safe"
RIGHTS = "used: {cause}; its folder must be there, and it and the files beside it be writable for this user"
ADVICE = {  # by a part of what SQLite or the system said
    "disk is full": ROOM,
    "No space left": ROOM,
    "disk I/O error": "used: {cause}; is its disk full or broken? `dmesg` may say more",
    "readonly": RIGHTS,
    "Read-only": RIGHTS,
    "ermission denied": RIGHTS,
    "unable to open database file": RIGHTS,
    "No such file": RIGHTS,
    "is locked": "written: {cause}, for 30 seconds by now; does another program keep it open, or a stopped process?",
    "malformed": "read: {cause}; go back to a copy of it, or see what `sqlite3 FILE .recover` can save",
}
UNUSABLE = ("file is not a database", "malformed")  # what SQLite does not call an OperationalError


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
    def write(self, *, large: bool = False) -> Iterator[Session]:
        """One transaction, committed at the end; `large` for one of many that together write or remove megabytes.

        SQLite takes its write lock at the start: a reader that becomes a writer half-way would fail with "database is
        locked" where this one waits, in turn.
        """
        writer = self.engine.execution_options(begin="IMMEDIATE")
        with self._translated(), self._alone(COURTESY) if large else nullcontext():
            with self.turn(), Session(writer, expire_on_commit=False) as session, session.begin():
                yield session
            if large and self._logged() > COPIED_BACK:
                self._empty_log()
            elif not large and self._logged() > LOG_LIMIT:
                with self._alone(0.0) as alone:
                    if alone:  # else another one stages a blob, and empties the log
                        self._empty_log()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """One's turn to write, which only SQLite needs; to be had for as short as can be."""
        with Turns(self.file).take() if self.file else nullcontext():
            yield

    @contextmanager
    def _alone(self, patience: float) -> Iterator[bool]:
        with Turns(self.file).alone(patience) if self.file else nullcontext(True) as alone:
            yield alone

    def _logged(self) -> int:
        """The size of SQLite's log in bytes."""
        if self.file is None:
            return 0
        try:
            return os.path.getsize(f"{self.file}-wal")
        except FileNotFoundError:
            return 0

    def _empty_log(self) -> None:
        """Copy back what is in the log. If that fails nothing is lost, and the next to write tries again."""
        try:
            self._copy_back()
            if self._logged() > LOG_LIMIT:
                with self.turn():
                    self._copy_back()
        except sqlite_module().Error as error:
            log.warning("the log of %s could not be emptied: %s; the next to write tries again", self.file, error)

    def _copy_back(self) -> None:
        with closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)")

    def compact(self) -> None:
        """Write a SQLite file anew, without the room that removed rows have left. Nobody else can write meanwhile."""
        try:
            with self.turn(), closing(self.engine.raw_connection()) as connection:
                connection.cursor().execute("VACUUM")
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite_module().Error as error:
            raise DatabaseUnreachable(self.url, error) from error

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise DatabaseUnreachable(self.url, error) from error
        except DatabaseError as error:
            if isinstance(error, ProgrammingError | InternalError) or any(part in str(error) for part in UNUSABLE):
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

    @cached_property
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


PRAGMAS = (
    "synchronous = NORMAL",
    "busy_timeout = 30000",
    "foreign_keys = ON",
    "wal_autocheckpoint = 0",  # `_empty_log` does what that does
    "journal_size_limit = 0",  # a log that begins anew is cut, and its size tells what is in it
)


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, module=sqlite_module(), connect_args={"timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver shall not begin transactions by itself
        _write_ahead(connection)
        for pragma in PRAGMAS:
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
