"""Whoever reaches the broker can wake a worker, and no more than that."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.queue import TICKET, celery_app
from tests.servers import eventually
from tests.yard import TIMEOUT, parent

COMMANDS = {
    "shutdown": {},
    "pool_shrink": {"n": 1},
    "pool_grow": {"n": 1},
    "cancel_consumer": {"queue": "default"},
    "rate_limit": {"task_name": TICKET, "rate_limit": "1/h"},
    "time_limit": {"task_name": TICKET, "hard": 1},
    "ping": {},
}


def test_commands_of_celerys_remote_control_are_neither_answered_nor_obeyed(yard):
    run = yard.submit(epochs=100_000)
    celery = parent(yard.trains(run))
    control = celery_app(yard.settings.broker).control
    for command, arguments in COMMANDS.items():
        assert not control.broadcast(command, arguments, reply=True, timeout=0.5), command
    yard.completed(yard.submit(epochs=2))
    yard.client.cancel(run)
    yard.completed(*(yard.submit(epochs=2) for _ in range(4)))
    assert (yard.slots, yard.outcomes(run)) == (2, ["cancelled"])
    again = yard.submit(epochs=100_000)
    assert parent(yard.trains(again)) == celery
    yard.client.cancel(again)


@pytest.mark.parametrize("limits", [{"time_limit": 1}, {"soft_time_limit": 1}])
def test_a_ticket_with_a_time_limit_ends_neither_the_run_nor_its_process(yard, limits):
    run = yard.submit(epochs=100_000, queue="forged")  # its own tickets lie in a queue that nobody serves
    celery_app(yard.settings.broker).send_task(TICKET, ["forged"], queue="default", **limits)
    yard.trains(run)
    [attempt] = yard.client.attempts(run)
    eventually(lambda: datetime.now(UTC) - attempt.started > timedelta(seconds=3), TIMEOUT)
    assert (yard.client.run(run).state, yard.outcomes(run)) == ("running", [None])
    yard.client.cancel(run)


@pytest.mark.parametrize("task", ["celery.map", "celery.backend_cleanup", "os.system"])
def test_other_tasks_than_tickets_are_unknown(yard, task):
    celery_app(yard.settings.broker).send_task(task, [TICKET, [["default"]]], queue="default")
    eventually(lambda: f"Received unregistered task of type '{task}'" in yard.log(), TIMEOUT)
    yard.completed(yard.submit(epochs=2))


def test_only_the_celery_worker_has_the_line_to_its_supervisor(yard):
    """Not its slots, which are forked from it."""
    run = yard.submit(epochs=100_000)
    training = yard.trains(run)
    assert len(lines(parent(training))) == 1
    assert lines(training) == set()
    yard.client.cancel(run)


def lines(pid: int) -> set[str]:
    """The sockets for datagrams between processes that a process has (Linux): nothing else here uses such."""
    rows = [row.split() for row in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    datagrams = {f"socket:[{row[6]}]" for row in rows if row[4] == "0002"}
    return {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()} & datagrams
