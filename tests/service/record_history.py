"""Record a small history with the code that is on the path, for the tests of what later versions make of it.

    git worktree add --detach ../then COMMIT            # the last one before the next schema
    cd ../then && PYTHONPATH=. python ../trainyard/tests/service/record_history.py FILE.db

writes a SQLite file such as tests/service/recorded/histories/0002.db. It is run by hand, once for each schema that is
left behind. Everything in it was trained by a slot of that version; the runs are listed in `record`.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from service.client import Client
from service.settings import Settings
from service.store import transitions
from workers import drain, slot

LEASE = 5.0  # seconds
SPEC: dict[str, Any] = {
    "version": 1,
    "name": "iris",
    "data": {"source": "iris", "split": {"validation": 0.2, "test": 0.1}, "scale": "standard"},
    "network": [{"dense": {"units": 4, "activation": "relu"}}, {"dropout": 0.1}],
    "optimizer": {"adam": 0.02},
    "train": {"epochs": 6, "batch_size": 32},
    "seed": 1,
}


def record(client: Client) -> None:
    """Each run has the number of its line; from 7 on what the version could do."""
    submit(client, tags=["base", "try"])  # 1: completed
    slot.train_next("default")
    submit(client, "optimizer.adam.learning_rate=1e30", "name=diverging")  # 2: failed
    slot.train_next("default")
    submit(client, tags=["try"])  # 3: cancelled in its middle
    train_until(3, lambda run: wish(client, run, "cancel"))
    submit(client)  # 4: stopped in its middle: paused, or interrupted where a version knew no pause
    can_pause = hasattr(Client, "pause")
    train_until(4, lambda run: wish(client, run, "pause") if can_pause else drain.request())
    if not can_pause:
        move(client, 4, "stopped")
    submit(client, "begin=1", "optimizer.adam.learning_rate=0.005", "name=fine", tags=["try"])  # 5: fine-tuned from 1
    slot.train_next("default")
    submit(client, "name=waiting", queue="night", priority=3)  # 6: queued
    submit(client, "name=running", queue="busy")  # 7: running, asked to cancel, its worker gone
    with client.database.write() as session:
        transitions.claim(session, "busy", "bob", 7, LEASE, {"cpu": "any"})
    client.cancel(7, timeout=0)
    if hasattr(Client, "clone"):
        client.clone(1, overrides=["optimizer.adam.learning_rate=0.05"], tags=["wide"])  # 8: completed, cloned from 1
        slot.train_next("default")
        client.clone(8)  # 9: queued, cloned from 8


def submit(client: Client, *overrides: str, **named: Any) -> None:
    client.submit(SPEC, overrides=overrides, **named)


def move(client: Client, run: int, queue: str) -> None:
    """To another queue, so that the next slot does not take it up again."""
    from sqlalchemy import update

    from service.store.tables import Run

    with client.database.write() as session:
        session.execute(update(Run).where(Run.id == run).values(queue=queue))


def wish(client: Client, run: int, what: str) -> None:
    """Ask the run, and wait until its training has heard of it."""
    getattr(client, what)(run, timeout=0)
    [keeper] = [thread._target.__self__ for thread in threading.enumerate() if thread.name == f"keeper of run {run}"]
    while keeper.stop is None:
        time.sleep(0.01)


def train_until(run: int, happens: Callable[[int], None], step: int = 10) -> None:
    """Train the run; something happens before a step of its middle."""
    asked, count = slot.Attempt._stopper, 0

    def stopper(*arguments: Any) -> Callable[[], bool]:
        must_stop = asked(*arguments)

        def stop() -> bool:
            nonlocal count
            count += 1
            if count == step:
                happens(run)
            return must_stop()

        return stop

    static = isinstance(slot.Attempt.__dict__["_stopper"], staticmethod)
    with patch.object(slot.Attempt, "_stopper", staticmethod(stopper) if static else stopper):
        slot.train_next("default")
    drain._flag[0] = 0


@contextmanager
def yard(home: Path) -> Iterator[Client]:
    client = Client(Settings(home=home, database_url="", broker_url="", lease_seconds=LEASE))
    here = {"settings": client.settings, "database": client.database, "worker": "ada"}
    with patch.multiple(slot, **here):
        yield client
    client.database.dispose()


def main(target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with yard(Path(folder)) as client:
            record(client)
        with closing(sqlite3.connect(Path(folder) / "trainyard.db")) as connection:
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("PRAGMA page_size = 1024")  # most tables have a few rows
            connection.execute("VACUUM INTO ?", (str(target),))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
