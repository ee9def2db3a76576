"""Every change of a run's state: one function, one guarded statement each.

    submit    ->  queued
    claim     queued  ->  running                  a new attempt, with a lease
    record    running ->  running                  metrics, checkpoint and lease of the attempt that holds the run
    finish    running ->  completed | failed | cancelled
    interrupt running ->  queued | paused | cancelled               the worker was told to stop; the work is saved
    lose      running ->  queued | paused | failed | cancelled      the worker vanished
    cancel    queued | paused -> cancelled; a running run is asked to
    pause     queued  ->  paused; a running run is asked to
    resume    paused  ->  queued; a running run that was asked to pause no longer is
    retry     failed | cancelled -> queued

Whatever ends a run notes that in the same transaction for those who want to be told: `service.store.notices`.

Runs that have ended are removed by `service.store.removal`; one that was asked to go is retried no more.

What is done for every run and every report is asked with statements made once, here, that are given their values when
they run: SQLAlchemy takes ten times as long to make one as SQLite to carry it out. They speak of the tables, not of
objects, for the same reason.

`record`, `finish`, `interrupt` and `lose` are fenced by the attempt's number and raise LeaseLost when it is stale. What
a person may ask (`cancel`, `pause`, `resume`, `retry`) is asked of all runs that fit a condition at once; those in no
state for it are left alone. `only` asks it of one, and raises WrongState.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Table,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from service.errors import InputError, TrainyardError
from service.store import logs, notices, points, removal, submissions
from service.store.clock import after, now
from service.store.logs import Line
from service.store.points import Point, StepPoint
from service.store.submissions import NewRun
from service.store.tables import Attempt, Level, Outcome, Run, Spec, State, Wish, Worker

LONGEST_BACK_OFF = 60.0  # seconds before a run that lost several workers is tried again
SHY_SECONDS = 10.0  # for which a worker that lost a run leaves it to others, where there are any

RUNS, ATTEMPTS, SPECS, WORKERS = (cast(Table, table.__table__) for table in (Run, Attempt, Spec, Worker))
_runs = RUNS.c


class LeaseLost(TrainyardError):
    """This attempt no longer owns its run: another worker claimed it, or it was taken away."""

    def __init__(self, run_id: int, attempt: int) -> None:
        super().__init__(f"run {run_id}: attempt {attempt} lost its lease; what it had not saved is discarded")
        self.run_id, self.attempt = run_id, attempt


class NoSuchRun(InputError):
    def __init__(self, run_id: int | str) -> None:
        super().__init__(f"there is no run {run_id}; `trainyard runs list` shows those there are")


class WrongState(InputError):
    def __init__(self, run_id: int, state: str, verb: str, needed: str) -> None:
        super().__init__(f"run {run_id} is {state}; only a {needed} run can be {verb}")


class BeingRemoved(InputError):
    def __init__(self, run_id: int) -> None:
        super().__init__(f"run {run_id} is being removed; it cannot be trained again")


@dataclass(frozen=True)
class Claim:
    """What a worker needs to begin or go on with a run."""

    run_id: int
    attempt: int
    spec: Mapping[str, Any]
    dataset_sha256: str
    checkpoint_id: int | None
    epoch: int
    previous_checkpoint_id: int | None = None


@dataclass(frozen=True)
class WeightsKept:
    """Where the best and the last weights of a run are, and the hash of the best ones' parameters."""

    weights_id: int
    last_weights_id: int
    weights_sha256: str


@dataclass
class Progress:
    """What an attempt has to report: points and lines of its log since its last report, samples and seconds since it
    began."""

    first_epoch: int = 0
    epoch: int = 0
    points: list[Point] = field(default_factory=list)
    steps: list[StepPoint] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    samples: int = 0
    seconds: float = 0.0
    checkpoint_id: int | None = None


def _in(*states: State) -> ColumnElement[bool]:
    """The states as literals: a bound value would keep both databases from using the partial indexes."""
    return or_(*(_runs.state == literal_column(f"'{state}'") for state in states))


