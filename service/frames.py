"""Runs and their metrics as data frames, of polars or of pandas, for a notebook.

A column is of one type whatever stands in it: whole numbers Int64, others Float64, times in UTC, durations as such.
What a run does not have is null, and so is a metric that is no number (NaN).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import polars as pl
from sqlalchemy import Double, select, type_coerce

from service.errors import InputError
from service.expressions import fields, parse_fields, value
from service.expressions.tokens import tokens
from service.expressions.tree import Field, Kind, Metric
from service.store import history
from service.store.history import MOST_IDS
from service.store.tables import Metric as Point
from service.store.tables import Run, Summary, Tag

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    DataFrame = Any  # of polars, or of pandas where that is asked for

USUAL = ("id", "name", "state", "queue", "tags", "epoch", "created", "started", "finished", "duration")
OF = ("last", "best")
NOTHING = dict.fromkeys(OF)
TAGS = "tags"  # a run may have several, so it is a list, and no field to compare
TYPES: dict[Kind, pl.DataType] = {
    Kind.NUMBER: pl.Float64(),
    Kind.TEXT: pl.String(),
    Kind.TRUTH: pl.Boolean(),
    Kind.TIME: pl.Datetime("us", "UTC"),
    Kind.DURATION: pl.Duration("us"),
}


def maker(library: str) -> Callable[[pl.DataFrame], Any]:
    """What makes the library's own frame of one of polars. Raises InputError when there is no such library."""
    if library == "polars":
        return lambda frame: frame
    if library != "pandas":
        raise InputError(f"frames are made for polars or pandas, not for '{library}'")
    try:
        import pandas  # noqa: F401 - before the history is asked
    except ImportError:
        raise InputError("pandas is not installed; `pip install pandas`, or take the frame of polars") from None
    return _pandas


def runs(session: Session, run_ids: Sequence[int], columns: str | Sequence[str] | None) -> pl.DataFrame:
    """One row a run, in this order. `columns` are fields of expressions, and "tags"; None: the usual ones, and the last
    and the best value of every metric that one of the runs has."""
    wanted = asked(columns, _measured(session, run_ids) if columns is None else ())
    return table(_rows(session, run_ids, wanted), wanted)


def asked(columns: str | Sequence[str] | None, measured: Collection[str]) -> dict[str, Field | None]:
    """The fields of the columns; `measured` are the metrics that any of the runs has. "tags" is no field."""
    of_metrics = (column for name in sorted(measured) for column in (name, f"best({name})"))
    wanted = [*USUAL, *of_metrics] if columns is None else _listed(columns)
    found: dict[str, Field | None] = {}
    for text in wanted:
        found |= {TAGS: None} if text == TAGS else parse_fields(text)
    return found


def table(rows: Iterable[dict[str, Any]], asked: Mapping[str, Field | None]) -> pl.DataFrame:
    """Rows by column; what lasted comes in seconds."""
    lasted = [name for name, field in asked.items() if field is not None and Kind.DURATION in field.kinds]
    rows = [row | {name: timedelta(seconds=row[name]) for name in lasted if row[name] is not None} for row in rows]
    types = {name: pl.List(pl.String()) if field is None else _type(field) for name, field in asked.items()}
    return pl.DataFrame([[row[name] for name in types] for row in rows], schema=types, orient="row")


def _rows(session: Session, run_ids: Sequence[int], asked: Mapping[str, Field | None]) -> list[dict[str, Any]]:
    summed = {name: field for name, field in asked.items() if isinstance(field, Metric) and field.of in OF}
    others = {name: field for name, field in asked.items() if field is not None and name not in summed}
    answers: dict[str, Any] = {"": Run.id} | {name: value(field) for name, field in others.items()}
    rows = history.values_of(session, run_ids, answers)
    tags = _tags(session, run_ids) if TAGS in asked else {}
    summaries = _summaries(session, run_ids, {metric.name for metric in summed.values()})
    for row in rows:
        run_id = row.pop("")
        row[TAGS] = tags.get(run_id, [])
        for name, metric in summed.items():
            row[name] = summaries.get((run_id, metric.name), NOTHING)[str(metric.of)]
    return rows


