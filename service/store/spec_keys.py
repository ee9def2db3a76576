"""The keys of stored specs, as rows that can be searched and sorted by.

A path is written as people write it: `train.epochs`, `network[0].dense.units`. Two more kinds of path stand for what
has no key of its own: `optimizer (name)` for which part was chosen, and `network (length)` for how many items a list
has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias, cast

from sqlalchemy import ScalarSelect, Table, bindparam, select
from sqlalchemy.orm import Session

from service.store.bulk import dialect, insert_all, upsert
from service.store.tables import Path, SpecKey

Row: TypeAlias = tuple[str, float | None, str | None, bool | None]  # path, number, text, truth
PATHS, SPEC_KEYS = cast(Table, Path.__table__), cast(Table, SpecKey.__table__)

OF_PATHS = select(PATHS.c.id, PATHS.c.path).where(PATHS.c.path.in_(bindparam("paths", expanding=True)))
LONGEST_TEXT = 500  # characters of a value; what is longer is compared by these, for PostgreSQL indexes no more


def name_of(path: str) -> str:
    return f"{path} (name)"


def length_of(path: str) -> str:
    return f"{path} (length)"


def written(steps: tuple[str | int, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).removeprefix(".")


def path_id(path: str) -> ScalarSelect[int]:
    """The number of a path; NULL where no run has it."""
    return select(Path.id).where(Path.path == path).scalar_subquery()


def rows(document: Mapping[str, Any]) -> list[Row]:
    """Everything in a spec that is not null, each path once."""
    return [row for key, value in document.items() for row in _section(key, value)]


def _section(key: str, value: Any) -> list[Row]:
    return list({row[0]: row for row in _below(key, value)}.values())


def _below(path: str, value: Any) -> Iterator[Row]:
    match value:
        case None:
            return
        case bool():
            yield path, None, None, value
        case int() | float():
            yield path, float(value), None, None
        case str():
            yield path, None, value[:LONGEST_TEXT], None
        case dict():
            yield path, None, None, None
            if len(value) == 1:
                yield name_of(path), None, str(next(iter(value))), None
            for key, inner in value.items():
                yield from _below(f"{path}.{key}", inner)
        case list():
            yield path, None, None, None
            yield length_of(path), float(len(value)), None, None
            for number, inner in enumerate(value):
                yield from _below(f"{path}[{number}]", inner)


def store(session: Session, documents: Mapping[int, Mapping[str, Any]]) -> None:
    """Store the keys of these runs' specs."""
    found = _by_path(documents)
    numbers = _numbers(session, set(found))
    columns = ("path_id", "run_id", "number", "text", "truth")
    in_order = sorted((numbers[path], values) for path, values in found.items())  # as the table keeps them: faster
    insert_all(session, SPEC_KEYS, columns, [(number, *row) for number, values in in_order for row in values])


def _by_path(documents: Mapping[int, Mapping[str, Any]]) -> dict[str, list[tuple[Any, ...]]]:
    """The run and the value, for each path. Specs of one submit share most of their sections: those are read once."""
    sections: dict[tuple[str, int], list[Row]] = {}  # by their identity; the documents keep them alive
    found: dict[str, list[tuple[Any, ...]]] = defaultdict(list)
    for run_id, document in documents.items():
        for key, value in document.items():
            known = (key, id(value))
            if known not in sections:
                sections[known] = _section(key, value)
            for path, number, text, truth in sections[known]:
                found[path].append((run_id, number, text, truth))
    return found


def _numbers(session: Session, paths: set[str]) -> dict[str, int]:
    """The number of each path, new ones added, in one order: two submits must not wait for each other."""
    known = _known(session, paths)
    if new := sorted(paths - known.keys()):
        session.execute(upsert(dialect(session), PATHS).on_conflict_do_nothing(), [{"path": path} for path in new])
        known |= _known(session, set(new))
    return known


def _known(session: Session, paths: set[str]) -> dict[str, int]:
    return {path: number for number, path in session.execute(OF_PATHS, {"paths": list(paths)})}
