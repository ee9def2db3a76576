"""What people do to runs and workers while they are at work: cancel, scale, drain, order by queue and priority."""

from __future__ import annotations

import time

from tests.servers import eventually
from tests.yard import TIMEOUT, Yard, end

A_WHILE = 10.0  # seconds; a second is promised, and machines can be busy


def fill(yard: Yard) -> list[int]:
    """Two runs that keep both slots busy."""
    runs = [yard.submit(epochs=100_000, seed=seed) for seed in (1, 2)]
    for run in runs:
        yard.trains(run)
    return runs


def test_a_training_run_is_cancelled_soon_and_keeps_what_it_had(yard):
    run = yard.submit(epochs=100_000)
    yard.trains(run)
    began = time.monotonic()
    record = yard.client.cancel(run)
    assert time.monotonic() - began < A_WHILE
    assert (record.state, record.error) == ("cancelled", None)
    assert yard.outcomes(run) == ["cancelled"]
    assert yard.client.weights(run)["1.dense.weight"].shape == (64, 32)
    assert yard.checkpoint(run) is not None
    assert [epoch["epoch"] for epoch in yard.client.history(run)] == list(range(1, record.epoch + 1))


def test_a_cancelled_run_that_is_retried_goes_on_where_it_stood(yard):
    run = yard.submit(epochs=100_000)
    yard.trains(run)
    stood = yard.client.cancel(run).epoch
    assert yard.cli("runs", "retry", run).stdout == f"run {run} is queued again\n"
    eventually(lambda: yard.client.run(run).epoch > stood + 1, TIMEOUT)
    yard.client.cancel(run)
    first, second = yard.client.attempts(run)
    assert (first.epoch, second.first_epoch) == (stood, stood + 1)


def test_a_waiting_run_is_cancelled_at_once_and_never_starts(yard):
    training = fill(yard)
    waiting, after = yard.submit(epochs=2), yard.submit(epochs=2)
    assert yard.client.cancel(waiting, timeout=0).state == "cancelled"
    for run in training:
        yard.client.cancel(run)
    yard.completed(after)
    assert yard.client.run(waiting).started is None
    assert yard.client.attempts(waiting) == []


def test_why_says_that_all_slots_are_busy_and_how_many_go_before(yard):
    training = fill(yard)
    low, high = yard.submit(epochs=2), yard.submit(epochs=2, priority=5)
    assert yard.client.why(high) == f"run {high} waits: all 2 slots of queue 'default' are busy; it is next in line"
    assert yard.client.why(low) == f"run {low} waits: all 2 slots of queue 'default' are busy; 1 run goes before it"
    for run in (low, *training):
        yard.client.cancel(run)
    yard.completed(high)


def test_the_pool_is_scaled_while_runs_train_and_no_busy_slot_is_ended(yard):
    name = worker(yard)
    runs = [yard.long_run(seed=seed) for seed in range(3)]
    for run in runs[:2]:
        yard.trains(run)
    assert yard.cli("workers", "scale", name, 3).returncode == 0
    eventually(lambda: yard.slots == 3, TIMEOUT)
    yard.client.scale(name, 1)
    yard.completed(*runs)
    eventually(lambda: yard.slots == 1, TIMEOUT)
    yard.client.scale(name, 2)
    assert [yard.outcomes(run) for run in runs] == [["completed"]] * 3


def test_runs_wait_for_a_worker_of_their_queue_which_takes_them_by_priority_then_by_age(yard):
    low, first, second, high = (yard.submit(epochs=2, priority=p, queue="elsewhere") for p in (-1, 0, 0, 5))
    assert yard.client.why(low) == (
        f"run {low} waits because no worker serves queue 'elsewhere'; "
        "start one: `trainyard workers start --queues elsewhere`"
    )
    both = yard.worker("both", queues="elsewhere,elsewhere-2")
    other = yard.submit(epochs=2, queue="elsewhere-2")
    runs = yard.completed(low, first, second, high)
    assert [run.id for run in sorted(runs, key=lambda run: run.started)] == [high, first, second, low]
    assert {run.worker for run in [*runs, *yard.completed(other)]} == {"both"}
    end(both)


def test_two_workers_of_one_yard_share_its_queue_and_a_third_may_not_take_a_name(yard):
    second = yard.worker("second", slots=1)
    runs = [yard.submit(epochs=100_000, seed=seed) for seed in range(3)]
    eventually(lambda: {w.name: w.busy for w in yard.client.workers()}["second"] == 1, TIMEOUT)
    eventually(lambda: [yard.client.run(run).state for run in runs] == ["running"] * 3, TIMEOUT)
    refused = yard.cli("workers", "start", "--name", "second")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: a worker named 'second' runs already (process {second.pid} on {yard.client.workers()[0].host}); "
        "choose another with --name\n"
    )
    for run in runs:
        yard.client.cancel(run)
    end(second)


def test_a_stopped_worker_hands_its_run_over_and_a_drained_one_ends_it_and_takes_no_other(yard):
    stopped = yard.worker("stopped", queues="last")
    run = yard.long_run(queue="last")
    yard.trains(run)
    assert yard.cli("workers", "stop", "stopped").returncode == 0
    assert stopped.wait(TIMEOUT) == 0
    assert (yard.client.run(run).state, yard.outcomes(run)) == ("queued", ["interrupted"])
    assert yard.checkpoint(run) is not None

    drained, waiting = yard.worker("drained", queues="last"), yard.submit(epochs=2, queue="last")
    eventually(lambda: yard.client.run(run).state == "running")
    assert yard.cli("workers", "drain", "drained").stdout == "worker drained finishes what it trains and ends\n"
    assert drained.wait(TIMEOUT) == 0
    assert (yard.client.run(run).state, yard.outcomes(run)) == ("completed", ["interrupted", "completed"])
    assert (yard.client.run(waiting).state, yard.outcomes(waiting)) == ("queued", [])
    states = {w.name: w.state for w in yard.client.workers()}
    assert (states["stopped"], states["drained"]) == ("stopped", "stopped")
    yard.client.cancel(waiting)


def worker(yard: Yard) -> str:
    """The yard's own worker, which has the host's name."""
    return next(w.name for w in yard.client.workers() if w.state == "ready" and w.name == w.host.partition(".")[0])
