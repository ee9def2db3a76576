"""What people change of runs afterwards: name, note, tags, parents. Each change is kept, with who made it and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from service.errors import InputError
from service.store.records import EditRecord
from service.store.tables import Edit, Run, Tag
from service.store.transitions import NoSuchRun

PARENTS = ("cloned_from", "fine_tuned_from", "replay_of")


class WrongChange(InputError):
    """What is asked for cannot be; `field` is the one of Changes that says so."""

    def __init__(self, field: str, sentence: str) -> None:
        super().__init__(sentence)
        self.field = field


@dataclass(frozen=True)
class Changes:
    """None leaves a thing as it is; an empty note removes it, and so does None as a parent's number."""

    name: str | None = None
    note: str | None = None
    tag: Sequence[str] = ()
    untag: Sequence[str] = ()
    parents: Mapping[str, int | None] = field(default_factory=dict)


def edit(session: Session, run_ids: Sequence[int], changes: Changes, who: str) -> list[int]:
    """Change these runs; returns those of which anything changed.

    Raises NoSuchRun, or WrongChange for a parent that cannot be one, and then changes none.
    """
    for kind, parent in changes.parents.items():
        if parent is not None:
            _check_parent(session, run_ids, kind, parent)
    return [run_id for run_id in run_ids if _edit(session, run_id, changes, who)]


def _edit(session: Session, run_id: int, changes: Changes, who: str) -> bool:
    run = session.scalars(select(Run).where(Run.id == run_id).with_for_update()).one_or_none()
    if run is None:
        raise NoSuchRun(run_id)
    wanted: dict[str, str | int | None] = dict(changes.parents)
    if changes.name is not None:
        wanted["name"] = changes.name
    if changes.note is not None:
        wanted["note"] = changes.note or None
    found = [_set(run, what, value) for what, value in wanted.items() if getattr(run, what) != value]
    found += _retag(session, run_id, changes)
    session.add_all(Edit(run_id=run_id, who=who, what=what, before=old, after=new) for what, old, new in found)
    return bool(found)


def _check_parent(session: Session, run_ids: Sequence[int], kind: str, parent: int) -> None:
    """A run that has it as a parent already keeps it, even if the parent was removed."""
    has = set(session.scalars(select(Run.id).where(Run.id.in_(run_ids), getattr(Run, kind) == parent)))
    if not (new := [run_id for run_id in run_ids if run_id not in has]):
        return
    if session.get(Run, parent) is None:
        raise WrongChange("parents", f"{kind}={parent}: there is no run {parent}")
    if parent in new:
        raise WrongChange("parents", f"{kind}={parent}: a run cannot come from itself")
    if circles := _ancestors(session, parent).intersection(new):
        raise WrongChange("parents", f"{kind}={parent}: run {parent} comes itself from run {min(circles)}")


def _ancestors(session: Session, run_id: int) -> set[int]:
    """The runs that it came from, by any kind of parent, and those that they came from."""
    found, last = set[int](), {run_id}
    while last:
        rows = session.execute(select(*(getattr(Run, kind) for kind in PARENTS)).where(Run.id.in_(last)))
        last = {parent for row in rows for parent in row if parent is not None} - found
        found |= last
    return found


def _set(run: Run, what: str, value: str | int | None) -> tuple[str, str | None, str | None]:
    old = getattr(run, what)
    setattr(run, what, value)
    return what, None if old is None else str(old), None if value is None else str(value)


def _retag(session: Session, run_id: int, changes: Changes) -> list[tuple[str, str | None, str | None]]:
    there = set(session.scalars(select(Tag.tag).where(Tag.run_id == run_id)))
    gone = [tag for tag in dict.fromkeys(changes.untag) if tag in there]
    new = [tag for tag in dict.fromkeys(changes.tag) if tag not in there]
    session.execute(delete(Tag).where(Tag.run_id == run_id, Tag.tag.in_(gone)))
    session.add_all(Tag(run_id=run_id, tag=tag) for tag in new)
    return [("tag", tag, None) for tag in gone] + [("tag", None, tag) for tag in new]


def edits(session: Session, run_id: int) -> list[EditRecord]:
    """What was changed of a run, the oldest first."""
    rows = session.scalars(select(Edit).where(Edit.run_id == run_id).order_by(Edit.id))
    names = EditRecord.__dataclass_fields__
    return [EditRecord(**{name: getattr(row, name) for name in names}) for row in rows]
