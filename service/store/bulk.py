"""Many rows at once, as fast as each database takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Boolean, Float, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.store.tables import Base

FEW = 200  # rows, up to which COPY does not earn its round trips


def dialect(session: Session) -> str:
    """The kind of the session's database: sqlite or postgresql."""
    return session.get_bind().dialect.name


def upsert(dialect: str, table: Table | type[Base]) -> Any:
    """An INSERT that can be told what to do on a conflict."""
    make = postgresql.insert if dialect == "postgresql" else sqlite.insert
    return make(table)


def insert_all(session: Session, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows, given as tuples of these columns, in the caller's transaction; other columns get no default."""
    names = ", ".join(columns)
    if dialect(session) == "postgresql" and len(rows) > FEW:
        _copy(session, f"COPY {table.name} ({names}) FROM STDIN", _bound(session, table, columns, rows))
    elif rows:
        mark = "?" if dialect(session) == "sqlite" else "%s"
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({', '.join([mark] * len(columns))})"
        session.connection().exec_driver_sql(statement, list(_bound(session, table, columns, rows)))


def _copy(session: Session, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    cursor: Any = session.connection().connection.cursor()
    with cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _bound(
    session: Session, table: Table, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Iterable[Sequence[Any]]:
    """The rows as the driver takes them: a document as its JSON, a time as seconds."""
    dialect = session.get_bind().dialect
    kinds = [table.c[name].type for name in columns]
    binds: list[Callable[[Any], Any] | None] = [
        None if isinstance(kind, Boolean | Float) else kind.dialect_impl(dialect).bind_processor(dialect)
        for kind in kinds  # drivers take truths and numbers as they are
    ]
    if not any(binds):
        return rows
    by_column = zip(binds, zip(*rows, strict=True), strict=True)  # turned round twice: no value is touched in vain
    return zip(*(values if bind is None else map(bind, values) for bind, values in by_column), strict=True)
