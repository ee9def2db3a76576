"""The workers as they report themselves; one that has not done so for a lease's time is gone."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from sqlalchemy import Double, false, func, select, type_coerce, update
from sqlalchemy.orm import Session

from service.errors import InputError
from service.processes import alive
from service.store.bulk import dialect, upsert
from service.store.clock import now
from service.store.records import WorkerRecord
from service.store.tables import Run, State, Worker

READY, DRAINING, STOPPED, GONE = "ready", "draining", "stopped", "gone"
DRAIN, STOP = "drain", "stop"


class NoSuchWorker(InputError):
    def __init__(self, name: str, known: Sequence[str]) -> None:
        there = f"those there are: {', '.join(known)}" if known else "there is none; start one: trainyard workers start"
        super().__init__(f"there is no running worker '{name}'; {there}")


class WorkerNameTaken(InputError):
    def __init__(self, name: str, host: str, pid: int) -> None:
        super().__init__(f"a worker named '{name}' runs already (process {pid} on {host}); choose another with --name")


def register(
    session: Session,
    *,
    name: str,
    host: str,
    pid: int,
    slots: int,
    queues: Sequence[str],
    metrics_url: str | None = None,
    lease_seconds: float,
) -> None:
    """Announce a worker; one of the same name that is still alive elsewhere raises WorkerNameTaken.

    So does one that has announced itself since we looked: of two that start at once only one gets the name.
    """
    known = session.get(Worker, name)
    if known is not None and known.state in (READY, DRAINING) and may_run(known):
        silent = session.scalar(select(type_coerce(now(), Double) - type_coerce(Worker.last_seen, Double)).where(
            Worker.name == name))  # fmt: skip
        if (silent or 0.0) < lease_seconds:
            raise WorkerNameTaken(name, known.host, known.pid)
    values = {
        "name": name, "host": host, "pid": pid, "slots": 0, "wanted_slots": slots, "queues": list(queues),
        "state": READY, "wish": None, "metrics_url": metrics_url, "started": now(), "last_seen": now(),
    }  # fmt: skip
    changes = {key: value for key, value in values.items() if key != "name"}
    as_seen = (Worker.host == known.host) & (Worker.pid == known.pid) if known is not None else false()
    insertion = upsert(dialect(session), Worker).values(values)
    taken = insertion.on_conflict_do_update(index_elements=["name"], set_=changes, where=as_seen).returning(Worker.name)
    if session.scalar(taken) is None:
        session.expire_all()
        winner = session.get_one(Worker, name)
        raise WorkerNameTaken(name, winner.host, winner.pid)


def tell_metrics(session: Session, name: str, pid: int, metrics_url: str) -> None:
    """Say where the figures of a registered worker are."""
    session.execute(update(Worker).where(Worker.name == name, Worker.pid == pid).values(metrics_url=metrics_url))


def may_run(worker: Worker | WorkerRecord) -> bool:
    """Whether its process may still be there; only those of this machine can be looked at."""
    return worker.host != platform.node() or alive(worker.pid)


def report(session: Session, name: str, pid: int, *, slots: int, state: str) -> tuple[int, str | None] | None:
    """The supervisor's heartbeat; returns what a person wants of it: slots, and `drain`, `stop` or None.

    None: another process has taken the name over.
    """
    statement = (
        update(Worker)
        .where(Worker.name == name, Worker.pid == pid)
        .values(slots=slots, state=state, last_seen=now())
        .returning(Worker.wanted_slots, Worker.wish)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).one_or_none()
    return None if row is None else (row.wanted_slots, row.wish)


def wish(
    session: Session, name: str, lease_seconds: float, *, slots: int | None = None, end: str | None = None
) -> None:
    """Ask a worker to change its number of slots, or to `drain` or `stop`."""
    alive = [worker.name for worker in workers(session, lease_seconds) if worker.live]
    if name not in alive:
        raise NoSuchWorker(name, alive)
    values = {"wanted_slots": slots} if slots is not None else {"wish": end}
    session.execute(update(Worker).where(Worker.name == name).values(**values))


def workers(session: Session, lease_seconds: float) -> list[WorkerRecord]:
    """Every worker known, those that run first."""
    busy = select(Run.worker, func.count().label("busy")).where(Run.state == State.RUNNING).group_by(Run.worker)
    at_work = busy.subquery()
    silent = type_coerce(now(), Double) - type_coerce(Worker.last_seen, Double)
    query = select(Worker, func.coalesce(at_work.c.busy, 0), silent).outerjoin(at_work, at_work.c.worker == Worker.name)
    records = [_record(row, number, seconds, lease_seconds) for row, number, seconds in session.execute(query)]
    order = {READY: 0, DRAINING: 1, GONE: 2, STOPPED: 3}
    return sorted(records, key=lambda worker: (order[worker.state], worker.name))


def _record(row: Worker, busy: int, silent: float, lease_seconds: float) -> WorkerRecord:
    gone = row.state != STOPPED and silent > lease_seconds
    return WorkerRecord(
        name=row.name, host=row.host, pid=row.pid, slots=row.slots, busy=busy, queues=tuple(row.queues),
        state=GONE if gone else row.state, last_seen=row.last_seen, silent_seconds=max(0.0, silent),
        metrics_url=row.metrics_url, set_aside=row.set_aside,
    )  # fmt: skip
