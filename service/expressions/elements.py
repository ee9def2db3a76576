"""Parts of SQL that SQLite and PostgreSQL write differently, made to mean the same.

Texts are in the order of their characters' numbers, whatever the database's language.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Dialect, String, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from service.expressions.patterns import glob, like


class _Pattern(TypeDecorator[str]):
    """A pattern with % and _ as a bound value, as each database wants it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return like(value) if dialect.name == "postgresql" else glob(value)


class Ordered(FunctionElement[str]):
    """A text that is compared character by character."""

    type = String()
    inherit_cache = True


@compiles(Ordered, "sqlite")
def _ordered_sqlite(element: Ordered, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))  # as SQLite does unless told otherwise


@compiles(Ordered, "postgresql")
def _ordered_postgresql(element: Ordered, compiler: Any, **options: Any) -> str:
    return f'({compiler.process(element.clauses, **options)} COLLATE "C")'


class Looked(FunctionElement[Any]):
    """A value of a row that is looked up by its primary key. SQLite would take an index on the value, if there is one,
    and go through all that fit for each run."""

    inherit_cache = True

    def __init__(self, column: Any) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(Looked, "sqlite")
def _looked_sqlite(element: Looked, compiler: Any, **options: Any) -> str:
    return f"+{compiler.process(element.clauses, **options)}"  # https://sqlite.org/optoverview.html#uplus


@compiles(Looked, "postgresql")
def _looked_postgresql(element: Looked, compiler: Any, **options: Any) -> str:
    return str(compiler.process(element.clauses, **options))


class Like(FunctionElement[bool]):
    """Whether a text fits a pattern, capital and small letters told apart: SQLite's own LIKE does not."""

    type = Boolean()
    inherit_cache = True

    def __init__(self, text: Any, pattern: str) -> None:
        super().__init__(text, literal(pattern, _Pattern()))


@compiles(Like, "sqlite")
def _like_sqlite(element: Like, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} GLOB {pattern})"


@compiles(Like, "postgresql")
def _like_postgresql(element: Like, compiler: Any, **options: Any) -> str:
    text, pattern = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({text} LIKE {pattern})"
