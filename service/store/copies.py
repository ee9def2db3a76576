"""Ended runs with all that the store has of them, read from one yard and added to another, some hundred at once.

The bytes are moved by the caller: weights and datasets are blobs, which `blobs.stage` puts there before a copy points
at them. Checkpoints stay behind: an ended run that is tried again elsewhere begins anew.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import repeat
from typing import Any, TypeAlias, cast

from sqlalchemy import Table, select
from sqlalchemy.orm import Session

from nn import direction
from service.store import submissions
from service.store.bulk import insert_all
from service.store.edits import PARENTS
from service.store.history import MOST_IDS
from service.store.records import AttemptRecord, EditRecord, LogRecord
from service.store.submissions import RUNS, NewRun
from service.store.tables import Attempt, Edit, LogLine, Metric, Run, Spec, State, StepMetric, Summary, Tag

Curves: TypeAlias = Mapping[str, tuple[Sequence[int], Sequence[float]]]  # by metric: its epochs or steps, its values

SUBMITTED = ("name", "queue", "priority", "dataset_sha256", "epochs", "max_attempts", "note", *PARENTS)
BECAME = (
    "epoch", "attempt", "created", "started", "finished", "worker", "error", "weights_sha256", "weights_id",
    "last_weights_id", "imported_from",
)  # fmt: skip
TRIED, EDITED, LOGGED = (tuple(record.__dataclass_fields__) for record in (AttemptRecord, EditRecord, LogRecord))
ATTEMPTS, EDITS, LOG_LINES, METRICS, STEPS, SUMMARIES = (
    cast(Table, table.__table__) for table in (Attempt, Edit, LogLine, Metric, StepMetric, Summary)
)


@dataclass(frozen=True)
class Copy:
    """An ended run. Numbers of runs and of blobs are those of the yard it was read from, or is to be added to."""

    number: int  # a new one is given when it is added
    submitted: NewRun
    state: State
    epoch: int
    attempt: int
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    worker: str | None = None
    error: str | None = None
    weights_sha256: str | None = None
    weights_id: int | None = None
    last_weights_id: int | None = None
    imported_from: str | None = None
    parent_uids: Mapping[str, str] = field(default_factory=dict)  # by the name of the column, where the parent is known
    attempts: Sequence[AttemptRecord] = ()
    edits: Sequence[EditRecord] = ()
    log: Sequence[LogRecord] = ()
    metrics: Curves = field(default_factory=dict)
    steps: Curves = field(default_factory=dict)

    @property
    def uid(self) -> str:
        return self.submitted.uid


def read(session: Session, run_ids: Sequence[int]) -> list[Copy]:
    """The copies of these runs, at most some thousand, in this order; those that have not ended are left out."""
    rows = session.scalars(select(Run).where(Run.id.in_(run_ids))).all()
    ended = {row.id: row for row in rows if State(row.state).ended}
    specs = {spec.run_id: spec for spec in session.scalars(select(Spec).where(Spec.run_id.in_(ended)))}
    uids = _uids(session, {parent for row in ended.values() for parent in _parents(row).values()})
    details = _Details(session, list(ended))
    return [_copy(ended[run_id], specs[run_id], uids, details) for run_id in run_ids if run_id in ended]


def known(session: Session, uids: Iterable[str]) -> dict[str, int]:
    """The numbers of the runs that are here, by their uids."""
    wanted = sorted(set(uids))
    found: dict[str, int] = {}
    for start in range(0, len(wanted), MOST_IDS):
        rows = session.execute(select(Spec.uid, Spec.run_id).where(Spec.uid.in_(wanted[start : start + MOST_IDS])))
        found |= {uid: number for uid, number in rows}  # noqa: C416 - dict() takes a Result for a mapping
    return found


def add(session: Session, copies: Sequence[Copy]) -> list[int]:
    """Store runs that are not here yet under new numbers, which are returned in this order.

    Their datasets are here. A parent that is here, or among them, is known by its uid; another one is left out.
    Summaries are made from the metrics.
    """
    numbers = submissions.free_numbers(session, len(copies))
    here = known(session, (uid for copy in copies for uid in copy.parent_uids.values()))
    here |= {copy.uid: number for copy, number in zip(copies, numbers, strict=True)}
    by_number = dict(zip(numbers, copies, strict=True))
    runs = {number: _at_home(copy, here) for number, copy in by_number.items()}
    rows = [
        (number, copy.state.value, copy.created, *_values(runs[number], SUBMITTED), *_values(copy, BECAME))
        for number, copy in by_number.items()
    ]
    insert_all(session, RUNS, ("id", "state", "not_before", *SUBMITTED, *BECAME), rows)
    submissions.add_details(session, runs)
    for table, columns, make in _TABLES:
        insert_all(session, table, ("run_id", *columns), [row for item in by_number.items() for row in make(*item)])
    return numbers


def _values(record: Any, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(record, name) for name in names)


def _at_home(copy: Copy, here: Mapping[str, int]) -> NewRun:
    """The run as it is submitted here: with the numbers that its parents have here, in its spec as well."""
    parents = {name: here.get(copy.parent_uids.get(name, "")) for name in PARENTS}
    run = replace(copy.submitted, **cast(dict[str, Any], parents))
    begin, there = run.spec.get("begin"), copy.submitted.fine_tuned_from
    if run.fine_tuned_from is None or not begin or begin["run"] != there:  # else a person has changed the parent
        return run
    return replace(run, spec={**run.spec, "begin": {**begin, "run": run.fine_tuned_from}})


def _attempts(number: int, copy: Copy) -> Iterator[tuple[Any, ...]]:
    return ((number, *_values(attempt, TRIED)) for attempt in copy.attempts)


def _edits(number: int, copy: Copy) -> Iterator[tuple[Any, ...]]:
    return ((number, *_values(edit, EDITED)) for edit in copy.edits)


def _log(number: int, copy: Copy) -> Iterator[tuple[Any, ...]]:
    return ((number, *_values(line, LOGGED)) for line in copy.log)


def _points(number: int, curves: Curves) -> Iterator[tuple[Any, ...]]:
    """In the order of the tables' keys: then each row goes to the end."""
    for name in sorted(curves):
        yield from zip(repeat(number), repeat(name), *curves[name])


