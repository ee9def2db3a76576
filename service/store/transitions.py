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

`record`, `finish`, `interrupt` and `lose` are fenced by the attempt's number and raise LeaseLost when it is stale. What
a person may ask (`cancel`, `pause`, `resume`, `retry`) is asked of all runs that fit a condition at once; those in no
state for it are left alone. `only` asks it of one, and raises WrongState.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Select,
    Update,
    and_,
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
    return or_(*(Run.state == literal_column(f"'{state}'") for state in states))


def submit(session: Session, runs: Sequence[NewRun]) -> list[int]:
    """Queue runs and return their numbers. The rows are the outbox: the tickets are sent after the commit."""
    if parents := {begin["run"] for run in runs if (begin := run.spec.get("begin"))}:
        removal.hold(session, parents)
    return submissions.add(session, runs)


def claim(
    session: Session, queue: str, worker: str, pid: int, lease_seconds: float, environment: Mapping[str, Any]
) -> Claim | None:
    """Take the best queued run of the queue: priority, then age.

    None: there is none, or others were first, or the worker shall take nothing (it ends, or was set aside).
    """
    best = _best_waiting(queue, worker, lease_seconds).scalar_subquery()
    row = session.execute(
        update(Run)
        .where(Run.id == best, _in(State.QUEUED), not_(_takes_nothing(worker)))
        .values(
            state=State.RUNNING,
            attempt=Run.attempt + 1,
            worker=worker,
            lease_until=after(lease_seconds),
            started=func.coalesce(Run.started, now()),
            error=None,
        )
        .returning(Run.id, Run.attempt, Run.dataset_sha256, Run.checkpoint_id, Run.epoch, Run.previous_checkpoint_id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    attempt = {"run_id": row.id, "number": row.attempt, "worker": worker, "pid": pid, "environment": dict(environment)}
    session.execute(insert(Attempt).values(attempt))
    spec = session.scalars(select(Spec.document).where(Spec.run_id == row.id)).one()
    return Claim(
        row.id, row.attempt, spec, row.dataset_sha256, row.checkpoint_id, row.epoch, row.previous_checkpoint_id
    )


def equip(session: Session, claim: Claim, environment: Mapping[str, Any]) -> None:
    """What an attempt that was just claimed runs on, where that depends on its spec."""
    own = (Attempt.run_id == claim.run_id, Attempt.number == claim.attempt)
    session.execute(update(Attempt).where(*own).values(environment=dict(environment)))


def _takes_nothing(worker: str) -> ColumnElement[bool]:
    told = or_(Worker.wish.is_not(None), Worker.set_aside.is_not(None))
    return exists().where(Worker.name == worker, told)


def _best_waiting(queue: str, worker: str, lease_seconds: float) -> Select[int]:
    """The worker that lost a run last leaves it to others for a while, if there are any that could take it."""
    others = exists().where(
        Worker.name != worker, Worker.state == "ready", Worker.wish.is_(None), Worker.set_aside.is_(None),
        Worker.last_seen > after(-lease_seconds),
    )  # fmt: skip
    mine = and_(Run.lost_by == worker, Run.not_before > after(-SHY_SECONDS), others)
    return (
        select(Run.id)
        .where(Run.queue == queue, _in(State.QUEUED), Run.not_before <= now(), not_(func.coalesce(mine, False)))
        .order_by(Run.priority.desc(), Run.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=Run)  # PostgreSQL; SQLite has one writer at a time anyway
    )


def record(session: Session, run_id: int, attempt: int, progress: Progress, lease_seconds: float) -> Wish | None:
    """Store what the attempt reports and renew its lease; returns what a person wants of the run.

    Safe to repeat after a commit whose answer was lost: a point or a line that is there already stays as it is.
    """
    values: dict[str, Any] = {"lease_until": after(lease_seconds)}
    if progress.epoch:
        values["epoch"] = case((Run.epoch < progress.epoch, progress.epoch), else_=Run.epoch)
    if (new := progress.checkpoint_id) is not None:
        again = Run.checkpoint_id == new
        values["checkpoint_id"] = new
        values["previous_checkpoint_id"] = case((again, Run.previous_checkpoint_id), else_=Run.checkpoint_id)
    row = session.execute(_held(run_id, attempt).values(values).returning(Run.wish)).one_or_none()
    if row is None:
        raise LeaseLost(run_id, attempt)
    points.store(session, run_id, progress.points)
    points.store_steps(session, run_id, progress.steps)
    logs.store(session, run_id, attempt, progress.lines)
    if progress.epoch:
        _update_attempt(session, run_id, attempt, progress)
    return Wish(row.wish) if row.wish else None


def fall_back(session: Session, run_id: int, attempt: int) -> int | None:
    """Give up the run's checkpoint, which is of no use, for the one before it; returns that, or None."""
    values = {"checkpoint_id": Run.previous_checkpoint_id, "previous_checkpoint_id": None}
    row = session.execute(_held(run_id, attempt).values(values).returning(Run.checkpoint_id)).one_or_none()
    if row is None:
        raise LeaseLost(run_id, attempt)
    return row.checkpoint_id  # type: ignore[no-any-return]


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
    values: dict[str, Any] = {
        "state": State(outcome.value), "finished": now(), "lease_until": None, "wish": None, "error": error,
        "previous_checkpoint_id": None,
    }  # fmt: skip
    if outcome is Outcome.COMPLETED:
        values["checkpoint_id"] = None  # the weights stay; the optimizer's state is of no more use
    given_up = [getattr(Run, name) for name in ("checkpoint_id", "previous_checkpoint_id") if name in values]
    before = session.execute(select(*given_up).where(Run.id == run_id)).one_or_none()
    if weights is not None:
        values |= asdict(weights)
    if session.scalar(_held(run_id, attempt).values(values).returning(Run.id)) is not None:
        _end_attempt(session, run_id, attempt, outcome, error or reason)
        logs.store(session, run_id, attempt, lines)
        notices.add(session, [run_id])
        return [blob_id for blob_id in before or () if blob_id is not None]
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
    cancelled, paused = Run.wish == Wish.CANCEL, Run.wish == Wish.PAUSE
    spent = Run.attempt >= changes.get("max_attempts", Run.max_attempts)
    ended = or_(func.coalesce(cancelled, False), and_(spent, not_(func.coalesce(paused, False))))
    last = f"attempt {attempt} was the last one allowed, and it was {outcome}: {reason}"
    values = {
        "state": case((cancelled, State.CANCELLED), (paused, State.PAUSED), (spent, State.FAILED), else_=State.QUEUED),
        "error": case((or_(cancelled, paused), None), (spent, last)),
        "wish": None,
        "lease_until": None,
        "worker": case((ended, Run.worker), else_=None),
        "finished": case((ended, type_coerce(now(), Double)), else_=None),
        **changes,
    }
    found = session.scalar(_held(run_id, attempt).values(values).returning(Run.state))
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


def _end_attempt(
    session: Session, run_id: int, attempt: int, outcome: Outcome, reason: str | None, exit_signal: str | None = None
) -> None:
    session.execute(
        update(Attempt)
        .where(Attempt.run_id == run_id, Attempt.number == attempt)
        .values(outcome=outcome, reason=reason, exit_signal=exit_signal, finished=now())
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
    """Queue failed and cancelled runs again; they go on from their last checkpoint, with their attempts renewed."""
    again = select(Spec.document["max_attempts"].as_integer()).where(Spec.run_id == Run.id).scalar_subquery()
    changes = {
        "state": State.QUEUED, "wish": None, "error": None, "finished": None, "worker": None, "lost_by": None,
        "not_before": now(), "max_attempts": Run.attempt + again,
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
