"""What leaves the store: frozen records, and the names that scripts rely on in `--json`."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from service.store.tables import State


def jsonable(value: Any) -> Any:
    """Dates as ISO 8601 in UTC, numbers that are none (NaN, infinities) as null, the rest as it is."""
    match value:
        case datetime():
            return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: jsonable(item) for key, item in value.items()}
        case list() | tuple():
            return [jsonable(item) for item in value]
    return value


@dataclass(frozen=True)
class Record:
    def json(self) -> dict[str, Any]:
        return {name: jsonable(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class MetricSummary(Record):
    last: float
    best: float
    best_epoch: int


@dataclass(frozen=True)
class RunRecord(Record):
    id: int
    name: str
    state: State
    queue: str
    priority: int
    tags: tuple[str, ...]
    attempt: int
    epoch: int
    epochs: int
    created: datetime
    started: datetime | None
    finished: datetime | None
    worker: str | None
    error: str | None
    spec: dict[str, Any]
    dataset_sha256: str
    weights_sha256: str | None
    metrics: dict[str, MetricSummary]
    wish: str | None = None  # cancel or pause, which its worker has still to do, or remove
    note: str | None = None
    cloned_from: int | None = None
    fine_tuned_from: int | None = None
    replay_of: int | None = None
    imported_from: str | None = None

    def json(self) -> dict[str, Any]:
        """The spec is plain already, and `asdict` takes longer to copy it than for all the rest."""
        without = {name: jsonable(value) for name, value in asdict(replace(self, spec={})).items()}
        return without | {"spec": jsonable(self.spec)}


@dataclass(frozen=True)
class AttemptRecord(Record):
    number: int
    worker: str
    pid: int
    started: datetime
    finished: datetime | None
    outcome: str | None
    reason: str | None
    exit_signal: str | None
    first_epoch: int | None
    epoch: int | None
    samples: int
    seconds: float
    environment: dict[str, Any]


@dataclass(frozen=True)
class LogRecord(Record):
    """A line of an attempt's log; where numbers are missing, lines have been left out."""

    attempt: int
    number: int
    at: datetime
    level: str  # info, warning or error
    text: str


@dataclass(frozen=True)
class EditRecord(Record):
    """A change that a person made of a run afterwards."""

    at: datetime
    who: str
    what: str  # name, note, tag or a kind of parent
    before: str | None
    after: str | None


@dataclass(frozen=True)
class DatasetRecord(Record):
    sha256: str
    source: str  # what the first spec that used it called it
    created: datetime
    bytes: int
    runs: int
    about: dict[str, Any]


@dataclass(frozen=True)
class WorkerRecord(Record):
    name: str
    host: str
    pid: int
    slots: int
    busy: int
    queues: tuple[str, ...]
    state: str
    last_seen: datetime
    silent_seconds: float
    metrics_url: str | None
    set_aside: str | None  # the evidence for which it gets no more runs

    @property
    def live(self) -> bool:
        """Whether it runs, as far as anyone can tell: it was heard of within a lease's time and has not ended."""
        return self.state in ("ready", "draining")
