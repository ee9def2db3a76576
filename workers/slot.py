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
from service.datasets import Dataset, stored
from service.datasets.tensors import pack, unpack
from service.display import number
from service.environments import differences
from service.errors import DataError, TrainyardError, Unreachable
from service.queue import BrokerUnreachable, Tickets
from service.settings import load_settings
from service.spec import Spec
from service.store import blobs, history, transitions
from service.store.database import Database
from service.store.points import Point
from service.store.tables import Level, Outcome, State
from service.store.transitions import Claim, LeaseLost, WeightsKept
from workers import drain, metrics
from workers.environment import environment
from workers.keeper import Keeper, Stop
from workers.limits import Limits
from workers.runlog import RunLog

log = logging.getLogger(__name__)
T = TypeVar("T")

SHARE_AT_END = 0.8  # of checkpoint_seconds, after which the end of an epoch is saved …
SHARE_INSIDE = 0.9  # … and after which no end is waited for; the rest is for writing it
LONGEST_OUTAGE = 600.0  # seconds a slot waits for the database to take a result
OUTAGE_WHEN_ENDING = 20.0  # the same, of a worker that is given 30 to end

settings = load_settings()
database = Database(settings.database)
worker = os.environ.get("TRAINYARD_WORKER", "")


def start() -> None:
    """First thing in a forked slot: nothing of the parent's connections may be used."""
    database.dispose(forked=True)
    metrics.reserve()
    environment()


def train_next(queue: str) -> None:
    """Claim the best waiting run of the queue and train it; without one, the ticket was spare."""
    if drain.requested():
        return  # the reconciler of another worker sends another ticket
    with database.write() as session:
        claim = transitions.claim(session, queue, worker, os.getpid(), settings.lease_seconds, environment())
        if claim is not None and (threads := claim.spec["train"]["threads"]) != 1:
            transitions.equip(session, claim, environment(threads))
    if claim is not None:
        Attempt(claim, queue).run()


