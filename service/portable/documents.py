"""A run as the JSON of a portable file, and back; what comes back is strict in its types, ranges and texts."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, RootModel

from service.errors import InputError
from service.names import check_line, check_name, check_text
from service.store.copies import Copy, Curves
from service.store.edits import PARENTS
from service.store.logs import LONGEST as LONGEST_LINE
from service.store.records import AttemptRecord, EditRecord, LogRecord
from service.store.submissions import NewRun
from service.store.tables import State

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
LONGEST_TEXT = 100_000  # characters of a note or an error
MOST = 2**31 - 1  # what an INTEGER of PostgreSQL holds


def _leaves(value: Any) -> Iterator[Any]:
    """Every text, number, truth and null in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _storable(value: Any) -> Any:
    """The value, if both databases can hold it."""
    for leaf in _leaves(value):
        if isinstance(leaf, str) and "\0" in leaf:
            raise ValueError("a text holds a NUL")
        if isinstance(leaf, float | int) and not abs(leaf) <= sys.float_info.max:  # PostgreSQL makes 1e30 an int
            raise ValueError("a number is too large, or none")
    return value


def _harmless(value: Any) -> Any:
    """The value, if none of its texts can do more to a terminal than fill it."""
    with _refused():
        for leaf in _leaves(value):
            if isinstance(leaf, str):
                check_text("a text", leaf)
    return value


def _one_line(value: str) -> str:
    with _refused():
        check_line("a line", value)
    return value


@contextmanager
def _refused() -> Iterator[None]:
    """What people may not type either, as the error that Pydantic takes for one of the document."""
    try:
        yield
    except InputError as error:
        raise ValueError(str(error)) from None


def _moment(value: datetime) -> datetime:
    if not EARLIEST <= value <= LATEST:
        raise ValueError(f"a time before {EARLIEST.year} or after {LATEST.year}")
    return value.astimezone(UTC)


def _name(value: str) -> str:
    with _refused():
        check_name("name", value)
    return value


Text = Annotated[str, AfterValidator(_harmless), Field(max_length=LONGEST_TEXT)]
Word = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, AfterValidator(_one_line), Field(min_length=1, max_length=200)]
Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Number = Annotated[int, Field(ge=-MOST, le=MOST)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Uid = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Json: TypeAlias = Annotated[dict[str, JsonValue], AfterValidator(_storable), AfterValidator(_harmless)]
Ended: TypeAlias = Literal["completed", "failed", "cancelled"]


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SpecDocument(RootModel[Annotated[dict[str, JsonValue], AfterValidator(_storable)]]):
    """A spec as a portable file has it; `Spec.from_document` says whether it is one."""


class ParentDocument(Strict):
    """A run by the number it has or had there, and its uid unless it was removed."""

    run: Count
    uid: Uid | None


class AttemptDocument(Strict):
    number: Count
    worker: Line
    pid: Number
    started: Moment
    finished: Moment | None
    outcome: Literal["completed", "failed", "cancelled", "paused", "interrupted", "lost"] | None
    reason: Text | None
    exit_signal: Text | None
    first_epoch: Count | None
    epoch: Count | None
    samples: Annotated[int, Field(ge=0, lt=2**63)]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    environment: Json


class EditDocument(Strict):
    at: Moment
    who: Text
    what: Text
    before: Text | None
    after: Text | None


class LineDocument(Strict):
    attempt: Annotated[int, Field(ge=1, le=MOST)]
    number: Annotated[int, Field(ge=1, le=MOST)]
    at: Moment
    level: Literal["info", "warning", "error"]
    text: Annotated[str, AfterValidator(_one_line), Field(max_length=LONGEST_LINE)]


class LogDocument(RootModel[list[LineDocument]]):
    """The lines of a run's log."""


class RunDocument(Strict):
    """All that the store has of a run but its spec, its log, its points and its bytes."""

    number: Count
    uid: Uid
    name: Line
    state: Ended
    queue: Word
    priority: Number
    tags: list[Word]
    note: Text | None
    dataset_sha256: Sha256
    epochs: Count
    epoch: Count
    attempt: Count
    max_attempts: Count
    created: Moment
    started: Moment | None
    finished: Moment | None
    worker: Line | None
    error: Text | None
    weights_sha256: Sha256 | None
    imported_from: Text | None
    parents: dict[Literal["cloned_from", "fine_tuned_from", "replay_of"], ParentDocument]
    origin: Json
    attempts: list[AttemptDocument]
    edits: list[EditDocument]


_SUBMITTED = ("uid", "name", "queue", "priority", "note", "dataset_sha256", "epochs", "max_attempts")
_BECAME = ("number", "epoch", "attempt", "created", "started", "finished", "worker", "error", "weights_sha256")


def document(copy: Copy) -> dict[str, Any]:
    """The run as it is written down; `RunDocument` says what must be in there."""
    run = copy.submitted
    parents = {name: getattr(run, name) for name in PARENTS if getattr(run, name) is not None}
    return {
        **{name: getattr(copy, name) for name in _BECAME},
        **{name: getattr(run, name) for name in _SUBMITTED},
        "state": copy.state.value,
        "imported_from": copy.imported_from,
        "tags": list(run.tags),
        "parents": {name: {"run": number, "uid": copy.parent_uids.get(name)} for name, number in parents.items()},
        "origin": run.origin,
        "attempts": [vars(attempt) for attempt in copy.attempts],
        "edits": [vars(edit) for edit in copy.edits],
    }


def log_document(copy: Copy) -> list[dict[str, Any]]:
    return [vars(line) for line in copy.log]


def copy_of(
    run: RunDocument,
    spec: Mapping[str, Any],
    metrics: Curves,
    steps: Curves,
    log: Sequence[LineDocument],
    host: str | None,
) -> Copy:
    """The run as it is added to a store, from that host, or without one as it was in the store that it came from;
    which weights it has is told later."""
    parents: dict[str, Any] = {name: parent.run for name, parent in run.parents.items()} if host is None else {}
    submitted = NewRun(
        **{name: getattr(run, name) for name in _SUBMITTED},
        spec=spec, origin=run.origin, tags=tuple(run.tags), **parents,
    )  # fmt: skip
    return Copy(
        submitted=submitted,
        **{name: getattr(run, name) for name in _BECAME},
        state=State(run.state),
        imported_from=run.imported_from or (None if host is None else _came_from(run, host)),
        parent_uids={name: parent.uid for name, parent in run.parents.items() if parent.uid is not None},
        attempts=tuple(AttemptRecord(**vars(attempt)) for attempt in run.attempts),
        edits=tuple(EditRecord(**vars(edit)) for edit in run.edits),
        log=tuple(LogRecord(**vars(line)) for line in log),
        metrics=metrics,
        steps=steps,
    )


def _came_from(run: RunDocument, host: str) -> str:
    """Where it ran, and from which runs it came there: one that is not here has no number here."""
    words = {"cloned_from": "cloned from", "fine_tuned_from": "fine-tuned from", "replay_of": "a replay of"}
    parents = [f", {words[name]} run {parent.run} there" for name, parent in run.parents.items()]
    return f"run {run.number} on {host}{''.join(parents)}"
