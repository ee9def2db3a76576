"""Every change of a run's state: one function, one guarded statement each.

    submit    ->  queued
    claim     queued  ->  running                  a new attempt, with a lease
    record    running ->  running                  metrics, checkpoint and lease of the attempt that holds the run
    finish    running ->  completed | failed | cancelled
    interrupt running ->  queued | cancelled       the worker was told to stop; the work is saved
    lose      running ->  queued | failed | cancelled      the worker vanished
    cancel    queued  ->  cancelled; a running run is asked to
    retry     failed | cancelled -> queued

`record`, `finish`, `interrupt` and `lose` are fenced by the attempt's number and raise LeaseLost when it is stale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Table,
    Update,
    case,
    func,
    insert,
    literal_column,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from service.errors import InputError, TrainyardError
from service.store.clock import after, now
from service.store.tables import Attempt, Metric, Outcome, Run, State, Summary, Tag

METRICS, SUMMARIES = cast(Table, Metric.__table__), cast(Table, Summary.__table__)  # rows in bulk need no objects
LONGEST_BACK_OFF = 60.0  # seconds before a run that lost several workers is tried again


class LeaseLost(TrainyardError):
    """This attempt no longer owns its run: another worker claimed it, or it was taken away."""

    def __init__(self, run_id: int, attempt: int) -> None:
        super().__init__(f"run {run_id}: attempt {attempt} lost its lease; what it had not saved is discarded")
        self.run_id, self.attempt = run_id, attempt


class NoSuchRun(InputError):
    def __init__(self, run_id: int) -> None:
        super().__init__(f"there is no run {run_id}; `trainyard runs list` shows those there are")


class WrongState(InputError):
    def __init__(self, run_id: int, state: str, verb: str, needed: str) -> None:
        super().__init__(f"run {run_id} is {state}; only a {needed} run can be {verb}")


@dataclass(frozen=True)
class Claim:
    """What a worker needs to begin or go on with a run."""

    run_id: int
    attempt: int
    spec: Mapping[str, Any]
    dataset_sha256: str
    checkpoint_id: int | None
    epoch: int


@dataclass(frozen=True)
class Point:
    """One value of a metric; `higher_is_better` decides which one counts as best."""

    name: str
    epoch: int
    value: float
    higher_is_better: bool


@dataclass(frozen=True)
class WeightsKept:
    """Where the best and the last weights of a run are, and the hash of the best ones' parameters."""

    weights_id: int
    last_weights_id: int
    weights_sha256: str


@dataclass
class Progress:
    """What an attempt has to report: points since its last report, samples and seconds since it began."""

    first_epoch: int = 0
    epoch: int = 0
    points: list[Point] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0
    checkpoint_id: int | None = None


def _in(state: State) -> ColumnElement[bool]:
    """The state as a literal: a bound value would keep both databases from using the partial indexes."""
    return Run.state == literal_column(f"'{state}'")


def submit(
    session: Session,
    *,
    name: str,
    spec: Mapping[str, Any],
    dataset_sha256: str,
    epochs: int,
    max_attempts: int,
    queue: str = "default",
    priority: int = 0,
    tags: Sequence[str] = (),
) -> int:
    """Queue a run and return its number. The row is the outbox: the ticket is sent after the commit."""
    run = Run(
        name=name, spec=dict(spec), dataset_sha256=dataset_sha256, epochs=epochs,
        max_attempts=max_attempts, queue=queue, priority=priority,
    )  # fmt: skip
    session.add(run)
    session.flush()
    session.add_all(Tag(run_id=run.id, tag=tag) for tag in dict.fromkeys(tags))
    return run.id


