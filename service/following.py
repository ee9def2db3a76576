"""Following runs to their end: a look at the store now and then, and what has changed since the last one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from service.errors import TrainyardError
from service.store import history, logs
from service.store.history import MOST_IDS
from service.store.logs import Place
from service.store.records import LogRecord, RunRecord
from service.store.tables import Run
from service.store.transitions import NoSuchRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

POLL_SECONDS = 0.1
Read = Callable[[], "AbstractContextManager[Session]"]

# A run's row changes with whatever it reports: a report of metrics renews its lease. Of a thousand runs that are
# followed, those that have reported nothing cost a tenth of a row each look, and their specs are not read again.
TOLD_BY = (
    Run.id, Run.state, Run.attempt, Run.epoch, Run.lease_until, Run.wish, Run.priority, Run.queue, Run.finished,
    Run.name, Run.note,
)  # fmt: skip


class TimedOut(TrainyardError):
    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(f"{what} after {seconds:g} s")


def watch(read: Read, run_ids: Iterable[int], timeout: float | None = None) -> Iterator[RunRecord]:
    """Each run as it is now, then each whenever something of it has changed, until all have ended; an ended run comes
    once more as that, and never again.

    Raises NoSuchRun, also when a run is removed meanwhile, and TimedOut after so many seconds.
    """
    open_ids = list(dict.fromkeys(run_ids))
    deadline = None if timeout is None else time.monotonic() + timeout
    rows: dict[int, tuple[Any, ...]] = {}
    shown: dict[int, RunRecord] = {}
    while open_ids:
        for run in _changed(read, open_ids, rows):
            if run != shown.get(run.id):
                yield run
            shown[run.id] = run
        open_ids = [run_id for run_id in open_ids if not shown[run_id].state.ended]
        if open_ids and deadline is not None and time.monotonic() > deadline:
            raise TimedOut(late([shown[run_id] for run_id in open_ids]), timeout or 0.0)
        if open_ids:
            time.sleep(POLL_SECONDS)


def follow_logs(read: Read, run_id: int, attempt: int | None, after: Place) -> Iterator[LogRecord]:
    """The lines behind a place, then each that comes, until the run, or the attempt, has ended."""
    ended = False
    while not ended:
        with read() as session:  # first whether it has ended, for the last line comes in the same transaction
            history.check_attempt(session, run_id, attempt)
            ended = history.has_ended(session, run_id, attempt)
            lines = logs.read(session, run_id, attempt=attempt, after=after)
        yield from lines
        if lines:
            after = lines[-1].attempt, lines[-1].number
        if not ended:
            time.sleep(POLL_SECONDS)


def _changed(read: Read, run_ids: Sequence[int], rows: dict[int, tuple[Any, ...]]) -> list[RunRecord]:
    """The runs whose rows are no longer as `rows` has them, which is brought up to date."""
    with read() as session:
        found = {
            row.id: tuple(row)
            for start in range(0, len(run_ids), MOST_IDS)
            for row in session.execute(select(*TOLD_BY).where(Run.id.in_(run_ids[start : start + MOST_IDS])))
        }
        for run_id in run_ids:
            if run_id not in found:
                raise NoSuchRun(run_id)
        changed = [run_id for run_id in run_ids if found[run_id] != rows.get(run_id)]
        rows |= {run_id: found[run_id] for run_id in changed}
        parts = (changed[start : start + MOST_IDS] for start in range(0, len(changed), MOST_IDS))
        return [run for some in parts for run in history.some(session, some)]


def late(runs: Sequence[RunRecord]) -> str:
    first = runs[0]
    if len(runs) == 1:
        return f"run {first.id} is still {first.state}"
    return f"{len(runs)} runs, such as run {first.id}, which is {first.state}, have not ended"
