"""The yard at a glance: what trains, what waits and why, what ended today, what failed last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.client import Client
from service.display import duration
from service.store.tables import State
from service.web.pages.rows import per_second, row

SHOWN = 12
FAILURES = 5
OUTCOMES = (State.COMPLETED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Queue:
    name: str
    waiting: int
    oldest: str
    slots: int
    busy: int

    @property
    def served(self) -> str:
        return f"{self.slots} slot{'' if self.slots == 1 else 's'}" if self.slots else "by no worker"


def values(client: Client) -> dict[str, Any]:
    workers = client.workers()
    live = [worker for worker in workers if worker.live]
    counts, paces, today = client.counts(), client.paces(), client.ended_since(midnight())
    running = client.runs("state = running", limit=SHOWN)
    rates = [pace.samples_per_second for pace in paces.values() if pace.samples_per_second]
    return {
        "counts": counts,
        "busy": sum(worker.busy for worker in live),
        "slots": sum(worker.slots for worker in live),
        "workers": len(live),
        "gone": [worker.name for worker in workers if worker.state == "gone"],
        "set_aside": [worker for worker in live if worker.set_aside],
        "rate": per_second(sum(rates)) if rates else "-",
        "today": [(state, today.get(state, 0)) for state in OUTCOMES],
        "ended_today": sum(today.values()),
        "running": [row(run, paces) for run in running],
        "more_running": counts[State.RUNNING] - len(running),
        "latest": [row(run, paces) for run in client.runs("state != running", limit=SHOWN)],
        "failures": [row(run, paces) for run in client.runs("state = failed", sort="finished desc", limit=FAILURES)],
        "queues": _queues(client, live),
    }


def midnight() -> datetime:
    """When today began on this machine's clock."""
    return datetime.now().astimezone().replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)


def _queues(client: Client, live: list[Any]) -> list[Queue]:
    waiting = client.waiting()
    serving = [worker for worker in live if worker.state == "ready" and not worker.set_aside]
    names = sorted({"default", *waiting, *(queue for worker in live for queue in worker.queues)})
    found = []
    for name in names:
        depth, oldest = waiting.get(name, (0, 0.0))
        own = [worker for worker in serving if name in worker.queues]
        found.append(Queue(
            name, depth, duration(oldest) if depth else "-",
            sum(worker.slots for worker in own), sum(worker.busy for worker in own),
        ))  # fmt: skip
    return found