def claim(
    session: Session, queue: str, worker: str, pid: int, lease_seconds: float, environment: Mapping[str, Any]
) -> Claim | None:
    """Take the best queued run of the queue: priority, then age. None: there is none, or others were first."""
    row = session.execute(
        update(Run)
        .where(Run.id == _best_waiting(queue).scalar_subquery(), _in(State.QUEUED))
        .values(
            state=State.RUNNING,
            attempt=Run.attempt + 1,
            worker=worker,
            lease_until=after(lease_seconds),
            started=func.coalesce(Run.started, now()),
            error=None,
        )
        .returning(Run.id, Run.attempt, Run.spec, Run.dataset_sha256, Run.checkpoint_id, Run.epoch)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    attempt = {"run_id": row.id, "number": row.attempt, "worker": worker, "pid": pid, "environment": dict(environment)}
    session.execute(insert(Attempt).values(attempt))
    return Claim(*row)


def _best_waiting(queue: str) -> Select[int]:
    return (
        select(Run.id)
        .where(Run.queue == queue, _in(State.QUEUED), Run.not_before <= now())
        .order_by(Run.priority.desc(), Run.id)
        .limit(1)
        .with_for_update(skip_locked=True)  # PostgreSQL; SQLite has one writer at a time anyway
    )


def record(session: Session, run_id: int, attempt: int, progress: Progress, lease_seconds: float) -> bool:
    """Store what the attempt reports and renew its lease; returns whether a person wants the run cancelled.

    Safe to repeat after a commit whose answer was lost: a point that is there already stays as it is.
    """
    values: dict[str, Any] = {"lease_until": after(lease_seconds)}
    if progress.epoch:
        values["epoch"] = case((Run.epoch < progress.epoch, progress.epoch), else_=Run.epoch)
    if progress.checkpoint_id is not None:
        values["checkpoint_id"] = progress.checkpoint_id
    cancel_requested = session.scalar(_held(run_id, attempt).values(values).returning(Run.cancel_requested))
    if cancel_requested is None:
        raise LeaseLost(run_id, attempt)
    _store_points(session, run_id, progress.points)
    if progress.epoch:
        _update_attempt(session, run_id, attempt, progress)
    return bool(cancel_requested)


def _held(run_id: int, attempt: int) -> Update:
    """The fence: an update that finds its row only while this attempt holds the run."""
    return (
        update(Run)
        .where(Run.id == run_id, Run.attempt == attempt, _in(State.RUNNING))
        .execution_options(synchronize_session=False)
    )


def _update_attempt(session: Session, run_id: int, attempt: int, progress: Progress) -> None:
    values: dict[str, Any] = {"epoch": progress.epoch, "samples": progress.samples, "seconds": progress.seconds}
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == run_id, Attempt.number == attempt)
        .values(values | {"first_epoch": func.coalesce(Attempt.first_epoch, progress.first_epoch)})
        .execution_options(synchronize_session=False)
    )


def _store_points(session: Session, run_id: int, points: Sequence[Point]) -> None:
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


def finish(
    session: Session,
    run_id: int,
    attempt: int,
    outcome: Outcome,
    *,
    error: str | None = None,
    reason: str | None = None,
    weights: WeightsKept | None = None,
) -> None:
    """End the run as completed, failed or cancelled, and point at the weights that it leaves.

    `reason` is told of the attempt alone: why a completed run ended before its last epoch.
    """
    values: dict[str, Any] = {"state": State(outcome.value), "finished": now(), "lease_until": None, "error": error}
    if outcome is Outcome.COMPLETED:
        values["checkpoint_id"] = None  # the weights stay; the optimizer's state is of no more use
    if weights is not None:
        values |= asdict(weights)
    if session.scalar(_held(run_id, attempt).values(values).returning(Run.id)) is not None:
        _end_attempt(session, run_id, attempt, outcome, error or reason)
    elif not _ended_so(session, run_id, attempt, outcome):
        raise LeaseLost(run_id, attempt)


def _ended_so(session: Session, run_id: int, attempt: int, outcome: Outcome) -> bool:
    """Whether this very statement succeeded before, and only the answer to its commit was lost."""
    found = session.get(Attempt, (run_id, attempt))
    return found is not None and found.outcome == outcome


def interrupt(session: Session, run_id: int, attempt: int, reason: str) -> State:
    """Give the run back to its queue: the worker was told to stop, and the work is saved.

    It costs the run none of its attempts, for nothing went wrong.
    """
    return _give_back(session, run_id, attempt, Outcome.INTERRUPTED, reason, {"max_attempts": Run.max_attempts + 1})


