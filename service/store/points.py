"""Points of metrics: each exists once, and the summaries beside them tell the last and the best of each metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Table, case, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.store.tables import Metric, Summary

METRICS, SUMMARIES = cast(Table, Metric.__table__), cast(Table, Summary.__table__)  # rows in bulk need no objects


@dataclass(frozen=True)
class Point:
    """One value of a metric; `higher_is_better` decides which one counts as best."""

    name: str
    epoch: int
    value: float
    higher_is_better: bool


def store(session: Session, run_id: int, points: Sequence[Point]) -> None:
    """Store points of a run, in the caller's fenced transaction; one that is there already stays as it is."""
    if not points:
        return
    upsert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    rows = [{"run_id": run_id, "name": p.name, "epoch": p.epoch, "value": p.value} for p in points]
    keys = ["run_id", "name", "epoch"]
    session.execute(upsert(METRICS).on_conflict_do_nothing(index_elements=keys), rows)
    for higher_is_better in (True, False):
        summaries = _summarise(run_id, [p for p in points if p.higher_is_better is higher_is_better])
        if summaries:
            insertion = upsert(SUMMARIES)
            new = insertion.excluded
            better = new.best > Summary.best if higher_is_better else new.best < Summary.best
            better = or_(Summary.best.is_(None), better)
            later = new.last_epoch >= Summary.last_epoch
            changes = {
                "last": case((later, new.last), else_=Summary.last),
                "last_epoch": case((later, new.last_epoch), else_=Summary.last_epoch),
                "best": case((better, new.best), else_=Summary.best),
                "best_epoch": case((better, new.best_epoch), else_=Summary.best_epoch),
            }
            session.execute(insertion.on_conflict_do_update(index_elements=keys[:2], set_=changes), summaries)


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
