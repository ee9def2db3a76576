"""Watch the yard: workers, queues, datasets, notifications."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from service.client.connection import Connection
from service.errors import InputError
from service.store import activity, history, notices, suspicion
from service.store import workers as worker_store
from service.store.records import DatasetRecord, WorkerRecord
from service.store.tables import State

if TYPE_CHECKING:
    from service.notifications import Answer
    from service.store.glance import Glance, Pace


class Watching(Connection):
    """The part of a client that sees to the pool."""

    def workers(self) -> list[WorkerRecord]:
        with self.database.read() as session:
            return worker_store.workers(session, self.settings.lease_seconds)

    def scale(self, worker: str, slots: int) -> None:
        """Ask a worker for another number of slots; a slot that trains ends its run first."""
        if slots < 1:
            raise InputError(f"a worker cannot have {slots} slots; `drain` and `stop` end it")
        with self.database.write() as session:
            worker_store.wish(session, worker, self.settings.lease_seconds, slots=slots)

    def drain(self, worker: str) -> None:
        """Ask a worker to finish what it trains, to take nothing new, and to end."""
        self._end(worker, worker_store.DRAIN)

    def stop(self, worker: str) -> None:
        """Ask a worker to save what it trains, hand it over to others, and end."""
        self._end(worker, worker_store.STOP)

    def trust(self, worker: str) -> None:
        """Take back a worker that was set aside. Raises NotSetAside."""
        with self.database.write() as session:
            suspicion.trust(session, worker)

    def _end(self, worker: str, wish: str) -> None:
        with self.database.write() as session:
            worker_store.wish(session, worker, self.settings.lease_seconds, end=wish)

    def datasets(self) -> list[DatasetRecord]:
        """The datasets that the store has, the newest first."""
        with self.database.read() as session:
            return history.datasets(session)

    def counts(self) -> dict[State, int]:
        with self.database.read() as session:
            return history.counts(session)

    def glance(self) -> Glance:
        """What goes on just now: workers, queues, what trains and how fast, what is next, what ended last."""
        from service.store.glance import glance

        with self.database.read() as session:
            return glance(session, self.settings.lease_seconds)

    def notify_test(self) -> dict[str, Answer]:
        """Send an example of a notification to each subscriber that is set up here; returns what came of it.

        Raises InputError if there is none.
        """
        from service import notifications

        subscribers = notifications.subscribers(self.settings)
        if not subscribers:
            raise InputError("no notifications are set up here; set TRAINYARD_NOTIFY_URL or TRAINYARD_NOTIFY_COMMAND")
        told = notifications.example()
        return {subscriber: notifications.deliver(self.settings, subscriber, told) for subscriber in subscribers}

    def undelivered(self) -> list[notices.Undelivered]:
        """The notifications that wait, and those that were given up within the last week, by subscriber."""
        with self.database.read() as session:
            return notices.undelivered(session)

    def ended_since(self, moment: datetime) -> dict[State, int]:
        """How many runs have ended since then, by how."""
        with self.database.read() as session:
            return activity.ended_since(session, moment)

    def paces(self) -> dict[int, Pace]:
        """How fast each run trains that trains just now, and how many seconds it has left."""
        with self.database.read() as session:
            return activity.paces(session)

    def waiting(self) -> dict[str, tuple[int, float]]:
        """For each queue with waiting runs: how many, and how many seconds the oldest has waited."""
        with self.database.read() as session:
            return history.waiting(session)
