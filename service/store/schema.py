"""Bringing a database to this version's schema, with the migrations that are part of the package."""

from __future__ import annotations

from importlib.resources import files
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

from service.store.database import Database, SchemaMismatch
from service.store.tables import SCHEMA

_alembic = Lock()  # its context is a global of the process


def upgrade(database: Database) -> tuple[str | None, str]:
    """Upgrade to the newest schema; returns the revisions before and after. Two at once do no harm.

    Raises SchemaMismatch when the database is newer than this version.
    """
    before = database.schema()
    if before is not None and before > SCHEMA:
        raise SchemaMismatch(before)
    config = _config()
    config.attributes["database"] = database
    with _alembic:
        command.upgrade(config, "head")
    after = database.schema()
    assert after is not None
    return before, after


def newest() -> str:
    """The newest revision among the migrations."""
    return ScriptDirectory.from_config(_config()).get_current_head() or ""


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    return config
