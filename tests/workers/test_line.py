"""The line between supervisor and Celery worker: what is said arrives whole, and nobody ever waits for the other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from workers import line
from workers.line import Line

CHILD = "from workers import line; end = line.inherited(); print(end.receive()); end.send(slots=2, takes=True)"


@pytest.fixture
def ends():
    ours, theirs = line.pair()
    theirs = Line(theirs)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_what_is_said_arrives_in_order_and_once(ends):
    ours, theirs = ends
    assert ours.receive() == []
    assert theirs.send(pid=4711, code=-9)
    assert theirs.send(slots=2, takes=True)
    assert ours.receive() == [{"pid": 4711, "code": -9}, {"slots": 2, "takes": True}]
    assert ours.receive() == []


def test_who_speaks_to_one_that_does_not_listen_never_waits_and_what_arrives_is_whole(ends):
    ours, theirs = ends
    sent = 0
    while ours.send(number=sent):
        sent += 1
    assert sent > 10
    assert theirs.receive() == [{"number": number} for number in range(sent)]
    assert ours.send(number="again")


def test_who_speaks_to_one_that_is_gone_is_told(ends):
    ours, theirs = ends
    theirs.close()
    assert not ours.send(slots=1)
    assert ours.receive() == []


def test_a_program_that_is_started_with_one_end_speaks_with_the_other():
    ours, theirs = line.pair()
    with theirs:
        number = theirs.fileno()
        ours.send(slots=3, takes=False)
        said = subprocess.run(
            [sys.executable, "-c", CHILD], pass_fds=[number], env=os.environ | {line.VARIABLE: str(number)},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert said.stdout == "[{'slots': 3, 'takes': False}]\n"
    assert ours.receive() == [{"slots": 2, "takes": True}]
    ours.close()


def test_without_a_supervisor_there_is_no_line(monkeypatch):
    monkeypatch.delenv(line.VARIABLE, raising=False)
    assert line.inherited() is None


def test_the_number_is_taken_out_of_the_environment_and_the_end_is_not_passed_on(monkeypatch):
    ours, theirs = line.pair()
    monkeypatch.setenv(line.VARIABLE, str(theirs.detach()))
    end = line.inherited()
    assert line.VARIABLE not in os.environ
    assert not os.get_inheritable(end.fileno())
    end.close()
    ours.close()
