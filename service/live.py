"""What changes in a yard, for whoever looks at it: one look now and then, shared by all who follow.

A look reads a few hundred rows, however long the history is: it watches the newest runs, those that train, and those
that have just ended or been edited. What else changes, such as an old paused run that is resumed, shows in the numbers
of runs by state, and is told when it trains.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, literal_column, select

from service.following import TOLD_BY
from service.store import history, logs
from service.store.clock import now
from service.store.logs import Place
from service.store.records import RunRecord, WorkerRecord, jsonable
from service.store.tables import Edit, Run, State
from service.store.transitions import NoSuchRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.client import Client

NEWEST = 200  # runs that are watched whatever their state
MOST = 1000  # runs of each other kind; if more have changed, whoever follows has to ask anew
EDITS = 200  # the last ones, of which the same holds
LATE = timedelta(seconds=5)  # for which a transaction may hold back what it says has happened before
AGAIN_SECONDS = 5.0  # after which numbers that only grow old are told again

# Those of a transaction that ends later may have smaller numbers than some that were seen.
LAST_EDITS = select(Edit.id, Edit.run_id).order_by(Edit.id.desc()).limit(EDITS)
_RUNNING = Run.state == literal_column(f"'{State.RUNNING}'")


@dataclass(frozen=True)
class Change:
    """`kind` is run, log, removed, workers, queues or reset; `data` are plain values for JSON."""

    kind: str
    data: dict[str, Any]


@dataclass
class _Seen:
    """What the last look saw."""

    at: datetime | None = None
    edits: frozenset[int] = frozenset()  # the numbers of the last ones
    again: frozenset[int] = frozenset()  # runs to look at once more: the newest, and those that trained
    rows: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    runs: dict[int, RunRecord] = field(default_factory=dict)
    logs: dict[int, Place] = field(default_factory=dict)  # how far the log of each run has got


class Live:
    """Looks at a yard. Not for several threads at once."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen = _Seen()
        self._told: dict[str, tuple[Any, float]] = {}

    def look(self) -> list[Change]:
        """What has changed since the last look; the first one only remembers what there is."""
        try:
            changes = self._runs(self._client.database.read)
        except NoSuchRun:  # removed while we looked (PostgreSQL)
            changes = []
        workers = self._client.workers()
        changes += self._numbers("workers", {"workers": [w.json() for w in workers]}, any(w.live for w in workers))
        queues = queues_of(self._client, workers)
        waiting = any(queue["waiting"] for queue in queues["queues"].values())
        return changes + self._numbers("queues", queues, waiting)

    def _runs(self, read: Callable[[], AbstractContextManager[Session]]) -> list[Change]:
        seen = self._seen
        with read() as session:
            at = session.execute(select(now())).scalar_one()
            edits = {edit: run_id for edit, run_id in session.execute(LAST_EDITS)}  # noqa: C416
            running = _ids(session, _RUNNING)
            ended = [] if seen.at is None else _ids(session, Run.finished >= seen.at - LATE, Run.finished)
            edited = [] if seen.at is None else [edits[edit] for edit in edits.keys() - seen.edits]
            new = [] if seen.at is None else _ids(session, Run.id > max(seen.runs, default=0))
            newest = list(session.scalars(select(Run.id).order_by(Run.id.desc()).limit(NEWEST)))
            watched = {*newest, *running, *ended, *edited, *new, *seen.again}
            rows = {row.id: tuple(row) for row in _rows(session, watched)}
            suspects = [run_id for run_id, row in rows.items() if row != seen.rows.get(run_id) or run_id in edited]
            runs = {run.id: run for run in history.some(session, sorted(suspects))}
            ends = logs.ends(session, suspects)  # a line is written with the lease, which changes the row
        found = {run_id: runs.get(run_id) or seen.runs[run_id] for run_id in rows}
        known = {run_id: place for run_id, place in seen.logs.items() if run_id in rows}
        self._seen = _Seen(at, frozenset(edits), frozenset((*newest, *running)), rows, found, known | ends)
        if seen.at is None:
            return []
        if len(ended) == MOST or len(new) == MOST or len(edited) == EDITS:
            return [Change("reset", {"reason": "more has changed than can be told"})]
        gone = sorted(seen.again - rows.keys())
        changes = [Change("removed", {"id": run_id}) for run_id in gone]
        changes += [Change("run", listed(run)) for run_id, run in runs.items() if run != seen.runs.get(run_id)]
        return changes + [
            Change("log", {"id": run_id, "attempt": attempt, "number": number})
            for run_id, (attempt, number) in ends.items()
            if seen.logs.get(run_id) != (attempt, number)
        ]

    def _numbers(self, kind: str, data: dict[str, Any], ageing: bool) -> list[Change]:
        """Numbers that have changed, or that have only grown older for a while."""
        lasting, (before, at) = _lasting(data), self._told.get(kind, (None, 0.0))
        if lasting == before and not (ageing and time.monotonic() - at > AGAIN_SECONDS):
            return []
        self._told[kind] = lasting, time.monotonic()
        return [] if before is None else [Change(kind, data)]


def _ids(session: Session, which: ColumnElement[bool], by: Any = Run.id) -> list[int]:
    """The last of them in an order that an index has."""
    return list(session.scalars(select(Run.id).where(which).order_by(by.desc()).limit(MOST)))


def _rows(session: Session, run_ids: Iterable[int]) -> Any:
    return session.execute(select(*TOLD_BY).where(Run.id.in_(run_ids)))


def _lasting(data: Any) -> Any:
    """Without what changes by the clock alone."""
    if isinstance(data, dict):
        clocks = ("last_seen", "silent_seconds", "oldest_seconds")
        return {key: _lasting(value) for key, value in data.items() if key not in clocks}
    return [_lasting(value) for value in data] if isinstance(data, list) else data


def listed(run: RunRecord) -> dict[str, Any]:
    """A run as lists have it, without its spec."""
    document = replace(run, spec={}).json()  # a spec is long, and copying it takes longer than all the rest
    del document["spec"]
    return document


def queues_of(client: Client, workers: list[WorkerRecord]) -> dict[str, Any]:
    """Each queue that is served or that something waits in, and how many runs are in each state."""
    waiting = client.waiting()
    served = {queue for worker in workers if worker.live for queue in worker.queues}
    queues = {}
    for name in sorted({"default", *served, *waiting}):
        number, oldest = waiting.get(name, (0, 0.0))
        queues[name] = {"waiting": number, "oldest_seconds": oldest, "served": name in served}
    counts = {str(state): number for state, number in client.counts().items()}
    return {"queues": jsonable(queues), "counts": counts}
