"""What people do to runs and workers while they are at work: cancel, scale, drain, order by queue and priority."""

from __future__ import annotations

import re
import time

from tests.servers import eventually
from tests.yard import TIMEOUT, Yard, long_epochs

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
    assert yard.cli("runs", "retry", run).returncode == 0
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
    busy = "waits: all 2 slots of queue 'default' are busy"
    held = "; ".join(rf"run {run} on \S+, epoch \d+ of 100000" for run in training)
    assert re.fullmatch(rf"run {high} {busy} \({held}\); it is next in line", yard.client.why(high))
    assert re.fullmatch(rf"run {low} {busy} \({held}\); 1 run goes before it", yard.client.why(low))
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


def test_the_pool_never_overshoots_and_takes_work_at_every_size(yard):
    name = worker(yard)
    for slots in (4, 1, 3, 2):
        before, seen = yard.slots, []
        yard.client.scale(name, slots)
        eventually(lambda seen=seen, slots=slots: seen.append(training_processes(yard)) or yard.slots == slots, TIMEOUT)
        assert max(seen) <= max(before, slots)
        yard.completed(*(yard.submit(epochs=2) for _ in range(slots + 1)))


def training_processes(yard: Yard) -> int:
    """How many processes the pool has: all of the Celery worker's but its main one."""
    return sum("celery" in command for command in yard.processes().values()) - 1


def test_runs_wait_for_a_worker_of_their_queue_which_takes_them_in_order_until_it_is_drained(yard):
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

    last = yard.submit(2 * long_epochs(), queue="elsewhere")
    waiting = yard.submit(epochs=2, queue="elsewhere")
    yard.trains(last)
    assert yard.cli("workers", "drain", "both").stdout == "worker both finishes what it trains and ends\n"
    assert both.wait(TIMEOUT) == 0
    assert (yard.client.run(last).state, yard.outcomes(last)) == ("completed", ["completed"])
    assert (yard.client.run(waiting).state, yard.outcomes(waiting)) == ("queued", [])
    assert states(yard)["both"] == "stopped"
    yard.client.cancel(waiting)


def test_two_workers_of_one_yard_share_a_queue_and_one_that_is_stopped_hands_its_run_back(yard):
    second = yard.worker("second")
    runs = [yard.submit(epochs=100_000, seed=seed) for seed in range(3)]
    for run in runs:
        yard.trains(run)
    refused = yard.cli("workers", "start", "--name", "second")
    assert refused.returncode == 2
    assert refused.stderr == (
        f"error: a worker named 'second' runs already (process {second.pid} on {yard.client.workers()[0].host}); "
        "choose another with --name\n"
    )

    [its] = [run for run in runs if yard.client.run(run).worker == "second"]
    assert yard.cli("workers", "stop", "second").returncode == 0
    assert second.wait(TIMEOUT) == 0
    assert (yard.client.run(its).state, yard.outcomes(its)) == ("queued", ["interrupted"])
    assert yard.checkpoint(its) is not None
    assert states(yard)["second"] == "stopped"
    for run in runs:
        yard.client.cancel(run)


def states(yard: Yard) -> dict[str, str]:
    return {worker.name: worker.state for worker in yard.client.workers()}


def worker(yard: Yard) -> str:
    """The yard's own worker."""
    [name] = [name for name, state in states(yard).items() if state == "ready"]
    return name