def lose(session: Session, run_id: int, attempt: int, reason: str) -> State:
    """Give back the run of a worker that vanished: at once the first time, then after ever longer pauses."""
    pause = min(LONGEST_BACK_OFF, 2.0 ** min(attempt - 1, 10) - 1)
    return _give_back(session, run_id, attempt, Outcome.LOST, reason, {"not_before": after(pause)})


def _give_back(
    session: Session, run_id: int, attempt: int, outcome: Outcome, reason: str, changes: Mapping[str, Any]
) -> State:
    spent = Run.attempt >= changes.get("max_attempts", Run.max_attempts)
    ended = or_(Run.cancel_requested, spent)
    values = {
        "state": case((Run.cancel_requested, State.CANCELLED), (spent, State.FAILED), else_=State.QUEUED),
        "error": case(
            (Run.cancel_requested, None),
            (spent, f"attempt {attempt} was the last one allowed, and it was {outcome}: {reason}"),
        ),
        "lease_until": None,
        "worker": case((ended, Run.worker), else_=None),
        "finished": case((ended, type_coerce(now(), Double)), else_=None),
        **changes,
    }
    found = session.scalar(_held(run_id, attempt).values(values).returning(Run.state))
    if found is not None:
        _end_attempt(session, run_id, attempt, outcome, reason)
    elif _ended_so(session, run_id, attempt, outcome):
        found = _state(session, run_id)
    else:
        raise LeaseLost(run_id, attempt)
    return State(found)


def _end_attempt(session: Session, run_id: int, attempt: int, outcome: Outcome, reason: str | None) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == run_id, Attempt.number == attempt)
        .values(outcome=outcome, reason=reason, finished=now())
        .execution_options(synchronize_session=False)
    )


def expired(session: Session) -> list[tuple[int, int, str]]:
    """Run, attempt and worker of every lease that has run out by the database's clock."""
    rows = session.execute(
        select(Run.id, Run.attempt, Run.worker).where(_in(State.RUNNING), Run.lease_until < now()).order_by(Run.id)
    )
    return [(run_id, attempt, worker or "?") for run_id, attempt, worker in rows]


def lose_expired(session: Session, run_id: int, attempt: int, reason: str) -> State | None:
    """`lose`, if the lease is still expired now that the statement runs; None when its worker was faster."""
    held = (Run.id == run_id, Run.attempt == attempt, _in(State.RUNNING))
    guard = select(Run.id).where(*held, Run.lease_until < now()).with_for_update()
    if session.scalar(guard) is None:
        return None
    return lose(session, run_id, attempt, reason)


def cancel(session: Session, run_id: int) -> State:
    """Cancel a run that waits; ask a running one to stop. Returns the state it is in afterwards."""
    waiting = or_(_in(State.QUEUED), _in(State.PAUSED))
    statement = (
        update(Run)
        .where(Run.id == run_id, or_(waiting, _in(State.RUNNING)))
        .values(
            state=case((waiting, State.CANCELLED), else_=Run.state),
            finished=case((waiting, type_coerce(now(), Double)), else_=None),
            cancel_requested=True,
        )
        .returning(Run.state)
        .execution_options(synchronize_session=False)
    )
    found = session.scalar(statement)
    if found is None:
        raise WrongState(run_id, _state(session, run_id), "cancelled", "queued or running")
    return State(found)


def retry(session: Session, run_id: int) -> None:
    """Queue a failed or cancelled run again; it goes on from its last checkpoint, with its attempts renewed."""
    statement = (
        update(Run)
        .where(Run.id == run_id, or_(_in(State.FAILED), _in(State.CANCELLED)))
        .values(
            state=State.QUEUED, cancel_requested=False, error=None, finished=None, worker=None,
            not_before=now(), max_attempts=Run.attempt + Run.spec["max_attempts"].as_integer(),
        )
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    if session.scalar(statement) is None:
        raise WrongState(run_id, _state(session, run_id), "retried", "failed or cancelled")


def _state(session: Session, run_id: int) -> str:
    state = session.scalar(select(Run.state).where(Run.id == run_id))
    if state is None:
        raise NoSuchRun(run_id)
    return state
