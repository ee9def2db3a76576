"""What the overview shows, as plain values for its template."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from service.client import Client
from service.display import duration, headline, lasted
from service.store.records import RunRecord

SHOWN = 25


@dataclass(frozen=True)
class Row:
    id: int
    name: str
    state: str
    epoch: int
    epochs: int
    best: str
    time: str
    worker: str
    error: str | None


def overview(client: Client) -> dict[str, Any]:
    workers = [worker for worker in client.workers() if worker.state != "stopped"]
    live = [worker for worker in workers if worker.live]
    waiting = client.waiting()
    served = {queue for worker in live for queue in worker.queues}
    queues = {name: waiting.get(name, (0, 0.0)) for name in sorted({"default", *served, *waiting})}
    return {
        "version": version("trainyard"),
        "runs": [_row(run) for run in client.runs(limit=SHOWN)],
        "counts": {state.value: count for state, count in client.counts().items()},
        "busy": sum(worker.busy for worker in live),
        "slots": sum(worker.slots for worker in live),
        "workers": [(worker, f"{duration(worker.silent_seconds)} ago") for worker in workers],
        "queues": [
            (name, depth, duration(oldest) if depth else "-", name in served)
            for name, (depth, oldest) in queues.items()
        ],
    }


def _row(run: RunRecord) -> Row:
    return Row(
        id=run.id, name=run.name, state=run.state.value, epoch=run.epoch, epochs=run.epochs, best=headline(run),
        time=lasted(run), worker=run.worker or "-", error=run.error,
    )  # fmt: skip