class Attempt:
    """One try at a run."""

    def __init__(self, claim: Claim, queue: str) -> None:
        self.claim = claim
        self.queue = queue
        self.samples = 0
        self.seconds = 0.0
        self.saved = time.monotonic()
        self.log = RunLog(claim.run_id, claim.spec["train"]["epochs"])

    def run(self) -> None:
        claim = self.claim
        log.info("run %d: attempt %d begins", claim.run_id, claim.attempt)
        self.log.say(
            f"attempt {claim.attempt} begins: worker {worker} on {environment()['host']}, process {os.getpid()}"
        )
        with self.log.listening():
            self._run()

    def _run(self) -> None:
        claim = self.claim
        try:
            spec = Spec.from_document(claim.spec)
            limits = Limits(spec.limits, _patiently(self._used) if spec.limits.seconds else 0.0)
            keeper = Keeper(database, claim, settings.lease_seconds, limits.exceeded, self.log)
            with keeper, limits.memory_bounded():
                self._train(keeper, spec, limits)
        except LeaseLost as error:
            metrics.LEASES_LOST.inc()
            log.warning("%s", error)
        except Unreachable as error:
            log.error("run %d is left to its lease: %s", claim.run_id, error)
        except (nn.Diverged, TrainyardError) as error:
            self._fail(str(error))
        except MemoryError:
            limit = Spec.from_document(claim.spec).limits.memory
            bound = f"limits.memory, {limit}" if limit else "this worker"
            self._fail(f"out of memory: the network, the batch or the data is too large for {bound}")
        except Exception as error:
            log.exception("run %d: an error that nobody expected", claim.run_id)
            self._fail(f"{type(error).__name__}: {error}")

    def _used(self) -> float:
        with database.read() as session:
            return history.seconds_taken(session, self.claim.run_id)

    def _train(self, keeper: Keeper, spec: Spec, limits: Limits) -> None:
        made, state = self._prepare(spec)
        with threadpool_limits(made.spec.train.threads, user_api="blas"):
            self._epochs(keeper, made, state, limits)
            if keeper.stop is Stop.LOST:
                keeper.close()
                raise LeaseLost(self.claim.run_id, self.claim.attempt)
            if state.finished:
                self._complete(keeper, made, state)
            elif keeper.stop in (Stop.CANCELLED, Stop.LIMIT):
                self._end_early(keeper, made, state)
            else:
                self._hand_over(keeper, state)

    def _prepare(self, spec: Spec) -> tuple[Assembly, nn.State]:
        """Rebuild network, data and generators from the spec and the last checkpoint; nothing else is read."""
        dataset = _patiently(lambda: _dataset(self.claim.dataset_sha256))
        begin = _patiently(partial(_begin, spec)) if spec.begin is not None else None
        made = assembly.assemble(spec, dataset, begin)
        state = self._restored(made)
        if state is not None:
            inside = f" and {state.cursor:,} samples" if state.cursor else ""
            self.log.say(f"goes on from its checkpoint, after epoch {state.epoch}{inside}")
        elif spec.begin is not None:
            self.log.say(f"begins with the weights of run {spec.begin.run}")
        state = state or nn.State.start(made.plan, begin=made.begin)
        self.log.say(_assembled(made, state))
        return made, state

    def _restored(self, made: Assembly) -> nn.State | None:
        """The state of the last checkpoint, or of the one before it if that is of no use; None: there is none."""
        checkpoint_id = self.claim.checkpoint_id
        if checkpoint_id is not None:
            _patiently(self._compare_environments)
        while checkpoint_id is not None:
            try:
                checkpoint = _patiently(partial(_load, checkpoint_id))
                return nn.State.restore(made.plan, *unpack(checkpoint, "the checkpoint"))
            except (blobs.BlobDamaged, DataError, ValueError) as error:
                checkpoint_id = _patiently(self._fall_back)
                instead = "it starts over" if checkpoint_id is None else "the one before it is tried"
                log.warning("run %d: its checkpoint is of no use, %s: %s", self.claim.run_id, instead, error)
        return None

    def _fall_back(self) -> int | None:
        with database.write() as session:
            return transitions.fall_back(session, self.claim.run_id, self.claim.attempt)

    def _compare_environments(self) -> None:
        with database.read() as session:
            *earlier, this = history.attempts(session, self.claim.run_id)
        if earlier and (changed := differences(earlier[-1].environment, this.environment)):
            found = "; ".join(changed)
            log.warning("run %d: its bytes may differ from an undisturbed run's: %s", self.claim.run_id, found)

    def _epochs(self, keeper: Keeper, made: Assembly, state: nn.State, limits: Limits) -> None:
        if made.spec.limits.stalled_epochs is not None:
            limits.stalled(_patiently(partial(self._losses, state.epoch)))
        stop = self._stopper(keeper, state)
        for epoch in nn.train(made.plan, state, made.train, made.validation, stop, keeper.log):
            self.samples += epoch.samples
            self.seconds += epoch.seconds
            keeper.report(epoch.epoch, self._points(epoch.epoch, epoch.metrics), self.samples, self.seconds)
            self.log.epoch(epoch)
            metrics.count_epoch(epoch.samples, epoch.steps, epoch.seconds)
            self._save_if_due(keeper, state, SHARE_AT_END)
            if (stalled := limits.stalled([epoch.metrics["loss"]])) is not None and not state.finished:
                keeper.refuse(stalled)
        self.log.tell_epoch()

    def _losses(self, epoch: int) -> list[float]:
        with database.read() as session:
            return history.values(session, self.claim.run_id, "loss", epoch)

    def _stopper(self, keeper: Keeper, state: nn.State) -> Callable[[], bool]:
        """Asked between two steps: whether to stop. A long epoch is saved in its middle."""

        def must_stop() -> bool:
            if keeper.stop is not None or drain.requested():
                return True
            if settings.checkpoint_seconds:
                self._save_if_due(keeper, state, SHARE_INSIDE)
            return False

        return must_stop

    def _save_if_due(self, keeper: Keeper, state: nn.State, share: float) -> None:
        due = time.monotonic() - self.saved >= share * settings.checkpoint_seconds
        if due and not keeper.saving:
            self._save(keeper, state)

    def _save(self, keeper: Keeper, state: nn.State) -> None:
        arrays, counters = state.snapshot()  # copies: the training goes on while the keeper writes them
        keeper.save(lambda: pack(arrays, counters))
        self.saved = time.monotonic()

    @staticmethod
    def _points(epoch: int, values: dict[str, float]) -> list[Point]:
        return [Point(name, epoch, value, nn.direction(name) == "higher") for name, value in values.items()]

    def _complete(self, keeper: Keeper, made: Assembly, state: nn.State) -> None:
        if made.test is not None:
            tested = nn.evaluate(made.plan, state.best_parameters, made.test)
            best = {f"test_{name}": value for name, value in tested.items()}
            values = ", ".join(f"{name} {number(value)}" for name, value in best.items())
            self.log.say(f"the weights of epoch {state.best_epoch or state.epoch} are tested: {values}")
            keeper.report(state.epoch, self._points(state.best_epoch or state.epoch, best), self.samples, self.seconds)
        self._finish(keeper, made, state, Outcome.COMPLETED, reason=made.plan.why_ended(state.ended))

    def _end_early(self, keeper: Keeper, made: Assembly, state: nn.State) -> None:
        """Cancelled, or beyond a limit: what there is, is kept."""
        self._save(keeper, state)
        if keeper.limit is None:
            self._finish(keeper, made, state, Outcome.CANCELLED)
        else:
            self._finish(keeper, made, state, Outcome.FAILED, error=keeper.limit)

    def _finish(
        self,
        keeper: Keeper,
        made: Assembly,
        state: nn.State,
        outcome: Outcome,
        *,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        best, last = (
            weights.pack(parameters, made.scaler, made.spec, made.outline.schema)
            for parameters in (state.best_parameters, state.last_parameters)
        )
        best_id, last_id = (_patiently(partial(blobs.stage, database, data)) for data in (best, last))
        keeper.close()
        kept = WeightsKept(best_id, last_id, weights.sha256(state.best_parameters))
        self._end(outcome, error=error, reason=reason, kept=kept)

    def _hand_over(self, keeper: Keeper, state: nn.State) -> None:
        """Save and let go of the run: a person wants it paused, or this worker was told to stop."""
        self._save(keeper, state)
        keeper.close()
        reason = "a person paused it" if keeper.stop is Stop.PAUSED else f"worker {worker} was told to stop"
        self.log.say(f"{reason}; the work is saved, after epoch {state.epoch}")
        lines = self.log.take()

        def interrupt() -> State:
            with database.write() as session:
                return transitions.interrupt(session, self.claim.run_id, self.claim.attempt, reason, lines)

        found = _patiently(interrupt)
        outcome = Outcome.PAUSED if found is State.PAUSED else Outcome.INTERRUPTED
        metrics.ATTEMPTS.labels(outcome=outcome).inc()
        log.info("run %d: %s after epoch %d; the work is saved", self.claim.run_id, outcome, state.epoch)
        if found is State.QUEUED:
            _send_ticket(self.queue)

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
        why = error or reason
        self.log.say(f"{outcome}{f': {why}' if why else ''}", Level.ERROR if error else Level.INFO)
        lines = self.log.take()

        def finish() -> list[int]:
            with database.write() as session:
                return transitions.finish(
                    session, run_id, attempt, outcome, error=error, reason=reason, weights=kept, lines=lines
                )

        given_up = _patiently(finish)
        metrics.ATTEMPTS.labels(outcome=outcome).inc()
        log.info("run %d: %s%s", self.claim.run_id, outcome, f": {error}" if error else "")
        try:
            blobs.remove_all(database, given_up)
        except Unreachable as unreachable:
            log.warning("%s; the reconciler removes the checkpoints of run %d later", unreachable, run_id)


def _assembled(made: Assembly, state: nn.State) -> str:
    outline = made.outline
    rows = {"train": outline.train_rows, "validate": outline.validation_rows, "test": outline.test_rows}
    uses = ", ".join(f"{len(some):,} to {use}" for use, some in rows.items() if len(some))
    return f"rows: {uses}; network: {state.parameters.size:,} parameters in {len(made.spec.network)} layers"


def _send_ticket(queue: str) -> None:
    try:
        Tickets(settings.broker).send(queue)
    except BrokerUnreachable as error:
        log.warning("%s; the reconciler sends the ticket later", error)


def _load(blob_id: int) -> bytes:
    with database.read() as session:
        return blobs.load(session, blob_id)


def _begin(spec: Spec) -> weights.Weights:
    """The parameters of another run that this one begins with."""
    with database.read() as session:
        return beginning.load(session, spec)


@lru_cache(maxsize=1)
def _dataset(sha256: str) -> Dataset:
    """The dataset from the store; the last one stays in memory, for the next run often wants it again."""
    with database.read() as session:
        return stored.load(session, sha256)


def _patiently(write: Callable[[], T]) -> T:
    """Repeat a fenced write until the database takes it: hours of training are not thrown away for its restart.

    A worker that was told to end has less time.
    """
    began = time.monotonic()
    while True:
        try:
            return write()
        except Unreachable as error:
            patience = OUTAGE_WHEN_ENDING if drain.requested() else LONGEST_OUTAGE
            if time.monotonic() - began > patience:
                raise
            log.warning("%s; trying again", error)
            time.sleep(1)