# The fence: an update that finds its row only while this attempt holds the run.
_HELD = update(RUNS).where(
    _runs.id == bindparam("held_run"), _runs.attempt == bindparam("held_attempt"), _in(State.RUNNING)
)
_OWN_ATTEMPT = update(ATTEMPTS).where(
    ATTEMPTS.c.run_id == bindparam("held_run"), ATTEMPTS.c.number == bindparam("held_attempt")
)
_LEASE = after(bindparam("lease_seconds", type_=Double))


def _fence(run_id: int, attempt: int) -> dict[str, Any]:
    """What `_HELD` and `_OWN_ATTEMPT` ask for. Whatever else is given with it under a column's name is written."""
    return {"held_run": run_id, "held_attempt": attempt}


def submit(session: Session, runs: Sequence[NewRun]) -> list[int]:
    """Queue runs and return their numbers. The rows are the outbox: the tickets are sent after the commit."""
    if parents := {begin["run"] for run in runs if (begin := run.spec.get("begin"))}:
        removal.hold(session, parents)
    return submissions.add(session, runs)


def _best_waiting() -> ColumnElement[int]:
    """The worker that lost a run last leaves it to others for a while, if there are any that could take it."""
    others = exists().where(
        WORKERS.c.name != bindparam("claimer"), WORKERS.c.state == "ready", WORKERS.c.wish.is_(None),
        WORKERS.c.set_aside.is_(None), WORKERS.c.last_seen > after(-bindparam("lease_seconds", type_=Double)),
    )  # fmt: skip
    mine = and_(_runs.lost_by == bindparam("claimer"), _runs.not_before > after(-SHY_SECONDS), others)
    fit = (_runs.queue == bindparam("claimed_queue"), _in(State.QUEUED), _runs.not_before <= now())
    return (
        select(_runs.id)
        .where(*fit, not_(func.coalesce(mine, False)))
        .order_by(_runs.priority.desc(), _runs.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=RUNS)  # PostgreSQL; SQLite has one writer at a time anyway
        .scalar_subquery()
    )


_TAKES_NOTHING = exists().where(
    WORKERS.c.name == bindparam("claimer"), or_(WORKERS.c.wish.is_not(None), WORKERS.c.set_aside.is_not(None))
)
_CLAIM = (
    update(RUNS)
    .where(_runs.id == _best_waiting(), _in(State.QUEUED), not_(_TAKES_NOTHING))
    .values(
        state=State.RUNNING,
        attempt=_runs.attempt + 1,
        worker=bindparam("claimer"),
        lease_until=_LEASE,
        started=func.coalesce(_runs.started, now()),
        error=None,
    )
    .returning(
        _runs.id, _runs.attempt, _runs.dataset_sha256, _runs.checkpoint_id, _runs.epoch, _runs.previous_checkpoint_id
    )
)
_BEGIN = insert(ATTEMPTS)
_SPEC = select(SPECS.c.document).where(SPECS.c.run_id == bindparam("run_id"))


def claim(
    session: Session, queue: str, worker: str, pid: int, lease_seconds: float, environment: Mapping[str, Any]
) -> Claim | None:
    """Take the best queued run of the queue: priority, then age.

    None: there is none, or others were first, or the worker shall take nothing (it ends, or was set aside).
    """
    connection = session.connection()
    asked = {"claimed_queue": queue, "claimer": worker, "lease_seconds": lease_seconds}
    row = connection.execute(_CLAIM, asked).one_or_none()
    if row is None:
        return None
    attempt = {"run_id": row.id, "number": row.attempt, "worker": worker, "pid": pid, "environment": dict(environment)}
    connection.execute(_BEGIN, attempt)
    spec = connection.scalars(_SPEC, {"run_id": row.id}).one()
    return Claim(
        row.id, row.attempt, spec, row.dataset_sha256, row.checkpoint_id, row.epoch, row.previous_checkpoint_id
    )


def equip(session: Session, claim: Claim, environment: Mapping[str, Any]) -> None:
    """What an attempt that was just claimed runs on, where that depends on its spec."""
    own = _fence(claim.run_id, claim.attempt)
    session.connection().execute(_OWN_ATTEMPT, {**own, "environment": dict(environment)})


