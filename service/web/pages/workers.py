"""The pool: each worker's slots and what they train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.client import Client
from service.display import duration
from service.store.records import WorkerRecord
from service.web.pages.rows import Row, row

MOST_SLOTS = 200  # runs that are shown at once
LONGEST_AWAY = 7 * 24 * 3600.0  # seconds for which a worker that ended is shown


@dataclass(frozen=True)
class Member:
    worker: WorkerRecord
    seen: str
    runs: tuple[Row, ...]

    @property
    def state(self) -> str:
        return "set aside" if self.worker.set_aside and self.worker.live else self.worker.state


def values(client: Client) -> dict[str, Any]:
    paces = client.paces()
    running = [row(run, paces) for run in client.runs("state = running", limit=MOST_SLOTS)]
    shown = [w for w in client.workers() if w.live or w.silent_seconds < LONGEST_AWAY]
    members = [_member(worker, running) for worker in shown]
    live = [member.worker for member in members if member.worker.live]
    return {
        "members": [member for member in members if member.worker.live],
        "away": [member for member in members if not member.worker.live],
        "busy": sum(worker.busy for worker in live),
        "slots": sum(worker.slots for worker in live),
    }


def _member(worker: WorkerRecord, running: Sequence[Row]) -> Member:
    own = tuple(each for each in running if each.run.worker == worker.name)
    return Member(worker, f"{duration(worker.silent_seconds)} ago", own)
