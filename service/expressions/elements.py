"""Parts of SQL that SQLite and PostgreSQL write differently, made to mean the same.

Values in a spec are JSON. A value of another kind than asked for is NULL, never an error of the database; numbers are
doubles on both, and texts are in the order of their characters' numbers, whatever the database's language.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Dialect, Double, Integer, String, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from service.expressions.patterns import glob, like
from service.expressions.tree import Path


class _JsonPath(TypeDecorator[Path]):
    """A path as a bound value: '$."train"."epochs"' for SQLite, 'train,epochs' for PostgreSQL.

    Its steps are letters, digits and underscores: the tokens of the language let nothing else through.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: Path | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        if dialect.name == "postgresql":
            return ",".join(map(str, value))
        return "$" + "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in value)


class _Pattern(TypeDecorator[str]):
    """A pattern with % and _ as a bound value, as each database wants it."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return like(value) if dialect.name == "postgresql" else glob(value)


class _Json(FunctionElement[Any]):
    """Something read from a JSON column at a path, in both languages: {json} and {path} are the arguments, {value} is
    what PostgreSQL finds there, {text} the same as a text."""

    sqlite = postgresql = ""

    def __init__(self, column: Any, path: Path) -> None:
        super().__init__(column, literal(path, _JsonPath()))


@compiles(_Json, "sqlite")
def _json_sqlite(element: _Json, compiler: Any, **options: Any) -> str:
    json, path = (compiler.process(clause, **options) for clause in element.clauses)
    return element.sqlite.format(json=json, path=path)


@compiles(_Json, "postgresql")
def _json_postgresql(element: _Json, compiler: Any, **options: Any) -> str:
    json, path = (compiler.process(clause, **options) for clause in element.clauses)
    steps = f"string_to_array({path}, ',')"  # a constant to the planner, which a cast to text[] is not
    return element.postgresql.format(value=f"{json} #> {steps}", text=f"{json} #>> {steps}")


class JsonKind(_Json):
    """What kind of value is there; NULL for nothing and for null."""

    type = String()
    inherit_cache = True
    sqlite = "nullif(json_type({json}, {path}), 'null')"
    postgresql = "nullif(jsonb_typeof({value}), 'null')"


class JsonNumber(_Json):
    type = Double()
    inherit_cache = True
    sqlite = (
        "CASE WHEN json_type({json}, {path}) IN ('integer', 'real') THEN CAST(json_extract({json}, {path}) AS REAL) END"
    )
    postgresql = "CASE jsonb_typeof({value}) WHEN 'number' THEN CAST({text} AS double precision) END"


class JsonText(_Json):
    type = String()
    inherit_cache = True
    sqlite = "CASE json_type({json}, {path}) WHEN 'text' THEN json_extract({json}, {path}) END"
    postgresql = "CASE jsonb_typeof({value}) WHEN 'string' THEN {text} END"


class JsonTruth(_Json):
    type = Boolean()
    inherit_cache = True
    sqlite = "CASE json_type({json}, {path}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END"
    postgresql = "CASE jsonb_typeof({value}) WHEN 'boolean' THEN CAST({text} AS boolean) END"


class JsonName(_Json):
    """The key of a mapping of one: the name of a part, as in {"adam": {…}}."""

    type = String()
    inherit_cache = True
    sqlite = "CASE json_type({json}, {path}) WHEN 'object' THEN (SELECT key FROM json_each({json}, {path}) LIMIT 1) END"
    postgresql = "CASE jsonb_typeof({value}) WHEN 'object' THEN (SELECT jsonb_object_keys({value}) LIMIT 1) END"


class JsonLength(_Json):
    """How many items a list has."""

    type = Integer()
    inherit_cache = True
    sqlite = "CASE json_type({json}, {path}) WHEN 'array' THEN json_array_length({json}, {path}) END"
    postgresql = "CASE jsonb_typeof({value}) WHEN 'array' THEN jsonb_array_length({value}) END"


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
