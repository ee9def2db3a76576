"""The watch for a pool that leaves work waiting while its slots do nothing: a fault, whoever's it is."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sqlalchemy import func, literal_column, or_, select

from service.errors import TrainyardError
from service.store.clock import after, now
from service.store.database import Database
from service.store.tables import Run, State
from service.store.transitions import SHY_SECONDS

STUCK_SECONDS = 20.0


class WorkerStuck(TrainyardError):
    def __init__(self) -> None:
        super().__init__(f"runs wait and no slot has taken one for {STUCK_SECONDS:g} s; the worker must start again")


class Watch:
    """Told at every heartbeat whether all slots that may take work are idle."""

    def __init__(self, database: Database, worker: str, queues: Sequence[str]) -> None:
        self._database = database
        self._worker = worker
        self._queues = list(queues)
        self._waiting = 0
        self._since: float | None = None

    def look(self, idle: bool) -> None:
        """Raises WorkerStuck when work has waited beside idle slots for too long; a new Celery worker cures it."""
        before, self._waiting = self._waiting, self._count()
        if not idle or not self._waiting or self._waiting != before:  # short runs may end between two looks
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > STUCK_SECONDS:
            raise WorkerStuck

    def rest(self) -> None:
        """Something else is wrong: nobody could take work."""
        self._since = None

    def _count(self) -> int:
        """Runs that this worker could take now; one that it lost it leaves to others for a while."""
        mine = or_(Run.lost_by.is_(None), Run.lost_by != self._worker, Run.not_before <= after(-SHY_SECONDS))
        queued = Run.state == literal_column(f"'{State.QUEUED}'")  # a literal, so that the partial index serves
        wanted = select(func.count()).where(queued, Run.queue.in_(self._queues), Run.not_before <= now(), mine)
        with self._database.read() as session:
            return session.scalar(wanted) or 0
