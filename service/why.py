"""`why`: one sentence on why a run waits, or on what ended it and what can be done."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.display import duration, headline
from service.store import history, removal
from service.store.history import Holder
from service.store.records import AttemptRecord, RunRecord, WorkerRecord
from service.store.tables import Run, State, Wish
from service.store.workers import READY, workers

HOLDERS_SHOWN = 3


def why(session: Session, run_id: int, lease_seconds: float) -> str:
    run = history.run(session, run_id)
    attempts = history.attempts(session, run_id)
    if run.wish == Wish.REMOVE:
        return f"run {run.id} is {run.state}, and is just being removed"
    match run.state:
        case State.QUEUED:
            return _waits(session, run, attempts, lease_seconds)
        case State.RUNNING:
            wish = {"cancel": "; it was asked to stop", "pause": "; it was asked to pause"}.get(run.wish or "", "")
            done = f"{run.epoch} of {run.epochs} epochs are done"
            return f"run {run.id} trains on {run.worker} (attempt {run.attempt}), {done}{wish}"
        case State.PAUSED:
            return f"run {run.id} is paused{_after(run)}; `trainyard runs resume {run.id}` {_again(session, run)}"
        case State.COMPLETED:
            return f"run {run.id} completed on {run.worker} after {_epochs(run, attempts)}; best: {headline(run)}"
        case State.CANCELLED:
            return f"run {run.id} was cancelled{_after(run)}; `trainyard runs retry {run.id}` {_again(session, run)}"
        case State.FAILED:
            return f"run {run.id} failed{_where(run)}{_after(run)}: {run.error}{_more(run)}"


def _waits(session: Session, run: RunRecord, attempts: Sequence[AttemptRecord], lease_seconds: float) -> str:
    before = _before(run, attempts[-1]) if attempts else ""
    ready = [w for w in workers(session, lease_seconds) if run.queue in w.queues and w.state == READY]
    serving = [worker for worker in ready if worker.set_aside is None]
    if not serving:
        return f"run {run.id} waits because {_nobody(run, ready)}{before}"
    if (pause := history.pause(session, run.id)) > 0:
        return f"run {run.id} waits: it is tried again in {duration(pause)}, for it was lost several times{before}"
    ahead = history.ahead(session, run)
    slots, busy = sum(worker.slots for worker in serving), sum(worker.busy for worker in serving)
    line = "it is next in line" if ahead == 0 else f"{ahead} {'run goes' if ahead == 1 else 'runs go'} before it"
    if slots == 0:
        reason = f"worker {serving[0].name} is just starting"
    elif busy >= slots:
        reason = _busy(run.queue, slots, history.holders(session, [worker.name for worker in serving]))
    elif ahead < slots - busy:
        return f"run {run.id} waits: it is about to start{before}"
    else:
        reason = "others are about to start"
    return f"run {run.id} waits: {reason}; {line}{before}"


def _before(run: RunRecord, last: AttemptRecord) -> str:
    """How the last attempt ended; one that was cancelled has no reason but that."""
    return f" (attempt {run.attempt} was {last.outcome}{f': {last.reason}' if last.reason else ''})"


def _nobody(run: RunRecord, set_aside: Sequence[WorkerRecord]) -> str:
    """What is missing, and the command that helps."""
    start = (
        "`trainyard up`, or `trainyard workers start` beside a yard"
        if run.queue == "default"
        else f"`trainyard workers start --queues {run.queue}`"
    )
    if not set_aside:
        return f"no worker serves queue '{run.queue}'; start one: {start}"
    worker = set_aside[0]
    others = f" and {len(set_aside) - 1} more" if len(set_aside) > 1 else ""
    return (
        f"worker {worker.name}{others}, which would serve queue '{run.queue}', is set aside: {worker.set_aside}; "
        f"`trainyard workers trust {worker.name}` takes it back"
    )


def _busy(queue: str, slots: int, holders: Sequence[Holder]) -> str:
    held = [f"run {h.run_id} on {h.worker}, epoch {h.epoch} of {h.epochs}" for h in holders[:HOLDERS_SHOWN]]
    more = ["…"] if len(holders) > HOLDERS_SHOWN else []
    return f"{'the only slot is' if slots == 1 else f'all {slots} slots of queue {queue!r} are'} busy" + (
        f" ({'; '.join(held + more)})" if held else ""
    )


def _epochs(run: RunRecord, attempts: Sequence[AttemptRecord]) -> str:
    """How many epochs a run took, and if not all, why, as its attempt says; those of version 0.1 do not."""
    if run.epoch >= run.epochs:
        return f"{run.epoch} epoch{'' if run.epoch == 1 else 's'}"
    stopping = run.spec.get("train", {}).get("early_stopping") or {}
    monitor = stopping.get("monitor", "the monitored metric")
    older = f"{monitor} had not improved for {stopping.get('patience', 'some')} epochs"
    return f"{run.epoch} of {run.epochs} epochs: {(attempts[-1].reason if attempts else None) or older}"


def _where(run: RunRecord) -> str:
    return f" on {run.worker}" if run.worker else ""


def _after(run: RunRecord) -> str:
    return f" after {run.epoch} of {run.epochs} epochs" if run.started else " before it started"


def _more(run: RunRecord) -> str:
    """What helps a run that was ended by one of its limits: a retry would end there again."""
    limit = re.search(r"limits\.[a-z_]+", run.error or "")
    return f"; `trainyard runs clone {run.id} --set {limit[0]}=…` allows more" if limit else ""


def _again(session: Session, run: RunRecord) -> str:
    if removal.given_up(session, run.id, "checkpoint") is not None:
        return "starts it over, for its checkpoint was removed by retention"
    if not run.epoch:
        return "queues it again"
    there = session.scalar(select(Run.checkpoint_id).where(Run.id == run.id)) is not None
    return "goes on from there" if there else "starts it over, for there is no checkpoint of it here"
