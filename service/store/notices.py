"""The outbox of notifications: a row for each end of a run and each subscriber that wants to hear of it.

    announce   a supervisor says which subscribers (webhook, command) it serves, and which ends are to be told there
    add        in the transaction in which runs end: a row for each subscriber; nothing where nobody has announced one
    claim      the next row that is due, for as long as a delivery may take; another supervisor cannot take it meanwhile
    delivered  the row goes
    failed     it is due again later, with what went wrong
    tidy       after a day it is given up, and told so for a week; subscribers that nobody serves any more are forgotten

A claim is fenced by the number of tries. Whoever dies between sending and `delivered` leaves a row that is due again
after its claim: it is sent once more, with the same delivery id.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Select, Table, delete, func, insert, literal, literal_column, select, update
from sqlalchemy.orm import Session

from service.store.bulk import dialect, upsert
from service.store.clock import after, now
from service.store.tables import Notice, Run, Spec, State, Subscriber

DAY = 86_400.0
KEPT = 7 * DAY  # seconds for which it is told what was given up
MANY = 1000  # runs in one statement
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # seconds before the next try


@dataclass(frozen=True)
class Claimed:
    """A notification to be delivered now."""

    id: int
    uid: str  # the delivery's, the same at every try
    subscriber: str
    run_id: int
    event: State
    at: datetime
    attempt: int
    worker: str | None
    error: str | None
    tries: int


@dataclass(frozen=True)
class Undelivered:
    """What waits for a subscriber, and what was given up within the last week."""

    subscriber: str
    waiting: int
    given_up: int
    last_error: str | None

    @property
    def sentence(self) -> str:
        given_up = f", {self.given_up} given up after a day" if self.given_up else ""
        last = f"; last: {self.last_error}" if self.last_error else ""
        return f"notifications by {self.subscriber}: {self.waiting} waiting{given_up}{last}"


def announce(session: Session, subscribers: Collection[str], events: Collection[State]) -> None:
    """Say that these subscribers are served, and for which ends of runs."""
    for subscriber in sorted(subscribers):
        session.execute(delete(Subscriber).where(Subscriber.name == subscriber, Subscriber.event.not_in(events)))
        for event in sorted(events):
            row, again = {"name": subscriber, "event": event.value, "last_seen": now()}, {"last_seen": now()}
            announced = upsert(dialect(session), Subscriber).values(row)
            session.execute(announced.on_conflict_do_update(index_elements=["name", "event"], set_=again))


_ANYBODY = select(cast(Table, Subscriber.__table__).c.name).limit(literal_column("1"))  # made once: asked at every end


def add(session: Session, run_ids: Sequence[int]) -> None:
    """Note of these runs those that have ended, as they stand now, for whoever wants to be told."""
    if session.connection().scalar(_ANYBODY) is None:
        return
    ended = (
        select(Subscriber.name, Run.id, Run.state, Run.finished, Run.attempt, Run.worker, Run.error)
        .join(Run, Subscriber.event == Run.state)
        .add_columns(literal(0), now())
    )
    columns = ["subscriber", "run_id", "event", "at", "attempt", "worker", "error", "tries", "not_before"]
    for start in range(0, len(run_ids), MANY):
        some = ended.where(Run.id.in_(run_ids[start : start + MANY])).order_by(Run.id, Subscriber.name)
        session.execute(insert(Notice).from_select(columns, some))


def due(session: Session, subscribers: Collection[str]) -> bool:
    """Whether there is anything to deliver now."""
    return session.scalar(_due(subscribers).limit(1)) is not None


def _due(subscribers: Collection[str]) -> Select[int]:
    wanted = (Notice.subscriber.in_(subscribers), Notice.given_up.is_(None))
    return select(Notice.id).where(*wanted, Notice.not_before <= now())


def claim(session: Session, subscribers: Collection[str], seconds: float) -> Claimed | None:
    """Take the next one that is due, for so many seconds. None: nothing is, or others were first."""
    best = _due(subscribers).order_by(Notice.id).limit(1).with_for_update(skip_locked=True).scalar_subquery()
    row = session.scalars(
        update(Notice)
        .where(Notice.id == best, Notice.not_before <= now())
        .values(tries=Notice.tries + 1, not_before=after(seconds))
        .returning(Notice)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if row is None:
        return None
    uid = session.scalars(select(Spec.uid).where(Spec.run_id == row.run_id)).one()
    return Claimed(
        id=row.id, uid=f"{uid}-{row.id}", subscriber=row.subscriber, run_id=row.run_id, event=State(row.event),
        at=row.at, attempt=row.attempt, worker=row.worker, error=row.error, tries=row.tries,
    )  # fmt: skip


def delivered(session: Session, notice: Claimed) -> None:
    session.execute(delete(Notice).where(Notice.id == notice.id, Notice.tries == notice.tries))


def failed(session: Session, notice: Claimed, error: str) -> None:
    """Try again after a pause that grows from five seconds to an hour."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(notice.tries - 1, 20))
    own = (Notice.id == notice.id, Notice.tries == notice.tries)
    session.execute(update(Notice).where(*own).values(last_error=error, not_before=after(pause)))


def tidy(session: Session) -> int:
    """Give up what could not be delivered for a day, forget what nobody serves; returns how many were given up."""
    unseen = select(Subscriber.name).group_by(Subscriber.name).having(func.max(Subscriber.last_seen) < after(-DAY))
    gone = session.scalars(unseen).all()
    if gone:
        session.execute(delete(Notice).where(Notice.subscriber.in_(gone)))
        session.execute(delete(Subscriber).where(Subscriber.name.in_(gone)))
    session.execute(delete(Notice).where(Notice.given_up < after(-KEPT)))
    late = (Notice.given_up.is_(None), Notice.tries > 0, Notice.at < after(-DAY), Notice.not_before <= now())
    given_up = update(Notice).where(*late).values(given_up=now()).returning(Notice.id)
    return len(session.scalars(given_up.execution_options(synchronize_session=False)).all())


def undelivered(session: Session) -> list[Undelivered]:
    """What waits and what was given up, by subscriber."""
    latest = func.max(Notice.id).filter(Notice.last_error.is_not(None))
    numbers = select(Notice.subscriber, func.count(), func.count(Notice.given_up), latest).group_by(Notice.subscriber)
    rows = session.execute(numbers.order_by(Notice.subscriber)).all()
    errors = select(Notice.id, Notice.last_error).where(Notice.id.in_([last for *_, last in rows if last is not None]))
    said = {row.id: row.last_error for row in session.execute(errors)}
    return [Undelivered(name, number - gone, gone, said.get(last or 0)) for name, number, gone, last in rows]
