"""A slot: claims the next run of a queue, trains it under a lease, and ends it one way or another."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TypeVar

from threadpoolctl import threadpool_limits

import nn
from service import assembly, beginning, weights
from service.assembly import Assembly
from service.datasets import Dataset
from service.datasets.tensors import pack, unpack
from service.errors import DataError, TrainyardError, Unreachable
from service.queue import BrokerUnreachable, Tickets
from service.settings import load_settings
from service.spec import Spec
from service.store import blobs, history, transitions
from service.store import workers as worker_store
from service.store.database import Database
from service.store.tables import Dataset as DatasetRow
from service.store.tables import Outcome
from service.store.transitions import Claim, LeaseLost, Point, WeightsKept
from workers import drain, metrics
from workers.environment import differences, environment
from workers.keeper import Keeper, Stop

log = logging.getLogger(__name__)
T = TypeVar("T")

LONGEST_OUTAGE = 600.0  # seconds a slot waits for the database to take a result

settings = load_settings()
database = Database(settings.database)
worker = os.environ.get("TRAINYARD_WORKER", "")


def start() -> None:
    """First thing in a forked slot: nothing of the parent's connections may be used."""
    database.dispose(forked=True)
    environment()


def train_next(queue: str) -> None:
    """Claim the best waiting run of the queue and train it; without one, the ticket was spare."""
    if drain.requested():
        return  # the reconciler of another worker sends another ticket
    with database.read() as session:
        if worker_store.wish_of(session, worker) is not None:
            return
    with database.write() as session:
        claim = transitions.claim(session, queue, worker, os.getpid(), settings.lease_seconds, environment())
    if claim is not None:
        Attempt(claim, queue).run()


