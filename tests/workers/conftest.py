"""A slot in this very process: the module's settings, store and name are those of a test's own yard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from service.client import Client
from service.settings import Settings
from service.store import blobs, transitions
from service.store.clock import after
from service.store.database import Database
from service.store.tables import Run
from workers import drain, slot

SPEC = """
version: 1
name: digits
data: {source: digits, split: {validation: 0.2, test: 0.1}, scale: minmax}
network: [{dense: {units: 16, activation: relu}}, {dropout: 0.3}]
optimizer: {adam: 0.1}  # too large, so that the best weights are not the last
train: {epochs: 6, batch_size: 64}
seed: 3
"""


class Here:
    """A yard whose only slot is the calling thread."""

    def __init__(self, database: Database, settings: Settings, folder: Path) -> None:
        self.database, self.settings = database, settings
        self.client = Client(settings)
        self.client.__dict__["database"] = database  # the connections of the fixture, which closes them
        self.queue = f"q-{uuid4().hex[:8]}"  # of its own, for the tests share a Redis
        self.file = folder / "digits.yaml"
        self.file.write_text(SPEC)

    def submit(self, *overrides: str, **named: Any) -> int:
        return self.client.submit(self.file, overrides=overrides, queue=self.queue, **named).id

    def train(self) -> None:
        slot.train_next(self.queue)

    def row(self, run_id: int) -> Run:
        with self.database.read() as session:
            return session.get_one(Run, run_id)

    def set(self, run_id: int, **values: Any) -> None:
        with self.database.write() as session:
            session.execute(update(Run).where(Run.id == run_id).values(**values))

    def expire(self, run_id: int) -> None:
        self.set(run_id, lease_until=after(-1))

    def lose(self, run_id: int, attempt: int) -> None:
        """As the reconciler does with the run of a worker that has vanished."""
        with self.database.write() as session:
            transitions.lose(session, run_id, attempt, "vanished")

    def checkpoint(self, run_id: int) -> bytes:
        with self.database.read() as session:
            return blobs.load(session, session.get_one(Run, run_id).checkpoint_id)

    def leftovers(self) -> list[int]:
        """The blobs that nothing points at, however new they are."""
        with self.database.read() as session:
            return list(session.scalars(blobs.garbage(older_than=-60)))

    def outcomes(self, run_id: int) -> list[str | None]:
        return [attempt.outcome for attempt in self.client.attempts(run_id)]

    def result(self, run_id: int) -> tuple[bytes, bytes, list[dict[str, Any]]]:
        client = self.client
        return client.weights_file(run_id), client.weights_file(run_id, last=True), client.history(run_id)


@pytest.fixture
def here(database: Database, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    settings = Settings(
        home=tmp_path, database_url=database.url, broker_url=redis_url, lease_seconds=5, checkpoint_seconds=0
    )
    monkeypatch.setattr(slot, "settings", settings)
    monkeypatch.setattr(slot, "database", database)
    monkeypatch.setattr(slot, "worker", "ada")
    slot._dataset.cache_clear()
    yield Here(database, settings, tmp_path)
    drain._flag[0] = 0


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[int, Callable[[], None]]], None]:
    """Have something happen before the n-th step (from 1) that this process trains from now on."""

    def happen(events: dict[int, Callable[[], None]]) -> None:
        asked = slot.Attempt._stopper
        count = 0

        def stopper(attempt: slot.Attempt, keeper: Any, state: Any) -> Callable[[], bool]:
            must_stop = asked(attempt, keeper, state)

            def stop() -> bool:
                nonlocal count
                count += 1
                events.get(count, lambda: None)()
                return must_stop()

            return stop

        monkeypatch.setattr(slot.Attempt, "_stopper", stopper)

    return happen
