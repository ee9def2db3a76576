"""A yard with little in it: short words for what the store's tests do all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import typer.main
from sqlalchemy import update

from service.store import history, transitions
from service.store.clock import after
from service.store.database import Database
from service.store.points import Point
from service.store.records import AttemptRecord, RunRecord
from service.store.submissions import NewRun
from service.store.tables import Blob, Chunk, Dataset, Outcome, Run, State
from service.store.transitions import Claim, Progress

LEASE = 60.0  # no test waits for it: `expire` ends it


class Yard:
    def __init__(self, database: Database) -> None:
        self.database = database
        with database.write() as session:
            blob = Blob(sha256="0" * 64, size=0)
            session.add(blob)
            session.flush()
            self.blob_id = blob.id  # for whatever needs to point at one
            session.add(Chunk(blob_id=blob.id, number=0, data=b""))
            session.add(Dataset(sha256="d" * 64, source="digits", schema={}, blob_id=blob.id))

    def new(self, *, max_attempts: int = 3, **changes: Any) -> NewRun:
        spec = {"max_attempts": max_attempts}
        values = {"name": "digits", "spec": spec, "dataset_sha256": "d" * 64, "epochs": 30} | changes
        return NewRun(max_attempts=max_attempts, **values)

    def submit(self, **changes: Any) -> int:
        return self.do(transitions.submit, [self.new(**changes)])[0]

    def do(self, transition: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """One function of the store in one writing transaction."""
        with self.database.write() as session:
            return transition(session, *arguments, **named)

    def ask(self, question: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        with self.database.read() as session:
            return question(session, *arguments, **named)

    def claim(self, queue: str = "default", worker: str = "ada") -> Claim | None:
        return self.do(transitions.claim, queue, worker, 7, LEASE, {"cpu": "any"})

    def claimed(self, **changes: Any) -> Claim:
        """A new run, just claimed."""
        self.submit(**changes)
        claim = self.claim(changes.get("queue", "default"))
        assert claim is not None
        return claim

    def record(self, claim: Claim, *points: Point, **progress: Any) -> bool:
        report = Progress(points=list(points), **progress)
        return self.do(transitions.record, claim.run_id, claim.attempt, report, LEASE)

    def finish(self, claim: Claim, outcome: Outcome = Outcome.COMPLETED, **named: Any) -> None:
        self.do(transitions.finish, claim.run_id, claim.attempt, outcome, **named)

    def interrupt(self, claim: Claim, reason: str = "drained") -> State:
        return self.do(transitions.interrupt, claim.run_id, claim.attempt, reason)

    def lose(self, claim: Claim, reason: str = "vanished") -> State:
        return self.do(transitions.lose, claim.run_id, claim.attempt, reason)

    def cancel(self, run_id: int) -> State:
        return self.do(transitions.only, run_id, transitions.cancel)

    def pause(self, run_id: int) -> State:
        return self.do(transitions.only, run_id, transitions.pause)

    def resume(self, run_id: int) -> State:
        return self.do(transitions.only, run_id, transitions.resume)

    def retry(self, run_id: int) -> None:
        self.do(transitions.only, run_id, transitions.retry)

    def run(self, run_id: int) -> RunRecord:
        return self.ask(history.run, run_id)

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        return self.ask(history.attempts, run_id)

    def row(self, run_id: int) -> Run:
        """The columns that no record shows."""
        return self.ask(lambda session: session.get(Run, run_id))

    def set(self, run_id: int, **values: Any) -> None:
        """Write columns past every transition, to make a state or a time that would take long to come about."""
        self.do(lambda session: session.execute(update(Run).where(Run.id == run_id).values(**values)))

    def expire(self, run_id: int) -> None:
        self.set(run_id, lease_until=after(-1))

    def in_state(self, state: State) -> Claim:
        """A run in this state by legal transitions, and the last attempt that held it (number 0: none)."""
        if state in (State.QUEUED, State.PAUSED):
            claim = Claim(self.submit(), 0, {}, "d" * 64, None, 0)
            if state is State.PAUSED:
                self.pause(claim.run_id)
            return claim
        claim = self.claimed()
        if state.ended:
            self.finish(claim, Outcome(state.value))
        return claim


@pytest.fixture
def yard(database: Database) -> Yard:
    return Yard(database)


@pytest.fixture(scope="session", autouse=True)
def _one_command_line() -> Iterator[None]:
    """A program builds its command line once; a test process that calls it hundreds of times shall, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        yield
