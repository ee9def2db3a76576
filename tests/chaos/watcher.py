"""The watcher: looks at the database several times a second and says what may never be seen there."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass

from sqlalchemy import select

from service.errors import Unreachable
from service.store.database import Database
from service.store.tables import Attempt, Outcome, Run, State, Worker
from tests.chaos.findings import Findings

LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Open:
    """An attempt that is under way, as the database says."""

    run_id: int
    number: int
    worker: str
    pid: int


class Watcher:
    """`with Watcher(…) as watcher:` looks until the block ends. What it saw last can be read at any time."""

    def __init__(self, database: Database, findings: Findings) -> None:
        self._database, self._findings = database, findings
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self.open: list[Open] = []
        self.state_of: dict[int, str] = {}
        self.states: Counter[str] = Counter()
        self.set_aside: list[str] = []
        self.looks = 0
        self.outages: list[tuple[float, float]] = []  # of the database, as seen from here, in seconds since 1970
        self._away_since: float | None = None

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.look()
            except Unreachable:
                self._away_since = self._away_since or time.time()
                continue
            except Exception as error:  # noqa: BLE001 - a watcher that has died would see nothing and say nothing
                self._findings.add(f"the watcher cannot look: {type(error).__name__}: {error}")
                return
            if self._away_since is not None:
                self.outages.append((self._away_since, time.time()))
                self._away_since = None

    def look(self) -> None:
        query = select(
            Run.id, Run.state, Run.attempt, Attempt.number, Attempt.worker, Attempt.pid, Attempt.outcome
        ).outerjoin(Attempt, Attempt.run_id == Run.id)
        with self._database.read() as session:
            rows = session.execute(query.order_by(Run.id, Attempt.number)).all()
            self.set_aside = list(session.scalars(select(Worker.name).where(Worker.set_aside.is_not(None))))
        runs: dict[int, list] = {}
        for row in rows:
            runs.setdefault(row.id, []).append(row)
        for attempts in runs.values():
            self._check(attempts)
        self.open = [
            Open(row.id, row.number, row.worker, row.pid)
            for row in rows
            if row.state == State.RUNNING and not row.outcome
        ]
        self.state_of = {run_id: attempts[0].state for run_id, attempts in runs.items()}
        self.states = Counter(self.state_of.values())
        self.looks += 1

    def _check(self, rows: list) -> None:
        run, say = rows[0], self._findings.add
        attempts = [row for row in rows if row.number is not None]
        under_way = [row.number for row in attempts if row.outcome is None]
        if run.state not in set(State):
            say(f"run {run.id} is in the unknown state {run.state}", run.id)
        if run.state == State.FAILED:
            say(f"run {run.id} has failed", run.id)
        if [row.number for row in attempts] != list(range(1, run.attempt + 1)):
            say(f"run {run.id} has attempts {[row.number for row in attempts]} and counts {run.attempt}", run.id)
        if under_way != ([run.attempt] if run.state == State.RUNNING else []):
            say(f"run {run.id} is {run.state} at attempt {run.attempt}, and under way are {under_way}", run.id)
        for row in attempts:
            if row.outcome not in {None, *Outcome}:
                say(f"run {run.id}: attempt {row.number} has the unknown outcome {row.outcome}", run.id)
