"""Any order of transitions, against a model short enough to be believed."""

from __future__ import annotations

import itertools
from copy import copy
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from service.store import history, transitions
from service.store.clock import now
from service.store.database import Database
from service.store.points import Point
from service.store.tables import Outcome, Run, State, Wish
from service.store.transitions import Claim, LeaseLost, WrongState

LOSSES = strategies.floats(allow_infinity=False).map(lambda value: value + 0.0)  # SQLite knows no minus zero
FINAL = (Outcome.COMPLETED, Outcome.FAILED, Outcome.CANCELLED)


@dataclass
class Model:
    """A run as a person would explain it."""

    priority: int
    spec_attempts: int
    max_attempts: int
    state: State = State.QUEUED
    attempt: int = 0
    outcomes: list[Outcome | None] = field(default_factory=list)
    wish: Wish | None = None
    expired: bool = False
    waits: bool = False  # for its back-off to pass
    losses: list[float] = field(default_factory=list)  # of epochs 1, 2, …
    epoch: int = 0  # the last; after a retry none is done, for these runs have no checkpoints

    def ended_so(self, attempt: int, *outcomes: Outcome) -> bool:
        """To tell an end again is allowed, and changes nothing."""
        return attempt > 0 and self.outcomes[attempt - 1] in outcomes

    def end(self, outcome: Outcome, state: State) -> None:
        self.outcomes[-1], self.state, self.expired, self.wish = outcome, state, False, None

    def give_back(self, outcome: Outcome) -> None:
        self.max_attempts += outcome is Outcome.INTERRUPTED
        wanted = {Wish.CANCEL: State.CANCELLED, Wish.PAUSE: State.PAUSED}
        spent = State.FAILED if self.attempt >= self.max_attempts else State.QUEUED
        state = wanted.get(self.wish, spent)
        rests = outcome is Outcome.INTERRUPTED and state is State.PAUSED
        self.end(Outcome.PAUSED if rests else outcome, state)
        self.waits = outcome is Outcome.LOST and self.outcomes.count(Outcome.LOST) > 1


