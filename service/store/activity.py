"""What the yard is about just now: what ended lately, and how fast it trains."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, literal_column, select
from sqlalchemy.orm import Session

from service.store.glance import Pace, pace
from service.store.tables import Attempt, Dataset, Run, State


def ended_since(session: Session, moment: datetime) -> dict[State, int]:
    """How many runs have ended since then, by their state now."""
    state = Run.state.concat("")  # grouped by the column itself, SQLite would walk over all runs in its order
    query = select(state, func.count()).where(Run.finished >= moment).group_by(state)
    return {State(state): number for state, number in session.execute(query) if State(state).ended}


def paces(session: Session) -> dict[int, Pace]:
    """For each run that trains, its pace."""
    running = Run.state == literal_column(f"'{State.RUNNING}'")
    held = (Attempt.run_id == Run.id) & (Attempt.number == Run.attempt)
    rows = session.execute(select(Run, Attempt).join(Attempt, held).where(running))
    return {run.id: pace(run, attempt) for run, attempt in rows}


def schema_of(session: Session, sha256: str) -> dict[str, object]:
    """The schema of a dataset, without its rows."""
    return session.get_one(Dataset, sha256).schema
