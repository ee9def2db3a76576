"""Runs the migrations inside one transaction that only one process at a time can hold."""

from alembic import context
from sqlalchemy import text

from service.store.database import Database
from service.store.tables import Base

LOCK = 4_827_315_001  # any number that nobody else uses for an advisory lock


def run() -> None:
    database: Database = context.config.attributes["database"]
    with database.write() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            render_as_batch=True,
            transactional_ddl=True,
        )
        context.run_migrations()


run()
