"""Removing runs with all that is theirs, and giving up what a run has kept: its weights, its checkpoint.

A run goes in small transactions, so that no writer waits long, and is never half there for anybody who could train it:

    ask     one guarded statement: a run that has ended, and that no run yet to be trained begins with, gets the wish
            `remove`; from then on nobody can retry it
    points  its metrics and its log, some ten thousand rows a transaction
    rows    all the rest and the run itself, in one transaction; then the blobs that nothing else points at

Whoever dies in between leaves runs with the wish, and a reconciler goes on. A late attempt finds no row: LeaseLost.
Its number is never used again; runs that were cloned from it keep the number of their parent.
"""

from __future__ import annotations

import typing
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Integer,
    Select,
    Table,
    and_,
    cast,
    delete,
    insert,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from service.errors import InputError
from service.store import blobs
from service.store.database import Database
from service.store.spec_keys import path_id
from service.store.tables import Base, Edit, LogLine, Metric, Path, Run, SpecKey, State, StepMetric, Wish

AT_ONCE = 40  # runs in a transaction: some 4,000 rows in ten tables; SQLite takes 20 ms for them
POINTS_AT_ONCE = 10_000  # SQLite takes 20 ms for them
MANY = 1000  # runs that are asked about in one statement

T = TypeVar("T")
POINTS = tuple(typing.cast(Table, table.__table__) for table in (Metric, StepMetric))
LOG_LINES = typing.cast(Table, LogLine.__table__)
ENDED = tuple(state for state in State if state.ended)
YET_TO_TRAIN = tuple(state for state in State if not state.ended)
KEPT: dict[str, tuple[InstrumentedAttribute[int | None], ...]] = {
    "weights": (Run.weights_id, Run.last_weights_id),
    "checkpoint": (Run.checkpoint_id, Run.previous_checkpoint_id),
}


class Needed(InputError):
    """A run that others cannot do without."""

    def __init__(self, run_id: int, child: int, state: str) -> None:
        super().__init__(f"run {run_id} stays: run {child}, which is {state}, begins with its weights")


class NotEnded(InputError):
    def __init__(self, run_id: int, state: str) -> None:
        first = "cancel it first" if state != State.RUNNING else "cancel it first, and wait until it has stopped"
        super().__init__(f"run {run_id} is {state} and cannot be removed; {first}: `trainyard runs cancel {run_id}`")


class ParentGone(InputError):
    def __init__(self, run_id: int) -> None:
        super().__init__(f"run {run_id}, whose weights the spec begins with, has just been removed")


@dataclass(frozen=True)
class Removed:
    """What was removed: runs, points of metrics, and bytes of weights and checkpoints; `left`: runs that fitted and may
    not go."""

    runs: int = 0
    points: int = 0
    bytes: int = 0
    left: int = 0

    def __add__(self, other: Removed) -> Removed:
        return Removed(self.runs + other.runs, self.points + other.points, self.bytes + other.bytes)


def begun_with() -> ColumnElement[bool]:
    """Whether a run that waits, rests or trains begins with the weights of this one. One look for all runs."""
    return Run.id.in_(_beginners().with_only_columns(cast(SpecKey.number, Integer)))


def _beginners() -> Select[Any]:
    """The runs yet to be trained that begin with another's weights. The spec says so: a person may edit the parents."""
    child = Run.__table__.alias("child")
    begins = (SpecKey.path_id == path_id("begin.run"), child.c.state.in_(YET_TO_TRAIN))
    return select(child.c.id, child.c.state).join(SpecKey, SpecKey.run_id == child.c.id).where(*begins)


def removable() -> ColumnElement[bool]:
    """Whether a run may go. One that was asked to go already may still be asked again."""
    return and_(Run.state.in_(ENDED), or_(Run.wish.is_(None), Run.wish == Wish.REMOVE), ~begun_with())


