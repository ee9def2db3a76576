"""New runs, one or ten thousand at once: their rows, specs, keys and tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import uuid4

from sqlalchemy import Double, Table, select, text, type_coerce
from sqlalchemy.orm import Session

from service.store import spec_keys
from service.store.bulk import dialect, insert_all
from service.store.clock import now
from service.store.tables import Run, Spec, State, Tag

RUNS, SPECS, TAGS = (cast(Table, table.__table__) for table in (Run, Spec, Tag))
NOW = select(type_coerce(now(), Double))
LAST = text("SELECT seq FROM sqlite_sequence WHERE name = 'runs'")
AT_FIRST = {"state": State.QUEUED.value, "epoch": 0, "attempt": 0}
AS_TOLD = (
    "name", "dataset_sha256", "epochs", "max_attempts", "queue", "priority", "note", "cloned_from", "fine_tuned_from",
    "replay_of",
)  # fmt: skip


@dataclass(frozen=True)
class NewRun:
    """What a person submits. `origin`: who, where and with what; the parents are numbers of runs."""

    name: str
    spec: Mapping[str, Any]
    dataset_sha256: str
    epochs: int
    max_attempts: int
    queue: str = "default"
    priority: int = 0
    tags: Sequence[str] = ()
    note: str | None = None
    cloned_from: int | None = None
    fine_tuned_from: int | None = None
    replay_of: int | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    uid: str = field(default_factory=lambda: uuid4().hex)


def add(session: Session, runs: Sequence[NewRun]) -> list[int]:
    """Store them as queued, in this order; returns their numbers."""
    numbers = free_numbers(session, len(runs))
    moment = session.connection().scalar(NOW)
    columns = ("id", *AT_FIRST, "created", "not_before", *AS_TOLD)
    rows = [
        (number, *AT_FIRST.values(), moment, moment, *(getattr(run, name) for name in AS_TOLD))
        for number, run in zip(numbers, runs, strict=True)
    ]
    insert_all(session, RUNS, columns, rows)
    add_details(session, dict(zip(numbers, runs, strict=True)))
    return numbers


def add_details(session: Session, runs: Mapping[int, NewRun]) -> None:
    """What stands in other tables than `runs`."""
    specs = [(number, run.uid, run.spec, run.origin) for number, run in runs.items()]
    insert_all(session, SPECS, ("run_id", "uid", "document", "origin"), specs)
    spec_keys.store(session, {number: run.spec for number, run in runs.items()})
    tags = [(number, tag) for number, run in runs.items() for tag in dict.fromkeys(run.tags)]
    insert_all(session, TAGS, ("run_id", "tag"), tags)


def free_numbers(session: Session, count: int) -> list[int]:
    """Numbers that no run has had. SQLite's writer is alone, so they are still free when the rows are written."""
    if dialect(session) == "postgresql":
        following = text("SELECT nextval(pg_get_serial_sequence('runs', 'id')) FROM generate_series(1, :count)")
        return list(session.scalars(following, {"count": count}))
    last = session.connection().scalar(LAST) or 0
    return list(range(last + 1, last + 1 + count))
