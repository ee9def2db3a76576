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
    """Change these runs; returns those of which anything changed. Raises NoSuchRun, and then changes none."""
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
