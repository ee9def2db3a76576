"""However a yard or a worker is told to end, it saves; told twice by Ctrl-C it ends at once, and nothing is lost."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import update

from service.ending import SAME_SECONDS
from service.store import transitions
from service.store.tables import Worker
from tests import servers
from tests.servers import eventually
from tests.yard import ROOT, TIMEOUT, Program, Yard
from tests.yard import yard as a_yard

CTRL_C = b"\x03"
TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""
AT_ONCE = 10.0  # seconds; two are promised, and machines can be busy. Saving would be waited for 30


class Terminal:
    """A program in front of a terminal of its own."""

    def __init__(self, program: Program, keyboard: int) -> None:
        self.program, self._keyboard = program, keyboard

    def press(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def hang_up(self) -> None:
        os.close(self._keyboard)
        self._keyboard = -1

    def close(self) -> None:
        if self._keyboard >= 0:
            self.hang_up()


@contextmanager
def in_a_terminal(there: Yard, module: str, *arguments: str) -> Iterator[Terminal]:
    there.home.mkdir(parents=True, exist_ok=True)
    keyboard, terminal = pty.openpty()
    with there.output.open("ab") as output:
        program = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", module, *arguments], cwd=ROOT,
            env=there.environment, stdin=terminal, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    os.close(terminal)
    there.programs.append(program)
    made = Terminal(program, keyboard)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def up(there: Yard, slots: int = 1) -> Iterator[Terminal]:
    with in_a_terminal(there, "service.cli", "up", "--workers", str(slots), "--port", "0") as terminal:
        there.wait_for(lambda: (state := there.state) and state.pid == terminal.program.pid, terminal.program)
        there.wait_for(lambda: there.slots >= slots, terminal.program)
        yield terminal


@pytest.fixture
def home() -> Iterator[Yard]:
    with a_yard() as there:
        yield there


@pytest.fixture(scope="module")
def _bare_yard() -> Iterator[Yard]:
    with a_yard() as there:
        there.up(0)
        yield there


@pytest.fixture
def bare(_bare_yard: Yard) -> Yard:
    """A yard whose page and broker are there without a worker, and nothing to do."""
    for run in _bare_yard.client.runs("state = queued", limit=None):
        _bare_yard.client.cancel(run.id)
    return _bare_yard


def goes_on(there: Yard, run_id: int) -> None:
    there.up(slots=1)
    there.completed(run_id)
    epochs = [epoch["epoch"] for epoch in there.client.history(run_id)]
    assert epochs == list(range(1, there.client.run(run_id).epochs + 1))


def test_ctrl_c_saves_what_trains_and_ends_the_yard(home):
    with up(home) as terminal:
        run = home.submit(epochs=100_000)
        home.trains(run)
        terminal.press(CTRL_C)
        assert terminal.program.wait(TIMEOUT) == 0
    assert (home.client.run(run).state, home.outcomes(run)) == ("queued", ["interrupted"])
    eventually(lambda: not home.processes(), TIMEOUT)


def test_closing_the_terminal_saves_what_trains_and_ends_the_yard(home):
    with up(home) as terminal:
        run = home.submit(epochs=100_000)
        home.trains(run)
        terminal.hang_up()
        assert terminal.program.wait(TIMEOUT) == 0
    assert (home.client.run(run).state, home.outcomes(run)) == ("queued", ["interrupted"])
    eventually(lambda: not home.processes(), TIMEOUT)


def test_a_second_ctrl_c_ends_the_yard_at_once_and_its_run_goes_on_to_the_same_bytes(home):
    """A slot that is frozen saves nothing: only the second Ctrl-C can end it."""
    with up(home) as terminal:
        whole, run = home.long_run(seed=7), home.long_run(seed=7)
        home.completed(whole)
        training = home.is_saved(run)
        os.kill(training, signal.SIGSTOP)
        terminal.press(CTRL_C)
        eventually(lambda: "Warm shutdown" in home.log(), TIMEOUT)
        eventually_later()
        began = time.monotonic()
        terminal.press(CTRL_C)
        assert terminal.program.wait(TIMEOUT) == 0
        assert time.monotonic() - began < AT_ONCE
    assert home.processes() == {}
    [attempt] = home.client.attempts(run)
    assert (home.client.run(run).state, attempt.outcome) == ("queued", "interrupted")
    assert attempt.reason.endswith("was told to stop and could not save")
    goes_on(home, run)
    assert home.client.attempts(run)[-1].first_epoch > 1
    assert home.result(run) == home.result(whole)


def eventually_later() -> None:
    """Two Ctrl-C in one moment are one that a wrapper has passed on."""
    end = time.monotonic() + 2 * SAME_SECONDS
    eventually(lambda: time.monotonic() > end)


@contextmanager
def worker_in_a_terminal(there: Yard) -> Iterator[Terminal]:
    """`trainyard workers start`."""
    with in_a_terminal(there, "service.cli", "workers", "start", "--name", "ada") as terminal:
        there.wait_for(lambda: there.slots == 1, terminal.program)
        yield terminal


def test_ctrl_c_ends_a_worker_that_a_person_has_started_and_saves_what_it_trains(bare):
    with worker_in_a_terminal(bare) as terminal:
        run = bare.submit(epochs=100_000)
        bare.trains(run)
        terminal.press(CTRL_C)
        assert terminal.program.wait(TIMEOUT) == 0
    assert (bare.client.run(run).state, bare.outcomes(run)) == ("queued", ["interrupted"])
    assert bare.client.workers()[0].state == "stopped"


def test_and_a_second_one_ends_it_at_once(bare):
    with worker_in_a_terminal(bare) as terminal:
        run = bare.submit(epochs=100_000)
        os.kill(bare.is_saved(run), signal.SIGSTOP)
        terminal.press(CTRL_C)
        eventually_later()
        began = time.monotonic()
        terminal.press(CTRL_C)
        assert terminal.program.wait(TIMEOUT) == 0
        assert time.monotonic() - began < AT_ONCE
    assert (bare.client.run(run).state, bare.outcomes(run)) == ("queued", ["interrupted"])
    assert not any("celery" in command for command in bare.processes().values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_worker_that_is_told_several_times_saves_all_the_same(bare, number):
    ada = bare.worker("ada")
    run = bare.submit(epochs=100_000)
    bare.trains(run)
    for _ in range(5):
        ada.send_signal(number)
    assert ada.wait(TIMEOUT) == 0
    [attempt] = bare.client.attempts(run)
    assert (attempt.outcome, attempt.reason) == ("interrupted", "worker ada was told to stop")


def test_a_worker_that_is_told_to_stop_while_its_pool_starts_ends_and_leaves_nothing(bare):
    eve = bare.start("workers", "--name", "eve", "--slots", "4")
    eventually(lambda: any("celery" in command for command in bare.processes().values()), TIMEOUT)
    eve.terminate()
    assert eve.wait(TIMEOUT) == 0
    assert not any("celery" in command for command in bare.processes().values())
    assert {worker.name: worker.state for worker in bare.client.workers()}["eve"] == "stopped"


def test_a_worker_that_is_told_to_stop_while_the_broker_is_away_saves_and_ends(tmp_path, redis_url):
    with servers.redis(tmp_path / "redis") as broker, a_yard(broker_url=broker.url) as there:
        there.up(0)
        ada = there.worker("ada", slots=2)  # one is idle, so that Celery misses the broker and waits for it
        run = there.submit(epochs=100_000)
        there.trains(run)
        broker.process.kill()
        broker.process.wait()
        eventually(lambda: "Connection to broker lost" in there.log(), TIMEOUT)
        ada.terminate()
        assert ada.wait(TIMEOUT) == 0
        assert (there.client.run(run).state, there.outcomes(run)) == ("queued", ["interrupted"])


def test_a_worker_whose_name_another_has_taken_ends_and_leaves_the_other_its_runs(home):
    home.up(0)
    ada = home.worker("ada", queues="elsewhere")
    run = home.submit(epochs=2)
    with home.client.database.write() as session:
        session.execute(update(Worker).where(Worker.name == "ada").values(pid=os.getpid()))
        transitions.claim(session, "default", "ada", os.getpid(), 3600, {})
    assert ada.wait(TIMEOUT) == 0
    assert (home.client.run(run).state, home.outcomes(run)) == ("running", [None])
