"""The tables. `migrations/` holds how a database gets there; a test keeps the two equal."""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from service.store.clock import Timestamp, now

SCHEMA = "0006"  # the newest migration, known here so that a command need not load Alembic to see that all is well
Json = JSON().with_variant(JSONB(), "postgresql")
Sorted = String().with_variant(String(collation="C"), "postgresql")  # an index serves one order: by the characters
Big = BigInteger().with_variant(Integer(), "sqlite")  # SQLite counts up only in a column of type INTEGER


class State(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        return self in (State.COMPLETED, State.FAILED, State.CANCELLED)


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    PAUSED = "paused"  # a person wanted it so; the work is saved
    INTERRUPTED = "interrupted"  # the worker was told to stop; the work is saved
    LOST = "lost"  # the worker vanished


class Wish(StrEnum):
    """What a person wants of a run that trains, or, to be removed, of one that has ended."""

    CANCEL = "cancel"
    PAUSE = "pause"
    REMOVE = "remove"


class Level(StrEnum):
    """How much a line of a log matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Number(TypeDecorator[float]):
    """A float that may be NaN, kept as NULL: SQLite cannot hold NaN, and both databases shall say the same."""

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:
        return None if value is None or math.isnan(value) else float(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> float:
        return math.nan if value is None else float(value)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
        }
    )
    type_annotation_map = {datetime: Timestamp, dict[str, Any]: Json, list[str]: Json}  # noqa: RUF012


class Blob(Base):
    """Bytes too large for a row: a checkpoint, weights or a dataset, in chunks of 1 MiB."""

    __tablename__ = "blobs"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - a late pointer must never meet a reused number

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(Big)
    created: Mapped[datetime] = mapped_column(default=now())
    touched: Mapped[datetime] = mapped_column(default=now(), index=True)


class Chunk(Base):
    __tablename__ = "chunks"

    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)


class Dataset(Base):
    """Features, labels and schema, addressed by the SHA-256 of their content and stored once."""

    __tablename__ = "datasets"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    source: Mapped[str]
    schema: Mapped[dict[str, Any]]
    blob_id: Mapped[int] = mapped_column(ForeignKey("blobs.id"))
    created: Mapped[datetime] = mapped_column(default=now())


class Run(Base):
    """One submitted spec and all that became of it. Lists read many of these rows: what is long is kept elsewhere."""

    __tablename__ = "runs"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Sorted)
    state: Mapped[str] = mapped_column(default=State.QUEUED)
    queue: Mapped[str] = mapped_column(Sorted, default="default")
    priority: Mapped[int] = mapped_column(default=0)  # higher goes first
    dataset_sha256: Mapped[str] = mapped_column(ForeignKey("datasets.sha256"))
    epochs: Mapped[int]
    epoch: Mapped[int] = mapped_column(default=0)
    attempt: Mapped[int] = mapped_column(default=0)  # the fence
    max_attempts: Mapped[int]
    wish: Mapped[str | None]
    created: Mapped[datetime] = mapped_column(default=now())
    not_before: Mapped[datetime] = mapped_column(default=now())
    started: Mapped[datetime | None]
    finished: Mapped[datetime | None]
    worker: Mapped[str | None] = mapped_column(Sorted)
    lost_by: Mapped[str | None]  # the worker that lost it last
    lease_until: Mapped[datetime | None]
    error: Mapped[str | None]
    checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("blobs.id"), index=True)
    previous_checkpoint_id: Mapped[int | None] = mapped_column(ForeignKey("blobs.id"), index=True)
    weights_id: Mapped[int | None] = mapped_column(ForeignKey("blobs.id"), index=True)
    last_weights_id: Mapped[int | None] = mapped_column(ForeignKey("blobs.id"), index=True)
    weights_sha256: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None]
    # Parents: numbers of runs that may have been removed meanwhile.
    cloned_from: Mapped[int | None]
    fine_tuned_from: Mapped[int | None]
    replay_of: Mapped[int | None]
    imported_from: Mapped[str | None]  # where else it ran, for people

    __table_args__ = (
        *(Index(f"ix_runs_{name}", name, "id") for name in ("created", "finished", "name", "queue", "worker")),
        Index(
            "ix_runs_leased", "lease_until",
            sqlite_where=text("state = 'running'"), postgresql_where=text("state = 'running'"),
        ),
        Index("ix_runs_state", "state", "id"),
        {"sqlite_autoincrement": True},
    )  # fmt: skip


# The claim reads this index from the left and stops at its first row.
Index(
    "ix_runs_waiting",
    Run.queue,
    Run.priority.desc(),
    Run.id,
    sqlite_where=text("state = 'queued'"),
    postgresql_where=text("state = 'queued'"),
)


class Spec(Base):
    """The spec of a run as it was resolved, and where it was submitted: user, host, versions, commit of the folder."""

    __tablename__ = "specs"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)  # the run's name in every yard that has a copy of it
    document: Mapped[dict[str, Any]]
    origin: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Path(Base):
    """A place in a spec, such as optimizer.adam.learning_rate; `service.store.spec_keys` says how it is written."""

    __tablename__ = "paths"

    id: Mapped[int] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(unique=True)


class SpecKey(Base):
    """What stands at a path of a run's spec, so that asking for it need not read every spec.

    One of the three values is set; none is for a mapping or a list. There are some sixty of these rows to a run, and
    they go without foreign keys: the checks would cost more than the rows.
    """

    __tablename__ = "spec_keys"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    path_id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[float | None]
    text: Mapped[str | None] = mapped_column(Sorted)
    truth: Mapped[bool | None]


for _value in (SpecKey.number, SpecKey.text):
    Index(
        f"ix_spec_keys_{_value.key}", SpecKey.path_id, _value, SpecKey.run_id,
        sqlite_where=_value.is_not(None), postgresql_where=_value.is_not(None),
    )  # fmt: skip


class Edit(Base):
    """What a person has changed of a run afterwards: its name, note, tags, parents."""

    __tablename__ = "edits"

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    at: Mapped[datetime] = mapped_column(default=now())
    who: Mapped[str]
    what: Mapped[str]
    before: Mapped[str | None]
    after: Mapped[str | None]


class Tag(Base):
    __tablename__ = "tags"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    tag: Mapped[str] = mapped_column(primary_key=True, index=True)


class Attempt(Base):
    """One try at a run by one worker, and what it did."""

    __tablename__ = "attempts"

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str]
    pid: Mapped[int]
    started: Mapped[datetime] = mapped_column(default=now())
    finished: Mapped[datetime | None]
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    exit_signal: Mapped[str | None]  # what ended its process, such as SIGKILL
    first_epoch: Mapped[int | None]
    epoch: Mapped[int | None]
    samples: Mapped[int] = mapped_column(Big, default=0)
    seconds: Mapped[float] = mapped_column(default=0.0)  # of training, not of waiting
    environment: Mapped[dict[str, Any]]

    __table_args__ = (Index("ix_attempts_worker", "worker"),)


class LogLine(Base):
    """A line of what an attempt had to tell. Where numbers are missing, lines have been left out.

    It goes without foreign keys for the reason that metrics do.
    """

    __tablename__ = "log_lines"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - the key is the order they are read in

    run_id: Mapped[int] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    level: Mapped[str]
    text: Mapped[str]


class Metric(Base):
    """A number of a run at an epoch; it exists once.

    There are millions, and only the attempt that holds the run writes them, in the transaction that proves it: without
    foreign keys they come in half the time.
    """

    __tablename__ = "metrics"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - the key is the order they are read in

    run_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(Number, nullable=True)


class StepMetric(Base):
    """A number of a run at a step, where its spec asks for more than one an epoch; it exists once."""

    __tablename__ = "step_metrics"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012

    run_id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[float] = mapped_column(Number, nullable=True)


class Summary(Base):
    """The last and the best value of each metric of a run, so that lists need not read the metrics."""

    __tablename__ = "summaries"
    __table_args__ = (
        *(Index(f"ix_summaries_{value}", "name", value, "run_id") for value in ("last", "best")),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    last: Mapped[float] = mapped_column(Number, nullable=True)
    last_epoch: Mapped[int]
    best: Mapped[float] = mapped_column(Number, nullable=True)
    best_epoch: Mapped[int]


class Worker(Base):
    """A machine's supervisor and its pool of slots, as it last reported itself."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    slots: Mapped[int]  # as it has
    wanted_slots: Mapped[int]  # as a person wants
    queues: Mapped[list[str]]
    state: Mapped[str]
    wish: Mapped[str | None]
    set_aside: Mapped[str | None]  # the evidence for which it gets no more runs
    trusted: Mapped[datetime | None]  # since when its losses count, where a person has taken it back
    metrics_url: Mapped[str | None]
    started: Mapped[datetime] = mapped_column(default=now())
    last_seen: Mapped[datetime] = mapped_column(default=now())


class Subscriber(Base):
    """What some worker delivers to, a webhook or a command, and an end of runs that is to be told there."""

    __tablename__ = "subscribers"

    name: Mapped[str] = mapped_column(primary_key=True)  # webhook or command
    event: Mapped[str] = mapped_column(primary_key=True)  # completed, failed or cancelled
    last_seen: Mapped[datetime] = mapped_column(default=now())


class Notice(Base):
    """The end of a run that a subscriber has still to be told of. It keeps what a retry of the run would change."""

    __tablename__ = "notices"
    __table_args__ = {"sqlite_autoincrement": True}  # noqa: RUF012 - the number is part of the delivery's id

    id: Mapped[int] = mapped_column(Big, primary_key=True)
    subscriber: Mapped[str]
    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), index=True)
    event: Mapped[str]
    at: Mapped[datetime]
    attempt: Mapped[int]
    worker: Mapped[str | None]
    error: Mapped[str | None]
    tries: Mapped[int] = mapped_column(default=0)
    not_before: Mapped[datetime] = mapped_column(default=now())  # for the next try; a claim moves it
    given_up: Mapped[datetime | None]
    last_error: Mapped[str | None]


class Token(Base):
    """Who may use the page and the API from elsewhere. The secret itself is shown once and not kept."""

    __tablename__ = "tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    created: Mapped[datetime] = mapped_column(default=now())
    expires: Mapped[datetime | None]


class Login(Base):
    """A browser that somebody has logged in with a token; it ends with the token."""

    __tablename__ = "logins"

    sha256: Mapped[str] = mapped_column(String(64), primary_key=True)  # of the cookie
    token_id: Mapped[int] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"), index=True)
    expires: Mapped[datetime]


class Answer(Base):
    """What was answered to a request with an Idempotency-Key, for whoever sends it again."""

    __tablename__ = "answers"

    who: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any] | None]  # early versions left a null where they were broken off
    created: Mapped[datetime] = mapped_column(default=now(), index=True)
