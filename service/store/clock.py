"""The database's clock: times are seconds since 1970 (UTC), the same number on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Dialect, Double, literal, type_coerce
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

Element = TypeVar("Element", bound=ColumnElement[Any])


class Timestamp(TypeDecorator[datetime]):
    """A moment, kept as seconds since 1970 in a double: indexable, comparable, and precise to the microsecond.

    Whoever writes back what the database's clock said gives the number itself: rounded to a microsecond it may lie in
    the future.
    """

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: datetime | float | None, dialect: Dialect) -> float | None:
        return value if value is None or isinstance(value, float) else value.timestamp()

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        return None if value is None else datetime.fromtimestamp(value, UTC)


class now(FunctionElement[datetime]):
    """The moment at which the statement runs, not at which its transaction began."""

    type = Timestamp()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"  # unixepoch('subsec') needs SQLite 3.42


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **_: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS double precision)"


def after(seconds: float | ColumnElement[float]) -> ColumnElement[datetime]:
    """The moment so many seconds from now (negative: ago)."""
    return type_coerce(type_coerce(now(), Double) + seconds, Timestamp)


def stopped(element: Element, moment: datetime) -> Element:
    """The element with the clock at this moment, so that several statements mean the same."""

    def fixed(element: Any, **_: Any) -> Any:
        return literal(moment, Timestamp()) if isinstance(element, now) else None

    replaced: Element = visitors.replacement_traverse(element, {}, fixed)
    return replaced