_NEWEST = bindparam("newest_epoch", type_=Integer)
_REPORT = _HELD.values(lease_until=_LEASE, epoch=case((_runs.epoch < _NEWEST, _NEWEST), else_=_runs.epoch)).returning(
    _runs.wish
)
_NEW = bindparam("new_checkpoint", type_=_runs.checkpoint_id.type)
_SAVE = _REPORT.values(
    checkpoint_id=_NEW,
    previous_checkpoint_id=case((_runs.checkpoint_id == _NEW, _runs.previous_checkpoint_id), else_=_runs.checkpoint_id),
)
_REPORT_ATTEMPT = _OWN_ATTEMPT.values(
    first_epoch=func.coalesce(ATTEMPTS.c.first_epoch, bindparam("began_with", type_=Integer))
)


def record(session: Session, run_id: int, attempt: int, progress: Progress, lease_seconds: float) -> Wish | None:
    """Store what the attempt reports and renew its lease; returns what a person wants of the run.

    Safe to repeat after a commit whose answer was lost: a point or a line that is there already stays as it is.
    """
    connection, held = session.connection(), _fence(run_id, attempt)
    told = {**held, "lease_seconds": lease_seconds, "newest_epoch": progress.epoch}
    if progress.checkpoint_id is not None:
        row = connection.execute(_SAVE, {**told, "new_checkpoint": progress.checkpoint_id}).one_or_none()
    else:
        row = connection.execute(_REPORT, told).one_or_none()
    if row is None:
        raise LeaseLost(run_id, attempt)
    points.store(session, run_id, progress.points)
    points.store_steps(session, run_id, progress.steps)
    logs.store(session, run_id, attempt, progress.lines)
    if progress.epoch:
        done = {"epoch": progress.epoch, "samples": progress.samples, "seconds": progress.seconds}
        connection.execute(_REPORT_ATTEMPT, {**held, **done, "began_with": progress.first_epoch})
    return Wish(row.wish) if row.wish else None


_FALL_BACK = _HELD.values(checkpoint_id=_runs.previous_checkpoint_id, previous_checkpoint_id=None).returning(
    _runs.checkpoint_id
)


def fall_back(session: Session, run_id: int, attempt: int) -> int | None:
    """Give up the run's checkpoint, which is of no use, for the one before it; returns that, or None."""
    row = session.connection().execute(_FALL_BACK, _fence(run_id, attempt)).one_or_none()
    if row is None:
        raise LeaseLost(run_id, attempt)
    return row.checkpoint_id  # type: ignore[no-any-return]


_GIVEN_UP = select(_runs.checkpoint_id, _runs.previous_checkpoint_id).where(_runs.id == bindparam("run_id"))
_END = _HELD.values(finished=now(), lease_until=None, wish=None, previous_checkpoint_id=None).returning(_runs.id)


def finish(
    session: Session,
    run_id: int,
    attempt: int,
    outcome: Outcome,
    *,
    error: str | None = None,
    reason: str | None = None,
    weights: WeightsKept | None = None,
    lines: Sequence[Line] = (),
) -> list[int]:
    """End the run as completed, failed or cancelled, and point at the weights that it leaves; returns the blobs that
    it points at no more, for the caller to remove.

    `reason` is told of the attempt alone: why a completed run ended before its last epoch. `lines`: the last of its
    log.
    """
    connection, held = session.connection(), _fence(run_id, attempt)
    before = connection.execute(_GIVEN_UP, {"run_id": run_id}).one_or_none()
    values: dict[str, Any] = {"state": outcome.value, "error": error, **(asdict(weights) if weights else {})}
    completed = outcome is Outcome.COMPLETED
    if completed:
        values["checkpoint_id"] = None  # the weights stay; the optimizer's state is of no more use
    if connection.scalar(_END, {**held, **values}) is not None:
        _end_attempt(session, run_id, attempt, outcome, error or reason)
        logs.store(session, run_id, attempt, lines)
        notices.add(session, [run_id])
        given_up = before or () if completed else (before or ())[1:]
        return [blob_id for blob_id in given_up if blob_id is not None]
    if not _ended_so(session, run_id, attempt, outcome):
        raise LeaseLost(run_id, attempt)
    return []


