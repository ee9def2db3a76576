"""What signals ask of a program in front: to end, and, by a second Ctrl-C, to end at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from service import ending
from service.ending import AT_ONCE, SOON, Ending
from tests.yard import ROOT


@pytest.fixture
def heard(monkeypatch):
    """An ending that listens to this process's signals, and what it has called."""
    monkeypatch.setattr(ending, "SAME_SECONDS", 0.0)
    before = {number: signal.getsignal(number) for number in (*SOON, AT_ONCE)}
    calls = []
    made = Ending(lambda: calls.append("soon"), lambda: calls.append("at once"))
    made.listen()
    yield made, calls
    for number, handler in before.items():
        signal.signal(number, handler)


def send(*numbers):
    for number in numbers:
        os.kill(os.getpid(), number)


def test_nobody_asks_and_the_time_passes(heard):
    made, calls = heard
    assert (made.wait(0.0), made.asked, calls) == (False, None, [])


@pytest.mark.parametrize("number", SOON)
def test_a_signal_asks_to_end_soon_and_no_wait_is_waited_for(heard, number):
    made, calls = heard
    send(number)
    began = time.monotonic()
    assert made.wait(3600.0)
    assert made.wait(3600.0)
    assert time.monotonic() - began < 1800
    assert (made.hurried, calls) == (False, ["soon"])


def test_sigterm_may_come_any_number_of_times(heard):
    made, calls = heard
    send(signal.SIGTERM, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM)
    assert (made.hurried, calls) == (False, ["soon"] * 4)


@pytest.mark.parametrize(
    "numbers", [(signal.SIGINT, signal.SIGINT), (signal.SIGTERM, signal.SIGINT), (signal.SIGQUIT,)]
)
def test_a_second_ctrl_c_asks_to_end_at_once(heard, numbers):
    made, calls = heard
    send(*numbers)
    assert made.wait(3600.0)
    assert (made.hurried, calls[-1]) == (True, "at once")


def test_one_ctrl_c_that_arrives_twice_is_one(heard, monkeypatch):
    """The terminal sends it to all programs of a pipeline, and `uv run` passes it on."""
    made, calls = heard
    monkeypatch.setattr(ending, "SAME_SECONDS", 3600.0)
    send(signal.SIGINT, signal.SIGINT)
    assert (made.hurried, calls) == (False, ["soon", "soon"])


def test_the_program_may_ask_itself(heard):
    made, calls = heard
    made.ask()
    made.ask()
    assert made.wait(3600.0)
    assert (made.hurried, calls) == (False, [])


def test_whoever_asks_one_that_has_ended_does_not_kill_it():
    """By a program of its own: the signal comes while Python tidies up, when it has given up our handlers."""
    program = """
import os, signal
from service.ending import Ending
class Late:
    def __del__(self):  # of a global: about the last thing that happens
        os.kill(os.getpid(), signal.SIGTERM)
late = Late()
ending = Ending()
ending.listen()
ending.leave()
"""
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