def obstacle(session: Session, run_id: int, state: State) -> InputError | None:
    """Why this run cannot be removed, or None."""
    if state not in ENDED:
        return NotEnded(run_id, state)
    child = session.execute(_beginners().where(SpecKey.number == run_id).limit(1)).first()
    return None if child is None else Needed(run_id, child.id, child.state)


def fitting(session: Session, which: ColumnElement[bool]) -> tuple[list[int], int]:
    """The runs that fit and may go, and how many fit and may not."""
    may_go: list[int] = []
    left = 0
    for row in session.execute(select(Run.id, removable().label("may_go")).where(which).order_by(Run.id)):
        if row.may_go:
            may_go.append(row.id)
        else:
            left += 1
    return may_go, left


def preview(session: Session, run_ids: Sequence[int]) -> Removed:
    """What removing these runs would remove; the points are not counted."""
    pointers = [pointer for pair in KEPT.values() for pointer in pair]
    pointed: Counter[int] = Counter()
    for some in parts(run_ids, MANY):
        for row in session.execute(select(*pointers).where(Run.id.in_(some))):
            pointed.update(blob_id for blob_id in row if blob_id is not None)
    ids = sorted(pointed)
    sizes, all_pointers = blobs.sizes(session, ids), blobs.pointers(session, ids)
    freed = sum(size for blob_id, size in sizes.items() if pointed[blob_id] == all_pointers[blob_id])
    return Removed(runs=len(run_ids), bytes=freed)


def hold(session: Session, parents: Collection[int]) -> None:
    """Keep the runs that new ones begin with until the transaction has ended. Raises ParentGone."""
    there = select(Run.id).where(Run.id.in_(parents), Run.wish.is_(None) | (Run.wish != Wish.REMOVE))
    found = set(session.scalars(there.order_by(Run.id).with_for_update(read=True)))
    for gone in sorted(set(parents) - found):
        raise ParentGone(gone)


def remove(database: Database, run_ids: Sequence[int]) -> Removed:
    """Remove those of the runs that may go; the others are left as they are."""
    removed = Removed()
    for some in parts(run_ids, AT_ONCE):
        with database.write(large=True) as session:
            asked = ask(session, some)
        removed += _carry_out(database, asked)
    return removed


def go_on(database: Database, limit: int = AT_ONCE) -> Removed:
    """Go on with removals that somebody has left half done."""
    with database.read() as session:
        asked = session.scalars(select(Run.id).where(Run.wish == Wish.REMOVE, Run.state.in_(ENDED)).limit(limit)).all()
    return _carry_out(database, asked) if asked else Removed()


def ask(session: Session, run_ids: Sequence[int]) -> list[int]:
    """Have these runs removed, so far as they may go; returns them."""
    _lock(session, run_ids)
    asked = (
        update(Run)
        .where(Run.id.in_(run_ids), removable())
        .values(wish=Wish.REMOVE)
        .returning(Run.id)
        .execution_options(synchronize_session=False)
    )
    return sorted(session.scalars(asked))


def _lock(session: Session, run_ids: Sequence[int]) -> None:
    """Wait for whoever holds one of them, so that the next statement sees what he has done (PostgreSQL)."""
    session.execute(select(Run.id).where(Run.id.in_(run_ids)).order_by(Run.id).with_for_update())


def _carry_out(database: Database, run_ids: Sequence[int]) -> Removed:
    points = sum(_remove_many(database, table, run_ids) for table in POINTS)
    _remove_many(database, LOG_LINES, run_ids)
    with database.write(large=True) as session:
        pointed = _remove_rows(session, run_ids)
    return Removed(len(run_ids), points, blobs.remove_all(database, pointed))


def _remove_many(database: Database, table: Table, run_ids: Sequence[int]) -> int:
    """Their rows in a table where they may have many, so many a transaction; returns how many there were."""
    key = list(table.primary_key)
    asked = select(Run.id).where(Run.id.in_(run_ids), Run.wish == Wish.REMOVE)
    some = select(*key).where(table.c.run_id.in_(asked)).limit(POINTS_AT_ONCE)
    removed = 0
    while True:
        with database.write(large=True) as session:
            found = typing.cast(
                CursorResult[Any], session.execute(delete(table).where(tuple_(*key).in_(some)))
            ).rowcount
        removed += found
        if found < POINTS_AT_ONCE:
            return removed