def _ended_so(session: Session, run_id: int, attempt: int, *outcomes: Outcome) -> bool:
    """Whether this very statement succeeded before, and only the answer to its commit was lost."""
    found = session.get(Attempt, (run_id, attempt))
    return found is not None and found.outcome in outcomes


def interrupt(session: Session, run_id: int, attempt: int, reason: str, lines: Sequence[Line] = ()) -> State:
    """Give the run back to its queue, or put it to rest if a person wants it paused; the work is saved.

    It costs the run none of its attempts, for nothing went wrong.
    """
    changes = {"max_attempts": Run.max_attempts + 1, "not_before": now()}
    return _give_back(session, run_id, attempt, Outcome.INTERRUPTED, reason, changes, lines=lines)


def lose(session: Session, run_id: int, attempt: int, reason: str, exit_signal: str | None = None) -> State:
    """Give back the run of a worker that vanished: at once the first time, then after ever longer pauses."""
    before = select(func.count()).where(Attempt.run_id == run_id, Attempt.outcome == Outcome.LOST)
    pause = min(LONGEST_BACK_OFF, 2.0 ** min(session.scalar(before) or 0, 10) - 1)
    changes = {"not_before": after(pause), "lost_by": Run.worker}
    return _give_back(session, run_id, attempt, Outcome.LOST, reason, changes, exit_signal=exit_signal)


def _give_back(
    session: Session,
    run_id: int,
    attempt: int,
    outcome: Outcome,
    reason: str,
    changes: Mapping[str, Any],
    *,
    exit_signal: str | None = None,
    lines: Sequence[Line] = (),
) -> State:
    cancelled, paused = _runs.wish == Wish.CANCEL, _runs.wish == Wish.PAUSE
    spent = _runs.attempt >= changes.get("max_attempts", _runs.max_attempts)
    ended = or_(func.coalesce(cancelled, False), and_(spent, not_(func.coalesce(paused, False))))
    last = f"attempt {attempt} was the last one allowed, and it was {outcome}: {reason}"
    values = {
        "state": case((cancelled, State.CANCELLED), (paused, State.PAUSED), (spent, State.FAILED), else_=State.QUEUED),
        "error": case((or_(cancelled, paused), None), (spent, last)),
        "wish": None,
        "lease_until": None,
        "worker": case((ended, _runs.worker), else_=None),
        "finished": case((ended, type_coerce(now(), Double)), else_=None),
        **changes,
    }
    found = session.connection().scalar(_HELD.values(values).returning(_runs.state), _fence(run_id, attempt))
    if found is not None:
        if outcome is Outcome.INTERRUPTED and found == State.PAUSED:
            outcome = Outcome.PAUSED
        _end_attempt(session, run_id, attempt, outcome, reason, exit_signal)
        logs.store(session, run_id, attempt, lines)
        if outcome is Outcome.LOST:
            logs.add(session, run_id, attempt, f"lost: {reason}; the run is {found}", Level.WARNING)
        notices.add(session, [run_id])
    elif _ended_so(session, run_id, attempt, outcome, *([Outcome.PAUSED] if outcome is Outcome.INTERRUPTED else [])):
        found = _state(session, run_id)
    else:
        raise LeaseLost(run_id, attempt)
    return State(found)


_END_ATTEMPT = _OWN_ATTEMPT.values(finished=now())


def _end_attempt(
    session: Session, run_id: int, attempt: int, outcome: Outcome, reason: str | None, exit_signal: str | None = None
) -> None:
    ended = {"outcome": outcome, "reason": reason, "exit_signal": exit_signal}
    session.connection().execute(_END_ATTEMPT, {**_fence(run_id, attempt), **ended})


def expired(session: Session) -> list[tuple[int, int, str]]:
    """Run, attempt and worker of every lease that has run out by the database's clock."""
    rows = session.execute(
        select(_runs.id, _runs.attempt, _runs.worker)
        .where(_in(State.RUNNING), _runs.lease_until < now())
        .order_by(_runs.id)
    )
    return [(run_id, attempt, worker or "?") for run_id, attempt, worker in rows]


