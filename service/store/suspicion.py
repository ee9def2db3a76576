"""Workers that lose what others complete: a bad machine shall not burn the queue.

A worker is set aside when its last ends were all bad, at least `suspect_after` (a setting) of them one after the other,
and at least as many of those runs were completed by other workers since. One power cut that takes four runs at once is
one bad end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Row, and_, case, func, select, update
from sqlalchemy.orm import Session, aliased

from service.errors import InputError
from service.store.clock import now
from service.store.tables import Attempt, Outcome, Run, Worker
from service.wording import did_you_mean

LOOKED_AT = 50  # attempts, the latest
BAD = (Outcome.LOST, Outcome.FAILED)
SAYS_NOTHING = (Outcome.INTERRUPTED, Outcome.PAUSED, Outcome.CANCELLED)


class NotSetAside(InputError):
    def __init__(self, name: str) -> None:
        super().__init__(f"worker '{name}' is not set aside; `trainyard workers list` shows those that are")


class UnknownWorker(InputError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(
            f"there is no worker '{name}'{did_you_mean(name, known)}; "
            "`trainyard workers list --all` shows all there are"
        )


@dataclass(frozen=True)
class Suspect:
    """A worker and the evidence against it, as a sentence."""

    worker: str
    evidence: str


def suspects(session: Session, suspect_after: int) -> list[Suspect]:
    """The workers that are to be set aside, after so many bad ends, and are not yet."""
    names = session.scalars(select(Worker.name).where(Worker.set_aside.is_(None), Worker.state == "ready"))
    found = ((name, _evidence(session, name, suspect_after)) for name in names.all())
    return [Suspect(name, evidence) for name, evidence in found if evidence is not None]


def set_aside(session: Session, worker: str, evidence: str) -> bool:
    """Give the worker no more runs; whether it was not set aside before."""
    return _set(session, worker, Worker.set_aside.is_(None), set_aside=evidence)


def trust(session: Session, worker: str) -> None:
    """Take the worker back; what it lost so far counts no more. Raises NotSetAside, UnknownWorker."""
    if not _set(session, worker, Worker.set_aside.is_not(None), set_aside=None, trusted=now()):
        known = session.scalars(select(Worker.name).order_by(Worker.name)).all()
        raise NotSetAside(worker) if worker in known else UnknownWorker(worker, known)


def _set(session: Session, worker: str, condition: ColumnElement[bool], **values: object) -> bool:
    statement = (
        update(Worker)
        .where(Worker.name == worker, condition)
        .values(**values)
        .returning(Worker.name)
        .execution_options(synchronize_session=False)
    )
    return session.scalar(statement) is not None


def _evidence(session: Session, worker: str, suspect_after: int) -> str | None:
    bad = _one_after_the_other(_bad_ends(session, worker))
    elsewhere = sorted({row.run_id for row in bad if row.elsewhere is not None})
    if len(bad) < suspect_after or len(elsewhere) < suspect_after:
        return None
    latest, others = bad[0], sorted({row.elsewhere for row in bad if row.elsewhere is not None})
    return (
        f"its last {len(bad)} attempts went wrong (run {latest.run_id}: {latest.reason or latest.outcome}), and "
        f"runs {', '.join(map(str, elsewhere[:5]))} were completed by {', '.join(others[:3])}"
    )


def _bad_ends(session: Session, worker: str) -> list[Row[tuple[int, str, str, object, object, str]]]:
    """What ended badly since the worker last completed a run, or was last trusted; the latest first."""
    other = aliased(Attempt)
    completed = (
        select(func.min(other.worker))
        .where(
            other.run_id == Attempt.run_id, other.number > Attempt.number,
            other.worker != worker, other.outcome == Outcome.COMPLETED,
        )
        .scalar_subquery()
    )  # fmt: skip
    trusted = select(func.coalesce(Worker.trusted, 0.0)).where(Worker.name == worker).scalar_subquery()
    telling = and_(Attempt.worker == worker, Attempt.outcome.is_not(None), Attempt.outcome.not_in(SAYS_NOTHING))
    rows = session.execute(
        select(
            Attempt.run_id, Attempt.outcome, Attempt.reason, Attempt.started, Attempt.finished,
            case((Attempt.outcome.in_(BAD), completed)).label("elsewhere"),
        )
        .join(Run, Run.id == Attempt.run_id)
        .where(telling, Attempt.finished > trusted, Run.imported_from.is_(None))  # another yard's may have its name
        .order_by(Attempt.finished.desc())
        .limit(LOOKED_AT)
    ).all()  # fmt: skip
    good = next((i for i, row in enumerate(rows) if row.outcome not in BAD), len(rows))
    return list(rows[:good])


def _one_after_the_other(rows: Sequence[Row]) -> list[Row]:  # type: ignore[type-arg]
    """Those that had ended before the next began: what ended at one blow counts once."""
    chosen: list[Row] = []  # type: ignore[type-arg]
    for row in rows:
        if not chosen or row.finished <= chosen[-1].started:
            chosen.append(row)
    return chosen
