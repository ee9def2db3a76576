"""Questions about runs: records leave, rows stay."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import BindParameter, ColumnElement, Double, Table, bindparam, func, literal_column, select, type_coerce
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from service.errors import InputError
from service.store import thinning
from service.store.clock import now
from service.store.pages import NEWEST, Order, page, page_before
from service.store.records import AttemptRecord, DatasetRecord, MetricSummary, RunRecord
from service.store.tables import Attempt, Blob, Dataset, Metric, Run, Spec, State, StepMetric, Summary, Tag
from service.store.transitions import NoSuchRun

RUNS, SPECS, TAGS, SUMMARIES = (cast(Table, table.__table__) for table in (Run, Spec, Tag, Summary))
MOST_IDS = 10_000  # in one statement; PostgreSQL's protocol ends at 65,535 parameters


class NoSuchAttempt(InputError):
    def __init__(self, run_id: int, number: int, last: int) -> None:
        there = {0: "it has not been tried yet", 1: "there was one attempt"}.get(last, f"there were {last} attempts")
        super().__init__(f"run {run_id} has no attempt {number}; {there}")


def run(session: Session, run_id: int) -> RunRecord:
    return some(session, [run_id])[0]


def runs(
    session: Session,
    where: ColumnElement[bool] | None = None,
    order: Order = NEWEST,
    after: int | None = None,
    limit: int | None = None,
    before: int | None = None,
) -> list[RunRecord]:
    """A page of the runs that fit, behind a run or `before` one; `service.expressions` makes condition and order of
    texts.

    Raises NoSuchRun when there is no such run.
    """
    if before is not None and limit is not None:
        found = page_before(session, where, order, before, limit)
    else:
        found = page(session, where, order, after, limit)
    return [
        record for start in range(0, len(found), MOST_IDS) for record in some(session, found[start : start + MOST_IDS])
    ]


def some(session: Session, run_ids: Sequence[int]) -> list[RunRecord]:
    """These runs, in this order. Raises NoSuchRun."""
    rows = {row.id: row for row in session.execute(OF_RUNS, {"ids": run_ids})}
    for run_id in run_ids:
        if run_id not in rows:
            raise NoSuchRun(run_id)
    specs, tags, metrics = _specs(session, run_ids), _tags(session, run_ids), _summaries(session, run_ids)
    records = []
    for run_id in run_ids:
        own = dict(zip(NAMES, rows[run_id], strict=True))
        own |= {"state": State(own["state"]), "spec": specs[run_id], "tags": tuple(tags[run_id])}
        records.append(RunRecord(**own, metrics=metrics[run_id]))
    return records


NAMES = [name for name in RunRecord.__dataclass_fields__ if name not in ("spec", "tags", "metrics")]
IDS: BindParameter[Any] = bindparam("ids", expanding=True)

# Columns of tables and no objects, in statements made once: a run is read in half the time.
OF_RUNS = select(*(RUNS.c[name] for name in NAMES)).where(RUNS.c.id.in_(IDS))
OF_SPECS = select(SPECS.c.run_id, SPECS.c.document).where(SPECS.c.run_id.in_(IDS))
OF_TAGS = select(TAGS.c.run_id, TAGS.c.tag).where(TAGS.c.run_id.in_(IDS)).order_by(TAGS.c.tag)
OF_SUMMARIES = (
    select(*(SUMMARIES.c[name] for name in ("run_id", "name", "last", "best", "best_epoch")))
    .where(SUMMARIES.c.run_id.in_(IDS))
    .order_by(SUMMARIES.c.name)
)


def _specs(session: Session, run_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    return {run_id: document for run_id, document in session.execute(OF_SPECS, {"ids": run_ids})}  # noqa: C416


def _tags(session: Session, run_ids: Sequence[int]) -> dict[int, list[str]]:
    tags: dict[int, list[str]] = defaultdict(list)
    for run_id, tag in session.execute(OF_TAGS, {"ids": run_ids}):
        tags[run_id].append(tag)
    return tags


def _summaries(session: Session, run_ids: Sequence[int]) -> dict[int, dict[str, MetricSummary]]:
    found: dict[int, dict[str, MetricSummary]] = defaultdict(dict)
    for run_id, name, last, best, best_epoch in session.execute(OF_SUMMARIES, {"ids": run_ids}):
        found[run_id][name] = MetricSummary(last, best, best_epoch)
    return found


def values_of(
    session: Session, run_ids: Sequence[int], asked: Mapping[str, ColumnElement[Any]]
) -> list[dict[str, Any]]:
    """The value of each of these expressions over Run, for these runs, in this order; what is no number is None."""
    found = {
        run_id: {name: None if value != value else value for name, value in zip(asked, values, strict=True)}
        for start in range(0, len(run_ids), MOST_IDS)
        for run_id, *values in session.execute(
            select(Run.id, *asked.values()).where(Run.id.in_(run_ids[start : start + MOST_IDS]))
        )
    }
    return [found[run_id] for run_id in run_ids if run_id in found]


def origin(session: Session, run_id: int) -> dict[str, Any]:
    """Who submitted the run, where and with what; empty for runs of earlier versions."""
    found: dict[str, Any] | None = session.scalar(select(Spec.origin).where(Spec.run_id == run_id))
    if found is None:
        raise NoSuchRun(run_id)
    return found


def attempts(session: Session, run_id: int) -> list[AttemptRecord]:
    rows = session.scalars(select(Attempt).where(Attempt.run_id == run_id).order_by(Attempt.number))
    names = AttemptRecord.__dataclass_fields__
    return [AttemptRecord(**{name: getattr(row, name) for name in names}) for row in rows]


def check_attempt(session: Session, run_id: int, number: int | None) -> None:
    """Raises NoSuchRun, or NoSuchAttempt if there was none of this number."""
    last = session.scalar(select(Run.attempt).where(Run.id == run_id))
    if last is None:
        raise NoSuchRun(run_id)
    if number is not None and not 1 <= number <= last:
        raise NoSuchAttempt(run_id, number, last)


def has_ended(session: Session, run_id: int, attempt: int | None = None) -> bool:
    """Whether the run, or one of its attempts, has ended."""
    if attempt is None:
        return State(session.scalars(select(Run.state).where(Run.id == run_id)).one()).ended
    finished = select(Attempt.finished).where(Attempt.run_id == run_id, Attempt.number == attempt)
    return session.scalar(finished) is not None


def curves(session: Session, run_id: int, after_epoch: int = 0) -> list[dict[str, Any]]:
    """One row an epoch: `epoch` and every metric measured at it."""
    epochs: dict[int, dict[str, Any]] = {}
    points = select(Metric.epoch, Metric.name, Metric.value).where(Metric.run_id == run_id, Metric.epoch > after_epoch)
    for epoch, name, value in session.execute(points.order_by(Metric.epoch, Metric.name)):
        epochs.setdefault(epoch, {"epoch": epoch})[name] = value
    return list(epochs.values())


def curves_of(
    session: Session, run_ids: Sequence[int], names: Sequence[str]
) -> dict[int, dict[str, tuple[tuple[int, float], ...]]]:
    """These metrics of many runs, by run and name: (epoch, value), in the order of the epochs."""
    found: dict[int, dict[str, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(run_ids), MOST_IDS):
        ids = run_ids[start : start + MOST_IDS]
        points = select(Metric.run_id, Metric.name, Metric.epoch, Metric.value)
        points = points.where(Metric.run_id.in_(ids), Metric.name.in_(names))
        for run_id, name, epoch, value in session.execute(points.order_by(Metric.run_id, Metric.name, Metric.epoch)):
            found[run_id][name].append((epoch, value))
    return {run_id: {name: tuple(points) for name, points in curves.items()} for run_id, curves in found.items()}


def environments(session: Session, run_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Where the last attempt at each of these runs was: host, processor, versions."""
    last = (Attempt.run_id == Run.id) & (Attempt.number == Run.attempt)
    found: dict[int, dict[str, Any]] = {}
    for start in range(0, len(run_ids), MOST_IDS):
        query = select(Run.id, Attempt.environment).join(Attempt, last)
        rows = session.execute(query.where(Run.id.in_(run_ids[start : start + MOST_IDS])))
        found |= {run_id: environment for run_id, environment in rows}  # noqa: C416 - dict() takes it for a mapping
    return found