class Yard(RuleBasedStateMachine):
    """Every example has a queue of its own, so that one database serves them all. Whoever asks, asks over the next of
    several connections: a submitter, two workers and a reconciler share nothing else."""

    examples = 0

    def __init__(self, yards) -> None:
        super().__init__()
        Yard.examples += 1
        self.yards, self.queue = itertools.cycle(yards), f"queue-{Yard.examples}"
        self.runs: dict[int, Model] = {}

    @property
    def yard(self):
        return next(self.yards)

    @rule(priority=strategies.integers(-1, 1), max_attempts=strategies.integers(1, 3))
    def submit(self, priority, max_attempts):
        run_id = self.yard.submit(queue=self.queue, priority=priority, max_attempts=max_attempts)
        self.runs[run_id] = Model(priority, max_attempts, max_attempts)

    @rule()
    def claim(self):
        ready = [run_id for run_id, run in self.runs.items() if run.state is State.QUEUED and not run.waits]
        claim = self.yard.claim(self.queue)
        if not ready:
            assert claim is None
            return
        best = min(ready, key=lambda run_id: (-self.runs[run_id].priority, run_id))
        run = self.runs[best]
        run.attempt += 1
        run.state, run.expired = State.RUNNING, False
        run.outcomes.append(None)
        assert (claim.run_id, claim.attempt, claim.epoch) == (best, run.attempt, run.epoch)

    def pick(self, data, *states):
        """A run, more often than not in one of these states."""
        fitting = [run_id for run_id, run in self.runs.items() if run.state in states]
        any_run = strategies.sampled_from(list(self.runs))
        run_id = data.draw(strategies.sampled_from(fitting) | any_run if fitting else any_run)
        return run_id, self.runs[run_id]

    def held(self, data):
        """An attempt, now and then a stale one, and whether it holds its run."""
        run_id, run = self.pick(data, State.RUNNING)
        attempt = run.attempt - data.draw(strategies.sampled_from([0, 0, 0, 1]))
        return Claim(run_id, attempt, {}, "", None, 0), run, run.state is State.RUNNING and attempt == run.attempt

    def fenced(self, holds, transition, *arguments, **named):
        if holds:
            return transition(*arguments, **named)
        with pytest.raises(LeaseLost):
            transition(*arguments, **named)

    any_runs = precondition(lambda self: self.runs)

    @any_runs
    @rule(data=strategies.data(), value=LOSSES, again=strategies.booleans())
    def record(self, data, value, again):
        claim, run, holds = self.held(data)
        values = [*run.losses, value]
        epoch = len(values)
        first = max(1, epoch - 2) if again else epoch  # as after a resume from an older checkpoint
        points = [Point("loss", number, values[number - 1], False) for number in range(first, epoch + 1)]
        wish = self.fenced(holds, self.yard.record, claim, *points, epoch=epoch)
        if holds:
            assert wish is run.wish
            run.expired = False
            run.losses.append(value)
            run.epoch = epoch

    @any_runs
    @rule(data=strategies.data(), outcome=strategies.sampled_from(FINAL))
    def finish(self, data, outcome):
        claim, run, holds = self.held(data)
        self.fenced(holds or run.ended_so(claim.attempt, outcome), self.yard.finish, claim, outcome)
        if holds:
            run.end(outcome, State(outcome.value))

    @any_runs
    @rule(data=strategies.data())
    def interrupt(self, data):
        claim, run, holds = self.held(data)
        again = run.ended_so(claim.attempt, Outcome.INTERRUPTED, Outcome.PAUSED)
        state = self.fenced(holds or again, self.yard.interrupt, claim)
        if holds:
            run.give_back(Outcome.INTERRUPTED)
        assert state is (run.state if holds or again else None)

    @any_runs
    @rule(data=strategies.data())
    def expire(self, data):
        run_id, run = self.pick(data, State.RUNNING)
        if run.state is State.RUNNING:
            self.yard.expire(run_id)
            run.expired = True

    @any_runs
    @rule(data=strategies.data())
    def reconcile(self, data):
        claim, run, holds = self.held(data)
        state = self.yard.do(transitions.lose_expired, claim.run_id, claim.attempt, "silent")
        if holds and run.expired:
            run.give_back(Outcome.LOST)
            assert state is run.state
        else:
            assert state is None

    @any_runs
    @rule(data=strategies.data())
    def time_passes(self, data):
        run_id, run = self.pick(data, State.QUEUED)
        self.yard.set(run_id, not_before=now())
        run.waits = False

    @any_runs
    @rule(data=strategies.data())
    def cancel(self, data):
        run_id, run = self.pick(data, State.QUEUED, State.PAUSED, State.RUNNING)
        if self.refused(run.state.ended, self.yard.cancel, run_id):
            return
        if run.state is State.RUNNING:
            run.wish = Wish.CANCEL
        else:
            run.state = State.CANCELLED
        assert self.yard.run(run_id).state is run.state

    @any_runs
    @rule(data=strategies.data())
    def pause(self, data):
        run_id, run = self.pick(data, State.QUEUED, State.RUNNING)
        able = run.state in (State.QUEUED, State.RUNNING) and run.wish is not Wish.CANCEL
        if self.refused(not able, self.yard.pause, run_id):
            return
        if run.state is State.RUNNING:
            run.wish = Wish.PAUSE
        else:
            run.state = State.PAUSED

    @any_runs
    @rule(data=strategies.data())
    def resume(self, data):
        run_id, run = self.pick(data, State.PAUSED, State.RUNNING)
        able = run.state is State.PAUSED or run.wish is Wish.PAUSE
        if self.refused(not able, self.yard.resume, run_id):
            return
        run.wish = None
        if run.state is State.PAUSED:
            run.state, run.waits = State.QUEUED, False

    def refused(self, wrong, ask, run_id):
        """Ask it of the run; whether it was in no state for that, and was told so."""
        if wrong:
            with pytest.raises(WrongState):
                ask(run_id)
        else:
            ask(run_id)
        return wrong

    @any_runs
    @rule(data=strategies.data())
    def retry(self, data):
        run_id, run = self.pick(data, State.FAILED, State.CANCELLED)
        if self.refused(run.state not in (State.FAILED, State.CANCELLED), self.yard.retry, run_id):
            return
        run.state, run.waits, run.max_attempts = State.QUEUED, False, run.attempt + run.spec_attempts
        run.epoch = 0

    @invariant()
    def the_store_tells_what_happened(self):
        with self.yard.database.read() as session:
            expired = {run_id for run_id, _, _ in transitions.expired(session)}
            records = history.runs(session, Run.queue == self.queue)
            assert sorted(self.runs, reverse=True) == [record.id for record in records]
            for record in records:
                self.compare(session, record, self.runs[record.id], record.id in expired)

    def compare(self, session, record, run, expired):
        assert (record.state, record.attempt, record.epoch) == (run.state, run.attempt, run.epoch)
        assert (record.finished is not None) is run.state.ended
        assert expired is run.expired
        assert (session.get(Run, record.id).lease_until is not None) is (run.state is State.RUNNING)
        assert [attempt.outcome for attempt in history.attempts(session, record.id)] == run.outcomes
        assert run.outcomes.count(None) == (run.state is State.RUNNING)
        if run.losses:
            self.compare_metrics(history.curves(session, record.id), record.metrics["loss"], run.losses)

    def compare_metrics(self, rows, summary, losses):
        shown = [(row["epoch"], str(row["loss"])) for row in rows]  # NaN equals nothing, but its text does
        assert shown == [(epoch, str(loss)) for epoch, loss in enumerate(losses, 1)]
        assert str(summary.last) == str(losses[-1])
        if numbers := [(loss, epoch) for epoch, loss in enumerate(losses, 1) if loss == loss]:
            assert (summary.best, summary.best_epoch) == min(numbers)


@pytest.fixture
def yards(yard):
    """The same yard over three databases' worth of connections."""
    others = [copy(yard) for _ in range(2)]
    for other in others:
        other.database = Database(yard.database.url)
    yield [yard, *others]
    for other in others:
        other.database.dispose()


def test_any_order_of_transitions_keeps_to_the_model(yards, kind):
    run_state_machine_as_test(
        lambda: Yard(yards),
        settings=settings(
            max_examples=20 if kind == "sqlite" else 8, stateful_step_count=25, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
