"""What the yard is about just now: what ended lately, and how fast it trains."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from service.store.records import Record
from service.store.tables import Attempt, Dataset, Run, State


@dataclass(frozen=True)
class Pace(Record):
    """How far the attempt that trains a run has come, and how fast: samples a second of training, seconds left.

    Both are None before the first epoch has ended; `left` does not know of early stopping.
    """

    run_id: int
    rate: float | None
    left: float | None


def ended_since(session: Session, moment: datetime) -> dict[State, int]:
    """How many runs have ended since then, by their state now."""
    query = select(Run.state, func.count()).where(Run.finished >= moment).group_by(Run.state)
    return {State(state): number for state, number in session.execute(query) if State(state).ended}


def paces(session: Session) -> dict[int, Pace]:
    """For each run that trains, its pace."""
    running = Run.state == literal_column(f"'{State.RUNNING}'")
    held = (Attempt.run_id == Run.id) & (Attempt.number == Run.attempt)
    query = select(
        Run.id, Run.epochs, Run.epoch, Attempt.first_epoch, Attempt.epoch, Attempt.samples, Attempt.seconds
    ).join(Attempt, held)
    found = {}
    for run_id, epochs, epoch, first, last, samples, seconds in session.execute(query.where(running)):
        done = 0 if first is None or last is None else last - first + 1
        rate = samples / seconds if seconds else None
        found[run_id] = Pace(run_id, rate, (epochs - epoch) * seconds / done if done and seconds else None)
    return found


def schema_of(session: Session, sha256: str) -> dict[str, object]:
    """The schema of a dataset, without its rows."""
    return session.get_one(Dataset, sha256).schema