def _remove_rows(session: Session, run_ids: Sequence[int]) -> list[int]:
    """All that is left of them; returns the blobs they pointed at. What another is just removing is left to him."""
    pointers = [pointer for pair in KEPT.values() for pointer in pair]
    asked = (Run.id.in_(run_ids), Run.wish == Wish.REMOVE, Run.state.in_(ENDED))
    found = session.execute(
        select(Run.id, *pointers).where(*asked).order_by(Run.id).with_for_update(of=Run, skip_locked=True)
    ).all()
    ids = [row.id for row in found]
    for table in Base.metadata.tables.values():
        if "run_id" in table.c:
            session.execute(delete(table).where(_theirs(session, table, ids)))
    session.execute(delete(Run).where(Run.id.in_(ids)).execution_options(synchronize_session=False))
    return [blob_id for row in found for blob_id in row[1:] if blob_id is not None]


def _theirs(session: Session, table: Table, run_ids: Sequence[int]) -> ColumnElement[bool]:
    """The rows of these runs, found by the table's key."""
    theirs: ColumnElement[bool] = table.c.run_id.in_(run_ids)
    if table is not SpecKey.__table__:
        return theirs
    # Its key begins with the path. All paths are named, for PostgreSQL would rather read the table than join them.
    return and_(table.c.path_id.in_(session.scalars(select(Path.id)).all()), theirs)


def give_up(database: Database, what: str, run_ids: Sequence[int], who: str) -> tuple[set[int], int]:
    """Give up the weights or the checkpoint of runs that have ended; their history stays, and says who did it.

    Returns the runs that did, and the bytes. Runs that have none, that were retried meanwhile, or whose weights others
    begin with are left as they are.
    """
    done: set[int] = set()
    freed = 0
    for some in parts(run_ids, AT_ONCE):
        with database.write(large=True) as session:
            pointed = _unpoint(session, what, some, who)
        done |= pointed.keys()
        freed += blobs.remove_all(database, [blob_id for blob_ids in pointed.values() for blob_id in blob_ids])
    return done, freed


def may_give_up(what: str) -> ColumnElement[bool]:
    """Whether a run has it and may do without."""
    there = or_(*(pointer.is_not(None) for pointer in KEPT[what]))
    guard = and_(Run.state.in_(ENDED), Run.wish.is_(None), there)
    return and_(guard, ~begun_with()) if what == "weights" else guard


def _unpoint(session: Session, what: str, run_ids: Sequence[int], who: str) -> dict[int, list[int]]:
    _lock(session, run_ids)
    pointers = KEPT[what]
    found = session.execute(select(Run.id, *pointers).where(Run.id.in_(run_ids), may_give_up(what))).all()
    pointed = {row.id: [blob_id for blob_id in row[1:] if blob_id is not None] for row in found}
    if pointed:
        session.execute(
            update(Run)
            .where(Run.id.in_(pointed))
            .values(dict.fromkeys(pointers))
            .execution_options(synchronize_session=False)
        )
        told = {"who": who, "what": what, "before": "kept", "after": "removed"}
        session.execute(insert(Edit), [{"run_id": run_id, **told} for run_id in pointed])
    return pointed


def given_up(session: Session, run_id: int, what: str) -> Edit | None:
    """Who gave it up, and when; None where the run has it, or has never had it."""
    has = select(Run.id).where(Run.id == run_id, KEPT[what][0].is_not(None)).exists()
    edits = select(Edit).where(Edit.run_id == run_id, Edit.what == what, Edit.after == "removed", ~has)
    return session.scalars(edits.order_by(Edit.id.desc()).limit(1)).first()


def parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
