"""What goes on in a yard just now: few statements, each of which reads as many rows as a screen shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Double, SQLColumnExpression, func, literal_column, select, type_coerce
from sqlalchemy.orm import Session

from service.store import history
from service.store.clock import now
from service.store.records import Record, RunRecord, WorkerRecord
from service.store.tables import Attempt, Run, State
from service.store.workers import workers

MOST_RUNNING = 200
MOST_RESTING = 20
MOST_ENDED = 30
MOST_FAILED = 5
MOST_QUEUES = 10
NEXT_OF_A_QUEUE = 10


@dataclass(frozen=True)
class Pace(Record):
    """How fast the attempt that holds a run trains, and for how long it will; None before its first epoch."""

    samples_per_second: float | None = None
    seconds_left: float | None = None


@dataclass(frozen=True)
class Glance(Record):
    moment: datetime
    workers: tuple[WorkerRecord, ...]
    queues: dict[str, tuple[int, float]]  # how many wait, and how many seconds the oldest has
    running_number: int
    paused_number: int
    running: tuple[RunRecord, ...]  # the first of them; so it is with the others
    paces: dict[int, Pace]  # of the running ones
    paused: tuple[RunRecord, ...]
    waiting: tuple[RunRecord, ...]  # those that are next in their queues
    failed: tuple[RunRecord, ...]  # the newest first
    ended: tuple[RunRecord, ...]  # however they did, the last first


def glance(session: Session, lease_seconds: float) -> Glance:
    queues = _queues(session)
    running = _first(session, State.RUNNING, MOST_RUNNING, Run.id)
    paused = _first(session, State.PAUSED, MOST_RESTING, Run.id.desc())
    waiting = [run_id for queue in sorted(queues)[:MOST_QUEUES] for run_id in _next(session, queue)]
    failed = _first(session, State.FAILED, MOST_FAILED, Run.id.desc())
    last = select(Run.id).where(Run.finished.is_not(None)).order_by(Run.finished.desc(), Run.id.desc())
    ended = list(session.scalars(last.limit(MOST_ENDED)))
    ids = dict.fromkeys([*running, *paused, *waiting, *failed, *ended])
    runs = {run.id: run for run in history.some(session, list(ids))}
    return Glance(
        moment=datetime.now(UTC),
        workers=tuple(workers(session, lease_seconds)),
        queues=queues,
        running_number=_number(session, State.RUNNING),
        paused_number=_number(session, State.PAUSED),
        running=tuple(runs[run_id] for run_id in running),
        paces=_paces(session, [runs[run_id] for run_id in running]),
        paused=tuple(runs[run_id] for run_id in paused),
        waiting=tuple(sorted((runs[run_id] for run_id in waiting), key=lambda run: (-run.priority, run.id))),
        failed=tuple(runs[run_id] for run_id in failed),
        ended=tuple(runs[run_id] for run_id in ended),
    )


def _queues(session: Session) -> dict[str, tuple[int, float]]:
    """As `history.waiting`, from the index alone: the run with the lowest number is the oldest."""
    waiting = select(Run.queue, func.count().label("number"), func.min(Run.id).label("first"))
    grouped = waiting.where(_in(State.QUEUED)).group_by(Run.queue).subquery()
    age = type_coerce(now(), Double) - type_coerce(Run.created, Double)
    rows = session.execute(select(grouped.c.queue, grouped.c.number, age).join(Run, Run.id == grouped.c.first))
    return {queue: (number, float(seconds)) for queue, number, seconds in rows}


def _in(state: State) -> ColumnElement[bool]:
    """The state as a literal, so that partial indexes serve."""
    return Run.state == literal_column(f"'{state}'")


def _first(session: Session, state: State, number: int, order: SQLColumnExpression[int]) -> list[int]:
    return list(session.scalars(select(Run.id).where(_in(state)).order_by(order).limit(number)))


def _next(session: Session, queue: str) -> list[int]:
    """The runs of the queue that are claimed next."""
    line = select(Run.id).where(Run.queue == queue, _in(State.QUEUED)).order_by(Run.priority.desc(), Run.id)
    return list(session.scalars(line.limit(NEXT_OF_A_QUEUE)))


def _number(session: Session, state: State) -> int:
    return session.scalar(select(func.count()).select_from(Run).where(_in(state))) or 0


def _paces(session: Session, runs: Sequence[RunRecord]) -> dict[int, Pace]:
    held = select(Attempt).join(Run, (Run.id == Attempt.run_id) & (Run.attempt == Attempt.number))
    attempts = session.scalars(held.where(Run.id.in_([run.id for run in runs])))
    by_run = {attempt.run_id: attempt for attempt in attempts}
    return {run.id: pace(run, by_run[run.id]) for run in runs if run.id in by_run}


def pace(run: RunRecord | Run, attempt: Attempt) -> Pace:
    """By all that the attempt has done so far."""
    if not attempt.seconds or not attempt.epoch:
        return Pace()
    done = attempt.epoch - (attempt.first_epoch or 1) + 1
    left = attempt.seconds / done * max(0, run.epochs - run.epoch) if done > 0 else None
    return Pace(attempt.samples / attempt.seconds, left)
