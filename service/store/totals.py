"""What Prometheus is told of the history: sums over all runs, and the attempts that something has just become of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Double, func, literal_column, or_, select, type_coerce
from sqlalchemy.orm import Session

from service.store import history
from service.store.clock import now
from service.store.tables import Attempt, Blob, Dataset, Outcome, Run, State

_RUNNING = Run.state == literal_column(f"'{State.RUNNING}'")  # a literal, so that the partial index serves
_GOES_ON = Run.state.in_([State.QUEUED, State.RUNNING, State.PAUSED])


@dataclass(frozen=True)
class Sums:
    """Of all runs. `waiting`: for each queue how many wait, and for how many seconds the oldest has."""

    runs: dict[State, int]
    waiting: dict[str, tuple[int, float]]
    training: dict[str, int]  # by queue
    expired: int  # leases that have run out, of runs that nobody has taken back yet


def sums(session: Session) -> Sums:
    training = session.execute(select(Run.queue, func.count()).where(_RUNNING).group_by(Run.queue))
    expired = select(func.count()).where(_RUNNING, Run.lease_until < now())
    return Sums(
        runs=history.counts(session),
        waiting=history.waiting(session),
        training={queue: number for queue, number in training},  # noqa: C416 - dict() takes a Result for a mapping
        expired=session.scalar(expired) or 0,
    )


@dataclass(frozen=True)
class AttemptFigures:
    """An attempt and what it has done so far; `outcome` is None while it goes on."""

    run_id: int
    number: int
    outcome: Outcome | None
    epochs: int
    samples: int
    started: float  # seconds since 1970
    finished: float | None


def clock(session: Session) -> float:
    """The database's clock, in seconds since 1970."""
    return float(session.execute(select(type_coerce(now(), Double))).scalar_one())


def attempts(session: Session, since: float) -> Sequence[AttemptFigures]:
    """Every attempt that goes on, or has ended since then (seconds since 1970).

    Its run has ended since then too or has not ended at all, so that the runs' indexes find it and no other is read.
    """
    ended = select(Run.id).where(type_coerce(Run.finished, Double) > since)
    candidates = ended.union_all(select(Run.id).where(_GOES_ON, Run.attempt > 0))
    started, finished = (type_coerce(column, Double) for column in (Attempt.started, Attempt.finished))
    query = select(
        Attempt.run_id, Attempt.number, Attempt.outcome, Attempt.first_epoch, Attempt.epoch, Attempt.samples,
        started, finished,
    ).where(Attempt.run_id.in_(candidates), or_(finished.is_(None), finished > since))  # fmt: skip
    return [
        AttemptFigures(
            run_id, number, None if outcome is None else Outcome(outcome),
            0 if first is None or epoch is None else epoch - first + 1, samples, began, ended_at,
        )
        for run_id, number, outcome, first, epoch, samples, began, ended_at in session.execute(query)
    ]  # fmt: skip


def stored(session: Session) -> tuple[int, int]:
    """How many datasets there are, and how many blobs."""
    datasets, blobs = (session.scalar(select(func.count()).select_from(table)) or 0 for table in (Dataset, Blob))
    return datasets, blobs
