"""Points of metrics: each exists once, and the summaries beside them tell the last and the best of each metric.

Points of steps are kept beside those of epochs where a spec asks for them. There may be millions, so they are written
as fast as each database takes rows, and nothing sums them up: `history.steps` thins them when they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple, cast

from sqlalchemy import Table, case, or_, text
from sqlalchemy.orm import Session

from service.store.bulk import dialect, upsert
from service.store.tables import Metric, StepMetric, Summary

# Rows in bulk need no objects.
METRICS, STEP_METRICS, SUMMARIES = (cast(Table, table.__table__) for table in (Metric, StepMetric, Summary))


@dataclass(frozen=True)
class Point:
    """One value of a metric; `higher_is_better` decides which one counts as best."""

    name: str
    epoch: int
    value: float
    higher_is_better: bool


class StepPoint(NamedTuple):
    """One value at a step, from 1 over the whole training."""

    name: str
    step: int
    value: float


def store(session: Session, run_id: int, points: Sequence[Point]) -> None:
    """Store points of a run, in the caller's fenced transaction; one that is there already stays as it is."""
    if not points:
        return
    _insert(session, METRICS, "epoch", run_id, [(p.name, p.epoch, p.value) for p in points])
    for higher_is_better in (True, False):
        summaries = _summarise(run_id, [p for p in points if p.higher_is_better is higher_is_better])
        if summaries:
            session.connection().execute(_summing(dialect(session), higher_is_better), summaries)


@cache
def _summing(kind: str, higher_is_better: bool) -> Any:
    """The statement that brings summaries up to date; made once, for that takes longer than to carry it out."""
    insertion, old = upsert(kind, SUMMARIES), SUMMARIES.c
    new = insertion.excluded
    better = or_(old.best.is_(None), new.best > old.best if higher_is_better else new.best < old.best)
    later = new.last_epoch >= old.last_epoch
    changes = {
        "last": case((later, new.last), else_=old.last),
        "last_epoch": case((later, new.last_epoch), else_=old.last_epoch),
        "best": case((better, new.best), else_=old.best),
        "best_epoch": case((better, new.best_epoch), else_=old.best_epoch),
    }
    return insertion.on_conflict_do_update(index_elements=["run_id", "name"], set_=changes)


def store_steps(session: Session, run_id: int, points: Sequence[StepPoint]) -> None:
    """Store points of a run's steps, in the caller's fenced transaction; one that is there already stays as it is."""
    if not points:
        return
    _insert(session, STEP_METRICS, "step", run_id, points)


def _insert(session: Session, table: Table, place: str, run_id: int, rows: Sequence[tuple[str, int, float]]) -> None:
    """Add name, place and value of those that are not there yet, as fast as each database takes them."""
    into = f"INSERT INTO {table.name} (run_id, name, {place}, value)"
    names, places, values = zip(*rows, strict=True)
    values = tuple(None if math.isnan(value) else float(value) for value in values)  # as the type Number does
    if dialect(session) == "postgresql":
        columns = {"names": list(names), "places": list(places), "values": list(values)}
        session.execute(text(f"{into} {AT_ONCE}"), {"run_id": run_id, **columns})
    else:
        each = [(run_id, *row) for row in zip(names, places, values, strict=True)]
        session.connection().exec_driver_sql(f"{into} VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", each)


AT_ONCE = """
    SELECT :run_id, point.* FROM unnest(CAST(:names AS text[]), CAST(:places AS int[]), CAST(:values AS float8[])) point
    ON CONFLICT DO NOTHING
"""  # four parameters, however many rows


def _summarise(run_id: int, points: Sequence[Point]) -> list[dict[str, Any]]:
    """One row for each metric: its last value and its best, the earliest of equals; NaN is never best."""
    rows = []
    for name in dict.fromkeys(p.name for p in points):
        own = [p for p in points if p.name == name]
        last = max(own, key=lambda p: p.epoch)
        sign = 1 if last.higher_is_better else -1
        best = max(own, key=lambda p: (not math.isnan(p.value), sign * p.value if p.value == p.value else 0, -p.epoch))
        rows.append({
            "run_id": run_id, "name": name, "last": last.value, "last_epoch": last.epoch,
            "best": best.value, "best_epoch": best.epoch,
        })  # fmt: skip
    return rows