def metrics(session: Session, run_ids: Sequence[int], names: str | Sequence[str] | None) -> pl.DataFrame:
    """One row an epoch of a run, with `run`, `epoch` and a column for each metric, or for each of these."""
    names = metric_names(names)
    query = select(Point.run_id, Point.epoch, Point.name, type_coerce(Point.value, Double))  # NaN is kept as NULL
    if names is not None:
        query = query.where(Point.name.in_(names))
    points = [
        tuple(row)
        for some in _parts(run_ids)
        for row in session.execute(query.where(Point.run_id.in_(some)).order_by(Point.run_id, Point.epoch))
    ]
    return wide(points, run_ids, names)


def metric_names(names: str | Sequence[str] | None) -> list[str] | None:
    """The names of metrics. Raises ExpressionError for what can be none."""
    names = None if names is None else _listed(names)
    for name in names or ():
        if not fields.is_metric(name):
            raise fields.unknown_metric(name, tokens(name)[0])
    return names


def wide(
    points: Sequence[tuple[int, int, str, float | None]], run_ids: Sequence[int], names: Sequence[str] | None
) -> pl.DataFrame:
    """A row for each epoch of a run of (run, epoch, name, value), the runs in this order."""
    types = {"run": pl.Int64(), "epoch": pl.Int64(), "name": pl.String(), "value": pl.Float64()}
    long = pl.DataFrame(points, schema=types, orient="row")
    found = long["name"].unique().sort().to_list() if names is None else names
    wide = long.pivot("name", on_columns=found, index=["run", "epoch"], values="value", aggregate_function="first")
    order = pl.DataFrame({"run": run_ids}, schema={"run": pl.Int64()})
    return order.join(wide, on="run", how="inner", maintain_order="left_right").select("run", "epoch", *found)


def _listed(names: str | Sequence[str]) -> list[str]:
    """A single name may come without its list."""
    return [names] if isinstance(names, str) else list(dict.fromkeys(names))


def _measured(session: Session, run_ids: Sequence[int]) -> set[str]:
    """The metrics that these runs have."""
    return {
        name
        for some in _parts(run_ids)
        for name in session.scalars(select(Summary.name).where(Summary.run_id.in_(some)).distinct())
    }


def _summaries(
    session: Session, run_ids: Sequence[int], names: Collection[str]
) -> dict[tuple[int, str], dict[str, Any]]:
    """Last and best of these metrics by run and name: ten thousand runs have a hundred thousand of them, and to look
    each up for itself would take seconds."""
    columns = (Summary.run_id, Summary.name, type_coerce(Summary.last, Double), type_coerce(Summary.best, Double))
    query = select(*columns).where(Summary.name.in_(names))
    return {
        (run_id, name): {"last": last, "best": best}
        for some in _parts(run_ids if names else ())
        for run_id, name, last, best in session.execute(query.where(Summary.run_id.in_(some)))
    }


def _tags(session: Session, run_ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for some in _parts(run_ids):
        rows = session.execute(select(Tag.run_id, Tag.tag).where(Tag.run_id.in_(some)).order_by(Tag.tag))
        for run_id, tag in rows:
            found.setdefault(run_id, []).append(tag)
    return found


def _parts(run_ids: Sequence[int]) -> Iterable[Sequence[int]]:
    return (run_ids[start : start + MOST_IDS] for start in range(0, len(run_ids), MOST_IDS))


def _type(field: Field) -> pl.DataType:
    """A field that may be of several kinds counts where it is a text, as when runs are sorted by it."""
    kind = Kind.TEXT if Kind.TEXT in field.kinds else next(iter(field.kinds))
    return pl.Int64() if kind is Kind.NUMBER and fields.is_whole(field) else TYPES[kind]


def _pandas(frame: pl.DataFrame) -> Any:
    """The same as pandas has it, nulls included; polars' own way needs pyarrow."""
    import pandas as pd

    names = {pl.Int64(): "Int64", pl.Float64(): "Float64", pl.Boolean(): "boolean", pl.String(): "string"}
    columns = {}
    for column in frame:
        values = column.to_list()
        if isinstance(column.dtype, pl.Datetime):
            columns[column.name] = pd.Series(pd.to_datetime(values, utc=True).as_unit("us"))
        elif isinstance(column.dtype, pl.Duration):
            columns[column.name] = pd.Series(pd.to_timedelta(values).as_unit("us"))
        else:
            columns[column.name] = pd.Series(values, dtype=names.get(column.dtype, "object"))
    return pd.DataFrame(columns, columns=frame.columns)