class Attempt:
    """One try at a run."""

    def __init__(self, claim: Claim, queue: str) -> None:
        self.claim = claim
        self.queue = queue
        self.samples = 0
        self.seconds = 0.0

    def run(self) -> None:
        claim = self.claim
        log.info("run %d: attempt %d begins", claim.run_id, claim.attempt)
        try:
            with Keeper(database, claim, settings.lease_seconds) as keeper:
                self._train(keeper)
        except LeaseLost as error:
            metrics.LEASES_LOST.inc()
            log.warning("%s", error)
        except Unreachable as error:
            log.error("run %d is left to its lease: %s", claim.run_id, error)
        except (nn.Diverged, TrainyardError) as error:
            self._fail(str(error))
        except MemoryError:
            self._fail("out of memory: the network, the batch or the data is too large for this worker")
        except Exception as error:
            log.exception("run %d failed", claim.run_id)
            self._fail(f"{type(error).__name__}: {error}")

    def _train(self, keeper: Keeper) -> None:
        made, state = self._prepare()
        with threadpool_limits(made.spec.train.threads, user_api="blas"):
            self._epochs(keeper, made, state)
            if keeper.stop is Stop.LOST:
                keeper.close()
                raise LeaseLost(self.claim.run_id, self.claim.attempt)
            if state.finished:
                self._complete(keeper, made, state)
            elif keeper.stop is Stop.CANCELLED:
                self._cancel(keeper, made, state)
            else:
                self._hand_over(keeper, state)

    def _prepare(self) -> tuple[Assembly, nn.State]:
        """Rebuild network, data and generators from the spec and the last checkpoint; nothing else is read."""
        dataset = _patiently(lambda: _dataset(self.claim.dataset_sha256))
        spec = Spec.from_document(self.claim.spec)
        begin = _patiently(partial(_begin, spec)) if spec.begin is not None else None
        made = assembly.assemble(spec, dataset, begin)
        try:
            checkpoint = _patiently(self._checkpoint)
            state = nn.State.restore(made.plan, *unpack(checkpoint, "the checkpoint")) if checkpoint else None
        except (blobs.BlobDamaged, DataError, ValueError) as error:
            log.warning("run %d: its checkpoint is of no use, it starts over: %s", self.claim.run_id, error)
            state = None
        return made, state or nn.State.start(made.plan, begin=made.begin)

    def _checkpoint(self) -> bytes | None:
        claim = self.claim
        if claim.checkpoint_id is None:
            return None
        with database.read() as session:
            earlier = history.attempts(session, claim.run_id)[:-1]
            if earlier and (changed := differences(earlier[-1].environment, environment())):
                log.warning(
                    "run %d: its bytes may differ from an undisturbed run's: %s", claim.run_id, "; ".join(changed)
                )
            return blobs.load(session, claim.checkpoint_id)

    def _epochs(self, keeper: Keeper, made: Assembly, state: nn.State) -> None:
        saved = time.monotonic()
        for epoch in nn.train(made.plan, state, made.train, made.validation, self._stopper(keeper)):
            self.samples += epoch.samples
            self.seconds += epoch.seconds
            keeper.report(epoch.epoch, self._points(epoch.epoch, epoch.metrics), self.samples, self.seconds)
            metrics.count_epoch(epoch.samples, epoch.steps, epoch.seconds)
            if not keeper.saving and time.monotonic() - saved >= settings.checkpoint_seconds:
                self._save(keeper, state)
                saved = time.monotonic()

    @staticmethod
    def _stopper(keeper: Keeper) -> Callable[[], bool]:
        return lambda: keeper.stop is not None or drain.requested()

    @staticmethod
    def _save(keeper: Keeper, state: nn.State) -> None:
        arrays, counters = state.snapshot()  # copies: the training goes on while the keeper writes them
        keeper.save(lambda: pack(arrays, counters))

    @staticmethod
    def _points(epoch: int, values: dict[str, float]) -> list[Point]:
        return [Point(name, epoch, value, nn.direction(name) == "higher") for name, value in values.items()]

    def _complete(self, keeper: Keeper, made: Assembly, state: nn.State) -> None:
        if made.test is not None:
            tested = nn.evaluate(made.plan, state.best_parameters, made.test)
            best = {f"test_{name}": value for name, value in tested.items()}
            keeper.report(state.epoch, self._points(state.best_epoch or state.epoch, best), self.samples, self.seconds)
        self._finish(keeper, made, state, Outcome.COMPLETED, made.plan.why_ended(state.ended))

    def _cancel(self, keeper: Keeper, made: Assembly, state: nn.State) -> None:
        self._save(keeper, state)
        self._finish(keeper, made, state, Outcome.CANCELLED)

    def _finish(
        self, keeper: Keeper, made: Assembly, state: nn.State, outcome: Outcome, reason: str | None = None
    ) -> None:
        best, last = (
            weights.pack(parameters, made.scaler, made.spec, made.outline.schema)
            for parameters in (state.best_parameters, state.last_parameters)
        )
        best_id, last_id = (_patiently(partial(blobs.stage, database, data)) for data in (best, last))
        keeper.close()
        self._end(outcome, reason=reason, kept=WeightsKept(best_id, last_id, weights.sha256(state.best_parameters)))

    def _hand_over(self, keeper: Keeper, state: nn.State) -> None:
        self._save(keeper, state)
        keeper.close()
        reason = f"worker {worker} was told to stop"

        def interrupt() -> None:
            with database.write() as session:
                transitions.interrupt(session, self.claim.run_id, self.claim.attempt, reason)

        _patiently(interrupt)
        metrics.ATTEMPTS.labels(outcome=Outcome.INTERRUPTED).inc()
        log.info("run %d: interrupted after epoch %d; the work is saved", self.claim.run_id, state.epoch)
        try:
            Tickets(settings.broker).send(self.queue)
        except BrokerUnreachable as error:
            log.warning("%s; the reconciler sends the ticket later", error)

    def _fail(self, error: str) -> None:
        try:
            self._end(Outcome.FAILED, error=error)
        except LeaseLost as lost:
            log.warning("%s", lost)

    def _end(
        self,
        outcome: Outcome,
        *,
        error: str | None = None,
        reason: str | None = None,
        kept: WeightsKept | None = None,
    ) -> None:
        run_id, attempt = self.claim.run_id, self.claim.attempt

        def finish() -> None:
            with database.write() as session:
                transitions.finish(session, run_id, attempt, outcome, error=error, reason=reason, weights=kept)

        _patiently(finish)
        metrics.ATTEMPTS.labels(outcome=outcome).inc()
        log.info("run %d: %s%s", self.claim.run_id, outcome, f": {error}" if error else "")


def _begin(spec: Spec) -> weights.Weights:
    """The parameters of another run that this one begins with."""
    with database.read() as session:
        return beginning.load(session, spec)


@lru_cache(maxsize=1)
def _dataset(sha256: str) -> Dataset:
    """The dataset from the store; the last one stays in memory, for the next run often wants it again."""
    with database.read() as session:
        row = session.get_one(DatasetRow, sha256)
        data = blobs.load(session, row.blob_id)
    return Dataset.from_bytes(data, sha256)


def _patiently(write: Callable[[], T]) -> T:
    """Repeat a fenced write until the database takes it: hours of training are not thrown away for its restart."""
    deadline = time.monotonic() + LONGEST_OUTAGE
    while True:
        try:
            return write()
        except Unreachable as error:
            if time.monotonic() > deadline:
                raise
            log.warning("%s; trying again", error)
            time.sleep(1)
