"""What the database takes on its disk, and what of it could go. Nothing here reads metrics, weights or many specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, func, literal, not_, select, text
from sqlalchemy.orm import Session

from service.store.blobs import UNPOINTED_SECONDS
from service.store.bulk import dialect
from service.store.clock import after
from service.store.records import Record
from service.store.removal import YET_TO_TRAIN
from service.store.tables import Blob, Dataset, LogLine, Run, StepMetric, Summary

SAMPLE = 300  # runs, spread over the history, that tell how many points a run has
A_POINT = 31  # bytes of a point in SQLite, as measured, with a name of eight letters
A_LINE = 30  # bytes of a line of a log in SQLite, beside its text
MOST_POINTS = 100_000  # of the sample that are counted, and as many lines
METRICS = ("metrics", "step_metrics")


@dataclass(frozen=True)
class Space(Record):
    """Bytes. `free` is what a SQLite file has to spare, for new rows or to be given back by compacting it. `metrics`
    and `logs` are estimates on SQLite, which does not know how large its tables are."""

    database: int
    metrics: int
    logs: int
    weights: int
    checkpoints: int
    datasets: int
    rest: int
    free: int
    runs: int
    prunable: int  # checkpoints of runs that have ended, and datasets that no run has


def measure(session: Session) -> Space:
    total, free = _size(session)
    all_blobs = _sum(session, select(func.sum(Blob.size)))
    checkpoints = sum(_pointed(session, pointer) for pointer in (Run.checkpoint_id, Run.previous_checkpoint_id))
    datasets = _sum(session, select(func.sum(Blob.size)).where(Blob.id.in_(select(Dataset.blob_id))))
    runs = _sum(session, select(func.count()).select_from(Run))
    metrics = min(_metrics(session, runs), max(0, total - free - all_blobs))
    logs = min(_logs(session, runs), max(0, total - free - all_blobs - metrics))
    unused = and_(Dataset.sha256.not_in(select(Run.dataset_sha256)), Blob.touched < after(-UNPOINTED_SECONDS))
    return Space(
        database=total,
        metrics=metrics,
        logs=logs,
        weights=max(0, all_blobs - checkpoints - datasets),
        checkpoints=checkpoints,
        datasets=datasets,
        rest=max(0, total - free - all_blobs - metrics - logs),
        free=free,
        runs=runs,
        prunable=_pointed(session, Run.checkpoint_id, ended=True)
        + _sum(session, select(func.sum(Blob.size)).join(Dataset, Dataset.blob_id == Blob.id).where(unused)),
    )


def _sum(session: Session, query: Any) -> int:
    return int(session.scalar(query) or 0)


def _pointed(session: Session, pointer: Any, *, ended: bool = False) -> int:
    """The bytes of the blobs that this column points at, of which there are few."""
    query = select(func.sum(Blob.size)).select_from(Run).join(Blob, Blob.id == pointer).where(pointer.is_not(None))
    return _sum(session, query.where(Run.state.not_in(YET_TO_TRAIN)) if ended else query)  # the pointer's index serves


def _size(session: Session) -> tuple[int, int]:
    """The bytes of the database, and those of them that are free."""
    if dialect(session) == "postgresql":
        return _sum(session, text("SELECT pg_database_size(current_database())")), 0
    pages, free, size = (
        _sum(session, text(f"PRAGMA {name}")) for name in ("page_count", "freelist_count", "page_size")
    )
    return pages * size, free * size


def _metrics(session: Session, runs: int) -> int:
    """The bytes of the points; on SQLite as many a run as those of a sample have."""
    if dialect(session) == "postgresql":
        return sum(_sum(session, text(f"SELECT pg_total_relation_size('{name}')")) for name in METRICS)
    epochs = {row.id: row.epoch for row in session.execute(select(Run.id, Run.epoch).where(_sampled(session)))}
    names = select(Summary.run_id).where(
        Summary.run_id.in_(epochs), not_(Summary.name.startswith("test_", autoescape=True))
    )
    points: int = sum(epochs[run_id] for run_id in session.scalars(names))
    steps = select(literal(1)).where(StepMetric.run_id.in_(epochs)).limit(MOST_POINTS).subquery()
    points += _sum(session, select(func.count()).select_from(steps))
    return int(A_POINT * points * runs / max(1, len(epochs)))


def _logs(session: Session, runs: int) -> int:
    """The same of the lines of logs."""
    if dialect(session) == "postgresql":
        return _sum(session, text("SELECT pg_total_relation_size('log_lines')"))
    sample = list(session.scalars(select(Run.id).where(_sampled(session))))
    lines = (
        select(func.length(LogLine.text).label("size")).where(LogLine.run_id.in_(sample)).limit(MOST_POINTS).subquery()
    )
    taken = _sum(session, select(func.sum(lines.c.size + A_LINE)))
    return int(taken * runs / max(1, len(sample)))


def _sampled(session: Session) -> ColumnElement[bool]:
    newest = _sum(session, select(func.max(Run.id)))
    return Run.id.in_(range(newest, 0, -max(1, newest // SAMPLE)))