def lose_expired(session: Session, run_id: int, attempt: int, reason: str) -> State | None:
    """`lose`, if the lease is still expired now that the statement runs; None when its worker was faster."""
    held = (Run.id == run_id, Run.attempt == attempt, _in(State.RUNNING))
    guard = select(Run.id).where(*held, Run.lease_until < now()).with_for_update()
    if session.scalar(guard) is None:
        return None
    return lose(session, run_id, attempt, reason)


# What a person asks


def cancel(session: Session, which: ColumnElement[bool]) -> dict[int, State]:
    """Cancel the runs that wait or rest; ask the running ones to stop. Returns the states they are in afterwards."""
    waiting = _in(State.QUEUED, State.PAUSED)
    changes = {
        "state": case((waiting, State.CANCELLED), else_=Run.state),
        "finished": case((waiting, type_coerce(now(), Double)), else_=None),
        "wish": case((waiting, None), else_=Wish.CANCEL),
    }
    asked = _ask(session, which, (State.QUEUED, State.PAUSED, State.RUNNING), changes)
    notices.add(session, sorted(asked))
    return asked


def pause(session: Session, which: ColumnElement[bool]) -> dict[int, State]:
    """Put the runs that wait to rest; ask the running ones to save and stop. Returns the states they are in then."""
    changes = {
        "state": case((_in(State.QUEUED), State.PAUSED), else_=Run.state),
        "wish": case((_in(State.QUEUED), None), else_=Wish.PAUSE),
    }
    not_cancelled = func.coalesce(Run.wish != Wish.CANCEL, True)
    return _ask(session, which & not_cancelled, (State.QUEUED, State.RUNNING), changes)


def resume(session: Session, which: ColumnElement[bool]) -> dict[int, State]:
    """Queue paused runs again; let those train on that were asked to pause and have not done so yet."""
    rests = _in(State.PAUSED)
    changes = {
        "state": case((rests, State.QUEUED), else_=Run.state),
        "not_before": case((rests, type_coerce(now(), Double)), else_=Run.not_before),
        "wish": None,
    }
    return _ask(session, which & or_(rests, Run.wish == Wish.PAUSE), (State.PAUSED, State.RUNNING), changes)


def retry(session: Session, which: ColumnElement[bool]) -> dict[int, State]:
    """Queue failed and cancelled runs again; they go on from their last checkpoint, with their attempts renewed, and
    start over where there is none."""
    again = select(Spec.document["max_attempts"].as_integer()).where(Spec.run_id == Run.id).scalar_subquery()
    changes = {
        "state": State.QUEUED, "wish": None, "error": None, "finished": None, "worker": None, "lost_by": None,
        "not_before": now(), "max_attempts": Run.attempt + again,
        "epoch": case((Run.checkpoint_id.is_(None), 0), else_=Run.epoch),
    }  # fmt: skip
    return _ask(session, which & Run.wish.is_(None), (State.FAILED, State.CANCELLED), changes)


def _ask(
    session: Session, which: ColumnElement[bool], states: Sequence[State], changes: Mapping[str, Any]
) -> dict[int, State]:
    statement = (
        update(Run)
        .where(which, _in(*states))
        .values(changes)
        .returning(Run.id, Run.state)
        .execution_options(synchronize_session=False)
    )
    return {run_id: State(state) for run_id, state in session.execute(statement)}


_WORDS: dict[Any, tuple[str, str]] = {
    cancel: ("cancelled", "queued, paused or running"),
    pause: ("paused", "queued or running"),
    resume: ("resumed", "paused"),
    retry: ("retried", "failed or cancelled"),
}


def only(session: Session, run_id: int, ask: Callable[[Session, ColumnElement[bool]], dict[int, State]]) -> State:
    """Ask it of this one run. Raises NoSuchRun, and WrongState when it is in no state for it."""
    found = ask(session, Run.id == run_id)
    if not found:
        state = _state(session, run_id)
        if session.scalar(select(Run.wish).where(Run.id == run_id)) == Wish.REMOVE:
            raise BeingRemoved(run_id)
        raise WrongState(run_id, state, *_WORDS[ask])
    return found[run_id]


def _state(session: Session, run_id: int) -> str:
    state = session.scalar(select(Run.state).where(Run.id == run_id))
    if state is None:
        raise NoSuchRun(run_id)
    return state
