"""Whatever dies, runs finish by themselves with the bytes of runs that were left alone, and no epoch is told twice."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from pathlib import Path

import redis

from service.store.database import sqlite_module
from tests.servers import eventually
from tests.yard import TIMEOUT, Result, Yard, end, long_epochs, parent


def assert_like_undisturbed(yard: Yard, run_id: int, undisturbed: Result) -> None:
    best, last, sha256, history = yard.result(run_id)
    assert [epoch["epoch"] for epoch in history] == list(range(1, long_epochs() + 1))
    assert history == undisturbed[3]
    assert sha256 == undisturbed[2]
    assert best == undisturbed[0]
    assert last == undisturbed[1]
    assert best != last


def test_ten_runs_with_different_seeds_complete(any_yard):
    runs = any_yard.completed(*[any_yard.submit(epochs=3, seed=seed) for seed in range(10)])
    assert len({run.weights_sha256 for run in runs}) == 10


def test_a_run_whose_training_process_is_killed_finishes_with_the_same_bytes(any_yard, undisturbed):
    run = any_yard.long_run(seed=7)
    training = any_yard.is_saved(run)
    os.kill(training, signal.SIGKILL)
    any_yard.completed(run)
    assert any_yard.outcomes(run) == ["lost", "completed"]
    [lost, _] = any_yard.client.attempts(run)
    assert (lost.reason.split(" on ")[0], lost.exit_signal) == (f"its training process {training}", "SIGKILL")
    assert lost.reason.endswith("died by SIGKILL")
    first, second = (any_yard.client.logs(run, attempt=number) for number in (1, 2))
    assert any(line.text.startswith("epoch ") for line in first)
    assert first[-1].text == f"lost: {lost.reason}; the run is queued"
    assert any(line.text.startswith("goes on from its checkpoint, after epoch ") for line in second)
    assert_like_undisturbed(any_yard, run, undisturbed)


CONVOLUTIONS = """
version: 1
name: convolutions
data: {source: digits, split: {validation: 0.2, test: 0.1}, scale: minmax, augment: {shift: 1, noise: 0.1}}
network:
  - conv2d: {units: 4, size: 3, activation: relu}
  - max_pool: 2
  - batch_norm
  - dropout: 0.2
  - flatten