def values(session: Session, run_id: int, name: str, last_epoch: int) -> list[float]:
    """One metric of a run, epoch by epoch."""
    points = select(Metric.value).where(Metric.run_id == run_id, Metric.name == name, Metric.epoch <= last_epoch)
    return list(session.scalars(points.order_by(Metric.epoch)))


def metrics_at(session: Session, run_id: int, epoch: int) -> dict[str, float]:
    """Every metric that a run measured at an epoch."""
    points = select(Metric.name, Metric.value).where(Metric.run_id == run_id, Metric.epoch == epoch)
    return {row.name: row.value for row in session.execute(points.order_by(Metric.name))}


def first_different_epoch(session: Session, run_id: int, other_id: int) -> int | None:
    """The first epoch at which two runs have not the same metrics with the same values; None: they all are."""
    return _first_difference(session, Metric, Metric.epoch, run_id, other_id)


def first_different_step(session: Session, run_id: int, other_id: int) -> int | None:
    """The same of the points of their steps; None too when one of them has none to compare."""
    kept = select(StepMetric.step).limit(1)
    if any(session.scalar(kept.where(StepMetric.run_id == number)) is None for number in (run_id, other_id)):
        return None
    return _first_difference(session, StepMetric, StepMetric.step, run_id, other_id)


