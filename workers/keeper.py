"""The keeper of an attempt: a thread that holds its lease, brings back what people want, and writes what it reports.
It also looks after the run's limits.

The training loop never waits for the database: it leaves epochs and checkpoints here and asks `must_stop` between two
steps. Errors of the database are survived: what was not written stays and is written with the next try, for every
write is fenced and may be repeated.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import TracebackType

from sqlalchemy import select

from service.display import size
from service.store import blobs, transitions
from service.store.database import Database
from service.store.points import Point, StepPoint
from service.store.tables import Run, State, Wish
from service.store.transitions import Claim, LeaseLost, Progress
from workers.runlog import RunLog

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25  # how soon a wish to cancel arrives
WRITE_SECONDS = 0.7  # between two writes; with a tick, a metric is less than a second late
RENEWALS_PER_LEASE = 5
MOST_POINTS = 50_000  # waiting to be written; beyond, the training waits: memory is bounded and no point is dropped
MOST_STEPS = 10_000  # the same of points of steps: they come by the thousand, and a transaction should be short
CHECKPOINTS_KEPT = 2  # should the newer one be damaged
LONGEST_SILENCE = 600.0  # seconds without the database after which training on is pointless


class Stop(StrEnum):
    """Why the training must end before its time."""

    PAUSED = "paused"
    CANCELLED = "cancelled"
    LIMIT = "limit"
    LOST = "lost"


ASKED = {Wish.PAUSE: Stop.PAUSED, Wish.CANCEL: Stop.CANCELLED}
FIRMNESS = list(Stop)  # a later reason takes the place of an earlier one


class Keeper:
    """`with Keeper(...) as keeper:` keeps the lease while the block runs."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        lease_seconds: float,
        exceeded: Callable[[], str | None] = lambda: None,
        log: RunLog | None = None,
    ) -> None:
        self._database = database
        self._claim = claim
        self._lease_seconds = lease_seconds
        self._wake = threading.Condition()
        self._progress = Progress()
        self._checkpoint: Callable[[], bytes] | None = None  # left, but not staged yet
        self._exceeded = exceeded
        self._log = log or RunLog(claim.run_id)
        there = claim.previous_checkpoint_id, claim.checkpoint_id
        self._checkpoints = deque(blob_id for blob_id in there if blob_id is not None)  # the oldest first
        self._closing = False
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._keep, name=f"keeper of run {claim.run_id}", daemon=True)
        self.saving = False  # a checkpoint was left and nothing points at it yet
        self.stop: Stop | None = None
        self.limit: str | None = None  # what the run took too much of

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Write what is left, or find out that the lease is lost; afterwards the lease is no longer renewed.

        Lines of the log that still wait are left to whatever ends the attempt.
        """
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    # The training side

    def report(self, epoch: int, points: list[Point], samples: int, seconds: float) -> None:
        """Leave an epoch's metrics; they are stored within a second. `samples`, `seconds`: the attempt's so far."""
        with self._wake:
            self._wake.wait_for(lambda: not self._full or self.stop is not None)
            self._progress.first_epoch = self._progress.first_epoch or epoch
            self._progress.epoch = epoch
            self._progress.points += points
            self._progress.samples, self._progress.seconds = samples, seconds

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Leave what a step has to tell, as soon as it is done; it is stored within a second too."""
        with self._wake:
            if self._full:
                self._wake.notify_all()
                self._wake.wait_for(lambda: not self._full or self.stop is not None)
            self._progress.steps += [StepPoint(name, step, value) for name, value in values.items()]

    def save(self, checkpoint: Callable[[], bytes]) -> None:
        """Leave a checkpoint; making its bytes out of the copied state is this thread's work, not the training's."""
        with self._wake:
            self._checkpoint, self.saving = checkpoint, True
            self._wake.notify_all()

    def refuse(self, limit: str) -> None:
        """Have the training end, for the run has taken too much of something."""
        self.limit = self.limit or limit
        self._end(Stop.LIMIT)

    @property
    def _full(self) -> bool:
        """Whether so much waits to be written that the training must wait too."""
        return len(self._progress.points) >= MOST_POINTS or len(self._progress.steps) >= MOST_STEPS

    # The thread's side

    def _keep(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closing or self._full or self._checkpoint is not None, TICK_SECONDS)
                closing = self._closing
            try:
                self._tick()
            except LeaseLost as error:
                log.warning("%s", error)
                self._end(Stop.LOST)
            except Exception as error:  # noqa: BLE001 - whatever it is, the lease must be held; it is logged
                self._endure(error)
                if closing and self.stop is not Stop.LOST:
                    continue  # what is left must be written, or the lease be lost
            if closing or self.stop is Stop.LOST:
                return

    def _tick(self) -> None:
        if self.limit is None and (limit := self._exceeded()) is not None:
            self.refuse(limit)
        self._store_checkpoint()
        if self._must_write():
            self._write()
        else:
            self._look()

    def _must_write(self) -> bool:
        silent = time.monotonic() - self._renewed
        some = bool(self._progress.points or self._progress.steps or (self._log.waits and not self._closing))
        late = silent > WRITE_SECONDS or self._closing or self._full
        due = silent > self._lease_seconds / RENEWALS_PER_LEASE
        return due or self._progress.checkpoint_id is not None or (some and late)

    def _store_checkpoint(self) -> None:
        if (checkpoint := self._checkpoint) is None:
            return
        data = checkpoint()
        blob_id = blobs.stage(self._database, data, between=self._renew_if_due)
        self._log.saved(size(len(data)))
        with self._wake:
            self._progress.checkpoint_id = blob_id
            if self._checkpoint is checkpoint:  # else the training has left a newer one meanwhile
                self._checkpoint = None

    def _renew_if_due(self) -> None:
        if time.monotonic() - self._renewed > self._lease_seconds / RENEWALS_PER_LEASE:
            self._commit(Progress())

    def _write(self) -> None:
        with self._wake:
            progress, self._progress = self._progress, Progress()
            closing = self._closing
        progress.lines = [] if closing else self._log.take()
        try:
            wish = self._commit(progress)
        except Exception:
            self._put_back(progress)
            raise
        with self._wake:
            self.saving = self._checkpoint is not None or self._progress.checkpoint_id is not None
            self._wake.notify_all()
        self._heed(wish)
        if progress.checkpoint_id is not None:
            self._checkpoints.append(progress.checkpoint_id)
            while len(self._checkpoints) > CHECKPOINTS_KEPT:
                blobs.remove(self._database, self._checkpoints.popleft())

    def _commit(self, progress: Progress) -> Wish | None:
        with self._database.write() as session:
            wish = transitions.record(session, self._claim.run_id, self._claim.attempt, progress, self._lease_seconds)
        self._renewed = time.monotonic()
        return wish

    def _put_back(self, progress: Progress) -> None:
        with self._wake:
            newer, self._progress = self._progress, progress
            self._log.put_back(progress.lines)
            progress.lines = []
            progress.points += newer.points
            progress.steps += newer.steps
            progress.checkpoint_id = newer.checkpoint_id or progress.checkpoint_id
            if newer.epoch:
                progress.epoch, progress.samples, progress.seconds = newer.epoch, newer.samples, newer.seconds

    def _look(self) -> None:
        """See what became of the run: a cheap read, far more often than the lease needs a write."""
        claim = self._claim
        held = select(Run.wish).where(Run.id == claim.run_id, Run.attempt == claim.attempt, Run.state == State.RUNNING)
        with self._database.read() as session:
            row = session.execute(held).one_or_none()
        if row is None:
            raise LeaseLost(claim.run_id, claim.attempt)
        self._heed(row.wish)

    def _heed(self, wish: str | None) -> None:
        if wish is not None:
            self._end(ASKED[Wish(wish)])

    def _endure(self, error: Exception) -> None:
        silent = time.monotonic() - self._renewed
        log.warning("%s: %s; trying again, silent for %.0f s", type(error).__name__, error, silent)
        if silent > LONGEST_SILENCE:
            self._end(Stop.LOST)
        time.sleep(min(1.0, self._lease_seconds / RENEWALS_PER_LEASE))

    def _end(self, stop: Stop) -> None:
        with self._wake:
            if self.stop is None or FIRMNESS.index(stop) > FIRMNESS.index(self.stop):
                self.stop = stop
            self._wake.notify_all()
