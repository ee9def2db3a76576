"""`trainyard db`: the database's schema and its file."""

from __future__ import annotations

import typer

from service.cli import context

app = typer.Typer(help="The database: its schema, its file.", no_args_is_help=True)


@app.command()
def upgrade() -> None:
    """Bring the database to this version's schema; safe to repeat, also from two places at once.

    Example: trainyard db upgrade
    """
    from service.store.database import Database
    from service.store.schema import upgrade

    settings = context.settings()
    if settings.embedded_database:
        settings.home.mkdir(parents=True, exist_ok=True)
    before, after = upgrade(Database(settings.database))
    print(f"the database is at schema {after}" + ("" if before == after else f", upgraded from {before or 'nothing'}"))


@app.command()
def check() -> None:
    """Say whether the database fits this version.

    Example: trainyard db check
    """
    from service.store.database import Database

    database = Database(context.settings().database)
    database.require_schema()
    print(f"the database is at schema {database.schema()}, the one this version needs")


@app.command()
def compact() -> None:
    """Give the room that removed runs have left in a SQLite file back to the disk. Nobody can write meanwhile, so no
    run may be training.

    Example: trainyard db compact
    """
    from service.display import size

    client = context.client()
    if client.database.file is None:
        print("PostgreSQL uses the room that removed runs have left again by itself; there is no file to compact")
        return
    before, after = client.compact()
    print(f"the database takes {size(after)}, it took {size(before)}")