def _first_difference(
    session: Session, table: type[Metric] | type[StepMetric], at: InstrumentedAttribute[int], run_id: int, other_id: int
) -> int | None:
    other = aliased(table)
    same_place = (other.name == table.name) & (getattr(other, at.key) == at)

    def first(one: int, another: int) -> int | None:
        missing = other.run_id.is_(None)
        differs = missing | table.value.is_distinct_from(other.value)  # NULL, which stands for NaN, is like NULL
        joined = select(func.min(at)).outerjoin(other, same_place & (other.run_id == another))
        return session.scalar(joined.where(table.run_id == one, differs))

    found = [epoch for epoch in (first(run_id, other_id), first(other_id, run_id)) if epoch is not None]
    return min(found, default=None)


def steps(
    session: Session, run_id: int, names: Sequence[str] | None = None, points: int | None = 1000
) -> list[dict[str, Any]]:
    """One row a point of a step: `step`, `name`, `value`; metric after metric, each in order.

    `names`: only these metrics. Each has at most so many `points`: see `service.store.thinning`. None: all of them.
    """
    wanted = thinning.names(session, run_id) if names is None else names
    return [
        {"step": step, "name": name, "value": value}
        for name in wanted
        for step, value in thinning.curve(session, run_id, name, points)
    ]


def seconds_taken(session: Session, run_id: int) -> float:
    """How long the ended attempts of a run have held their slots, all together."""
    each = type_coerce(Attempt.finished, Double) - type_coerce(Attempt.started, Double)
    return session.scalar(select(func.sum(each)).where(Attempt.run_id == run_id)) or 0.0


def states(session: Session, run_ids: Sequence[int]) -> dict[int, State]:
    """The states of these runs."""
    found: dict[int, State] = {}
    for start in range(0, len(run_ids), MOST_IDS):
        rows = session.execute(select(Run.id, Run.state).where(Run.id.in_(run_ids[start : start + MOST_IDS])))
        found |= {run_id: State(state) for run_id, state in rows}
    return found


def fitting(session: Session, where: ColumnElement[bool] | None) -> dict[int, State]:
    """The states of all runs that fit, by number, the oldest first."""
    query = select(Run.id, Run.state).order_by(Run.id)
    rows = session.execute(query if where is None else query.where(where))
    return {run_id: State(state) for run_id, state in rows}