def _summaries(number: int, copy: Copy) -> Iterator[tuple[Any, ...]]:
    for name, (epochs, values) in sorted(copy.metrics.items()):
        if len(epochs):
            at = _best(values, higher=direction(name) == "higher")
            yield number, name, values[-1], epochs[-1], values[at], epochs[at]


def _best(values: Sequence[float], *, higher: bool) -> int:
    """Where the best value stands: the first of equals; NaN is the best only where nothing else is."""
    if math.isnan(sum(values)):
        worst = -math.inf if higher else math.inf
        values = [worst if math.isnan(value) else value for value in values]
    return values.index(max(values) if higher else min(values))


_TABLES: Any = (
    (ATTEMPTS, TRIED, _attempts),
    (EDITS, EDITED, _edits),
    (LOG_LINES, LOGGED, _log),
    (METRICS, ("name", "epoch", "value"), lambda number, copy: _points(number, copy.metrics)),
    (STEPS, ("name", "step", "value"), lambda number, copy: _points(number, copy.steps)),
    (SUMMARIES, ("name", "last", "last_epoch", "best", "best_epoch"), _summaries),
)


class _Details:
    """What other tables say of some runs, each asked once."""

    def __init__(self, session: Session, ids: Sequence[int]) -> None:
        self.tags: dict[int, list[str]] = defaultdict(list)
        for number, tag in session.execute(select(Tag.run_id, Tag.tag).where(Tag.run_id.in_(ids)).order_by(Tag.tag)):
            self.tags[number].append(tag)
        self.attempts: dict[int, list[AttemptRecord]] = defaultdict(list)
        for row in _rows(session, Attempt, TRIED, ids, Attempt.number):
            self.attempts[row[0]].append(AttemptRecord(*row[1:]))
        self.edits: dict[int, list[EditRecord]] = defaultdict(list)
        for row in _rows(session, Edit, EDITED, ids, Edit.id):
            self.edits[row[0]].append(EditRecord(*row[1:]))
        self.log: dict[int, list[LogRecord]] = defaultdict(list)
        for row in _rows(session, LogLine, LOGGED, ids, LogLine.attempt, LogLine.number):
            self.log[row[0]].append(LogRecord(*row[1:]))
        self.metrics = _curves(_rows(session, Metric, ("name", "epoch", "value"), ids, Metric.name, Metric.epoch))
        steps = _rows(session, StepMetric, ("name", "step", "value"), ids, StepMetric.name, StepMetric.step)
        self.steps = _curves(steps)


def _rows(session: Session, table: Any, columns: Sequence[str], ids: Sequence[int], *order: Any) -> Iterable[Any]:
    asked = (getattr(table, name) for name in columns)
    query = select(table.run_id, *asked).where(table.run_id.in_(ids)).order_by(table.run_id, *order)
    return session.execute(query.execution_options(yield_per=10_000))


def _curves(rows: Iterable[Any]) -> dict[int, dict[str, tuple[list[int], list[float]]]]:
    found: dict[int, dict[str, tuple[list[int], list[float]]]] = defaultdict(dict)
    for number, name, at, value in rows:
        places, values = found[number].setdefault(name, ([], []))
        places.append(at)
        values.append(value)
    return found


def _parents(row: Run) -> dict[str, int]:
    return {name: getattr(row, name) for name in PARENTS if getattr(row, name) is not None}


def _uids(session: Session, numbers: Iterable[int]) -> dict[int, str]:
    rows = session.execute(select(Spec.run_id, Spec.uid).where(Spec.run_id.in_(numbers)))
    return {number: uid for number, uid in rows}  # noqa: C416 - dict() takes a Result for a mapping


def _copy(row: Run, spec: Spec, uids: Mapping[int, str], details: _Details) -> Copy:
    submitted = NewRun(
        **{name: getattr(row, name) for name in SUBMITTED},
        spec=spec.document, origin=spec.origin, uid=spec.uid, tags=tuple(details.tags[row.id]),
    )  # fmt: skip
    return Copy(
        number=row.id,
        submitted=submitted,
        state=State(row.state),
        **{name: getattr(row, name) for name in BECAME},
        parent_uids={name: uids[number] for name, number in _parents(row).items() if number in uids},
        attempts=tuple(details.attempts[row.id]),
        edits=tuple(details.edits[row.id]),
        log=tuple(details.log[row.id]),
        metrics=details.metrics[row.id],
        steps=details.steps[row.id],
    )