optimizer: {momentum: 0.02}
schedule: one_cycle
train: {epochs: 50, batch_size: 32, accumulate: 2, warmup: 1, l2: 0.001, clip_norm: 1, average: 0.9}
seed: 3
"""


def test_a_killed_run_of_a_convolutional_network_with_all_that_has_a_state_ends_with_the_same_bytes(yard):
    """Running means, noise, augmentation, velocity, a schedule with a warm-up, a moving average."""
    file = yard.home / "specs" / "convolutions.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(CONVOLUTIONS)
    whole, killed = yard.client.submit(file).id, yard.client.submit(file).id
    os.kill(yard.is_saved(killed), signal.SIGKILL)
    yard.completed(whole)
    yard.completed(killed)
    assert yard.outcomes(killed) == ["lost", "completed"]
    assert yard.result(killed) == yard.result(whole)


def test_a_killed_run_goes_on_from_its_checkpoint_and_not_from_the_start(yard):
    run = yard.long_run()
    os.kill(yard.is_saved(run), signal.SIGKILL)
    yard.completed(run)
    assert yard.client.attempts(run)[1].first_epoch > 1


def test_a_run_killed_before_its_first_checkpoint_starts_over_with_the_same_bytes(yard, undisturbed):
    run = yard.long_run(seed=7)
    eventually(lambda: yard.outcomes(run))
    os.kill(yard.client.attempts(run)[0].pid, signal.SIGKILL)
    yard.completed(run)
    assert yard.outcomes(run) == ["lost", "completed"]
    assert_like_undisturbed(yard, run, undisturbed)


def test_a_run_that_loses_every_process_fails_and_says_so(yard):
    run = yard.client.submit(yard.spec(epochs=long_epochs()), overrides=["max_attempts=2"]).id
    for attempt in (1, 2):
        eventually(lambda attempt=attempt: len(yard.outcomes(run)) == attempt)
        os.kill(yard.client.attempts(run)[-1].pid, signal.SIGKILL)
    record = yard.ended(run)
    assert record.state == "failed"
    assert record.error.startswith("attempt 2 was the last one allowed, and it was lost: its training process")
    assert yard.outcomes(run) == ["lost", "lost"]


def test_runs_that_wait_survive_a_flush_of_the_broker(any_yard):
    training = [any_yard.submit(epochs=100_000, seed=seed) for seed in (1, 2)]
    for run in training:
        any_yard.trains(run)
    waiting = [any_yard.submit(epochs=2, seed=seed) for seed in range(10)]
    flush(any_yard)
    for run in training:
        any_yard.client.cancel(run)
    any_yard.completed(*waiting)


def flush(yard: Yard) -> None:
    settings = yard.settings
    if settings.embedded_broker:
        client = redis.Redis(unix_socket_path=str(settings.broker_socket), password=settings.broker_password)
    else:
        client = redis.Redis.from_url(settings.broker)
    assert client.dbsize() > 0
    assert client.flushall()
    client.close()


def test_the_yard_starts_a_killed_embedded_broker_again(yard):
    running = yard.long_run(seed=1)
    yard.trains(running)
    [broker] = [pid for pid, command in yard.processes().items() if "broker.sock" in command]
    os.kill(broker, signal.SIGKILL)
    waiting = [yard.submit(epochs=2, seed=seed) for seed in range(5)]
    yard.completed(running, *waiting)
    assert yard.outcomes(running) == ["completed"]
    [again] = [pid for pid, command in yard.processes().items() if "broker.sock" in command]
    assert again != broker


def test_runs_survive_a_broker_of_ones_own_that_is_killed_and_comes_back_empty(remote_yard, broker):
    running = [remote_yard.long_run(seed=seed) for seed in (1, 2)]
    for run in running:
        remote_yard.trains(run)
    waiting = remote_yard.submit(epochs=2)
    broker.kill()
    meanwhile = remote_yard.submit(epochs=2, seed=2)
    broker.start()
    remote_yard.completed(*running, waiting, meanwhile)
    assert [remote_yard.outcomes(run) for run in running] == [["completed"], ["completed"]]


def freeze(yard: Yard, pids: list[int]) -> None:
    """Stop these processes between two transactions: while theirs was open, nobody else could write to SQLite."""

    def frozen() -> bool:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        with closing(sqlite_module().connect(yard.client.database.file, timeout=0, isolation_level=None)) as asking:
            try:
                asking.execute("BEGIN IMMEDIATE")
            except sqlite_module().OperationalError:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
                return False
        return True

    eventually(frozen, TIMEOUT)


def test_a_run_that_is_frozen_taken_over_and_handed_over_ends_with_the_same_bytes(yard, undisturbed):
    programs = {name: yard.worker(name, queues="moves") for name in ("ada", "bob")}
    run = yard.long_run(seed=7, queue="moves")
    training = yard.is_saved(run)
    frozen = yard.client.run(run).worker
    [other] = set(programs) - {frozen}
    group = [programs[frozen].pid, parent(training), training]
    freeze(yard, group)

    eventually(lambda: yard.client.run(run).worker == other, TIMEOUT)
    taken_over_at = yard.client.run(run).epoch
    eventually(lambda: yard.client.run(run).epoch > taken_over_at, TIMEOUT)
    assert end(programs[other]) == 0
    assert (yard.client.run(run).state, yard.outcomes(run)) == ("queued", ["lost", "interrupted"])

    for pid in group:
        os.kill(pid, signal.SIGCONT)
    yard.completed(run)
    end(programs[frozen])
    first, second, third = yard.client.attempts(run)
    assert (first.worker, second.worker, third.worker) == (frozen, other, frozen)
    assert (first.outcome, first.reason) == ("lost", f"worker {frozen} was silent for 2 s")
    assert (second.outcome, second.reason) == ("interrupted", f"worker {other} was told to stop")
    assert third.outcome == "completed"
    assert_like_undisturbed(yard, run, undisturbed)


def test_runs_of_a_killed_supervisor_finish(yard, undisturbed):
    run = yard.long_run(seed=7)
    yard.is_saved(run)
    [worker] = [worker for worker in yard.client.workers() if worker.state == "ready"]
    os.kill(worker.pid, signal.SIGKILL)
    yard.completed(run)
    assert yard.outcomes(run)[-1] == "completed"
    [again] = [worker for worker in yard.client.workers() if worker.state == "ready"]
    assert (again.name, again.pid == worker.pid) == (worker.name, False)  # or nobody would miss its runs at once
    assert_like_undisturbed(yard, run, undisturbed)


def test_runs_of_a_killed_celery_worker_finish(yard, undisturbed):
    run = yard.long_run(seed=7)
    training = yard.is_saved(run)
    celery = parent(training)
    assert b"celery" in Path(f"/proc/{celery}/cmdline").read_bytes()
    os.kill(celery, signal.SIGKILL)
    yard.completed(run)
    assert yard.outcomes(run) == ["lost", "completed"]
    assert yard.client.attempts(run)[0].reason.endswith("ended with code -9")
    assert_like_undisturbed(yard, run, undisturbed)
