"""`why`: one sentence on why a run waits, or on what ended it and what can be done."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.display import duration, headline
from service.store import history
from service.store.records import AttemptRecord, RunRecord, WorkerRecord
from service.store.tables import State
from service.store.workers import READY, workers


def why(session: Session, run_id: int, lease_seconds: float) -> str:
    run = history.run(session, run_id)
    attempts = history.attempts(session, run_id)
    match run.state:
        case State.QUEUED:
            serving = [
                worker
                for worker in workers(session, lease_seconds)
                if run.queue in worker.queues and worker.state == READY
            ]
            return _waits(run, attempts, serving, history.ahead(session, run), history.pause(session, run_id))
        case State.RUNNING:
            return (
                f"run {run.id} trains on {run.worker} (attempt {run.attempt}), "
                f"{run.epoch} of {run.epochs} epochs are done"
            )
        case State.COMPLETED:
            return f"run {run.id} completed on {run.worker} after {_epochs(run, attempts)}; best: {headline(run)}"
        case State.CANCELLED:
            again = "goes on from there" if run.epoch else "queues it again"
            return f"run {run.id} was cancelled{_after(run)}; `trainyard runs retry {run.id}` {again}"
        case State.FAILED:
            where = f" on {run.worker}" if run.worker else ""
            return f"run {run.id} failed{where}{_after(run)}: {run.error}"
    return f"run {run.id} is {run.state}"


def _waits(run: RunRecord, attempts: list[AttemptRecord], serving: list[WorkerRecord], ahead: int, pause: float) -> str:
    before = f" (attempt {run.attempt} was {attempts[-1].outcome}: {attempts[-1].reason})" if attempts else ""
    if not serving:
        hint = "`trainyard up`" if run.queue == "default" else f"`trainyard workers start --queues {run.queue}`"
        return f"run {run.id} waits because no worker serves queue '{run.queue}'; start one: {hint}{before}"
    slots = sum(worker.slots for worker in serving)
    busy = sum(worker.busy for worker in serving)
    line = "it is next in line" if ahead == 0 else f"{ahead} {'run goes' if ahead == 1 else 'runs go'} before it"
    if pause > 0:
        return f"run {run.id} waits: it is tried again in {duration(pause)}, for it lost several workers{before}"
    if slots == 0:
        reason = f"worker {serving[0].name} is just starting"
    elif busy >= slots:
        reason = f"all {slots} slots of queue '{run.queue}' are busy" if slots > 1 else "the only slot is busy"
    elif ahead < slots - busy:
        return f"run {run.id} waits: it is about to start{before}"
    else:
        reason = "others are about to start"
    return f"run {run.id} waits: {reason}; {line}{before}"


def _epochs(run: RunRecord, attempts: list[AttemptRecord]) -> str:
    """How many epochs a run took, and if not all, why, as its attempt says; those of version 0.1 do not."""
    if run.epoch >= run.epochs:
        return f"{run.epoch} epoch{'' if run.epoch == 1 else 's'}"
    stopping = run.spec.get("train", {}).get("early_stopping") or {}
    monitor = stopping.get("monitor", "the monitored metric")
    older = f"{monitor} had not improved for {stopping.get('patience', 'some')} epochs"
    return f"{run.epoch} of {run.epochs} epochs: {(attempts[-1].reason if attempts else None) or older}"


def _after(run: RunRecord) -> str:
    return f" after {run.epoch} of {run.epochs} epochs" if run.started else " before it started"