def queues_of(session: Session, run_ids: Sequence[int], state: State) -> list[str]:
    """The queue of each of these runs that is in this state."""
    found: list[str] = []
    for start in range(0, len(run_ids), MOST_IDS):
        ids = run_ids[start : start + MOST_IDS]
        found += session.scalars(select(Run.queue).where(Run.id.in_(ids), Run.state == state))
    return found


def datasets(session: Session) -> list[DatasetRecord]:
    """Every dataset that the store has, the newest first."""
    used = select(Run.dataset_sha256, func.count().label("runs")).group_by(Run.dataset_sha256).subquery()
    query = (
        select(Dataset, Blob.size, func.coalesce(used.c.runs, 0))
        .join(Blob, Blob.id == Dataset.blob_id)
        .outerjoin(used, used.c.dataset_sha256 == Dataset.sha256)
        .order_by(Dataset.created.desc(), Dataset.sha256)
    )
    return [
        DatasetRecord(row.sha256, row.source, row.created, size, runs, row.schema)
        for row, size, runs in session.execute(query)
    ]


def counts(session: Session) -> dict[State, int]:
    """How many runs are in each state."""
    rows = session.execute(select(Run.state, func.count()).group_by(Run.state))
    found = {state: number for state, number in rows}  # noqa: C416 - dict() takes a Result for a mapping
    return {state: found.get(state, 0) for state in State}


def waiting(session: Session, *, claimable: bool = False) -> dict[str, tuple[int, float]]:
    """For each queue with waiting runs: how many, and for how many seconds the one that waits longest has waited,
    since it was submitted or, if it has trained already, since it came back.

    `claimable`: only those that may be claimed now, not those that pause after a loss.
    """
    oldest = type_coerce(now(), Double) - type_coerce(func.min(Run.not_before), Double)
    wanted = _QUEUED & (Run.not_before <= now()) if claimable else _QUEUED
    rows = session.execute(select(Run.queue, func.count(), oldest).where(wanted).group_by(Run.queue))
    return {queue: (number, max(0.0, float(seconds))) for queue, number, seconds in rows}


_QUEUED = Run.state == literal_column(f"'{State.QUEUED}'")  # a literal, so that the partial index serves


def ahead(session: Session, record: RunRecord) -> int:
    """How many waiting runs of its queue go before this one."""
    better = (Run.priority > record.priority) | ((Run.priority == record.priority) & (Run.id < record.id))
    return session.scalar(select(func.count()).where(Run.queue == record.queue, _QUEUED, better)) or 0


def pause(session: Session, run_id: int) -> float:
    """For how many seconds a run that lost several workers may not be claimed yet; 0 when it may."""
    left = type_coerce(Run.not_before, Double) - type_coerce(now(), Double)
    return max(0.0, session.scalar(select(left).where(Run.id == run_id)) or 0.0)


@dataclass(frozen=True)
class Holder:
    """A run that holds a slot."""

    run_id: int
    worker: str
    epoch: int
    epochs: int


def holders(session: Session, workers: Sequence[str]) -> list[Holder]:
    """The runs that these workers train."""
    running = Run.state == literal_column(f"'{State.RUNNING}'")
    query = select(Run.id, Run.worker, Run.epoch, Run.epochs).where(running, Run.worker.in_(workers)).order_by(Run.id)
    return [Holder(run_id, worker or "?", epoch, epochs) for run_id, worker, epoch, epochs in session.execute(query)]


def held_by(session: Session, worker: str) -> list[tuple[int, int, int]]:
    """Run, attempt and process of everything that this worker's slots train."""
    held = (Run.state == State.RUNNING) & (Run.worker == worker)
    query = select(Run.id, Run.attempt, Attempt.pid).join(
        Attempt, (Attempt.run_id == Run.id) & (Attempt.number == Run.attempt)
    )
    return [(run_id, attempt, pid) for run_id, attempt, pid in session.execute(query.where(held))]
