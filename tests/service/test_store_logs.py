"""Logs: kept with the run, bounded, dated by the database, and safe to write again and to show."""

from __future__ import annotations

import time

import pytest

from service.client import Client
from service.errors import InputError
from service.following import follow_logs
from service.store import history, logs, transitions
from service.store.logs import Line
from service.store.tables import Level, Outcome
from service.store.transitions import LeaseLost, Progress


def lines(first, last, ago=0.0, text="line"):
    return [Line(number, time.monotonic() - ago, Level.INFO, f"{text} {number}") for number in range(first, last + 1)]


def record(yard, claim, told):
    yard.do(transitions.record, claim.run_id, claim.attempt, Progress(lines=told), 60.0)


def read(yard, run_id, **named):
    return yard.ask(logs.read, run_id, **named)


def texts(found):
    return [(line.attempt, line.number, line.text) for line in found]


def test_lines_are_dated_by_the_database_when_they_were_told_and_stay_as_they_are_when_written_again(yard):
    claim = yard.claimed()
    record(yard, claim, lines(1, 2, ago=100.0))
    record(yard, claim, lines(2, 3, text="other"))
    found = read(yard, claim.run_id)
    assert texts(found) == [(1, 1, "line 1"), (1, 2, "line 2"), (1, 3, "other 3")]
    started = yard.attempts(claim.run_id)[0].started
    assert 90 < (started - found[0].at).total_seconds() < 110
    assert (found[2].at - started).total_seconds() > -1


def test_the_one_who_finds_an_attempt_lost_adds_its_last_line_once_and_late_lines_are_refused(yard):
    first = yard.claimed()
    record(yard, first, lines(1, 2))
    yard.lose(first, "its process died by SIGKILL")
    yard.lose(first, "its process died by SIGKILL")  # an answer to a commit may be lost
    with pytest.raises(LeaseLost):
        record(yard, first, lines(3, 3))
    second = yard.claim(worker="bob")
    record(yard, second, lines(1, 1))
    yard.finish(second, Outcome.FAILED, error="no", lines=lines(2, 2))
    lost = "lost: its process died by SIGKILL; the run is queued"
    expected = [(1, 1, "line 1"), (1, 2, "line 2"), (1, 3, lost), (2, 1, "line 1"), (2, 2, "line 2")]
    assert texts(read(yard, first.run_id)) == expected
    assert read(yard, first.run_id)[2].level == "warning"
    assert texts(read(yard, first.run_id, after=(1, 2), limit=2)) == expected[2:4]
    assert texts(read(yard, first.run_id, attempt=2)) == expected[3:]
    assert texts(yard.ask(logs.tail, first.run_id, 3)) == expected[2:]
    assert texts(yard.ask(logs.tail, first.run_id, 9, attempt=1)) == expected[:3]


def test_of_a_long_attempt_the_first_and_the_last_lines_are_kept_and_the_gap_is_told(yard, monkeypatch):
    for name, value in {"FIRST": 5, "LAST": 5, "AT_ONCE": 4}.items():
        monkeypatch.setattr(logs, name, value)
    claim = yard.claimed()
    for number in range(1, 31):
        record(yard, claim, lines(number, number))
        assert len(read(yard, claim.run_id)) < 5 + 5 + 4
    found = read(yard, claim.run_id)
    numbers = [line.number for line in found]
    assert numbers[:5] == [1, 2, 3, 4, 5]
    assert numbers[5:] == list(range(numbers[5], 31))
    missing = [(gap, line.number) for gap, line in logs.left_out(found) if gap]
    assert missing == [(numbers[5] - 6, numbers[5])]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a\nb\x1b[2J\0", "a\\nb\\x1b[2J\\x00"),
        ("at redis://:secret@host/0 and postgresql://a:b@c/d?password=x", "at redis://:***@host/0 and "
         "postgresql://a:***@c/d?password=***"),
        ("lone \ud800", "lone \\ud800"),
        ("x" * 3000, "x" * 1998 + " …"),
        ("größer → 1", "größer → 1"),
    ],
)  # fmt: skip
def test_a_line_is_safe_to_keep_and_to_show(said, kept):
    assert logs.clean(said) == kept


def test_following_ends_with_the_last_line_of_the_run_or_of_the_attempt(yard):
    claim = yard.claimed()
    record(yard, claim, lines(1, 1))
    run, following = claim.run_id, follow_logs(yard.database.read, claim.run_id, None, (0, 0))
    assert next(following).text == "line 1"
    yard.lose(claim)
    assert [line.number for line in follow_logs(yard.database.read, run, 1, (0, 0))] == [1, 2]
    again = yard.claim(worker="bob")
    yard.finish(again, lines=lines(1, 2))
    assert [(line.attempt, line.number) for line in following] == [(1, 2), (2, 1), (2, 2)]
    with pytest.raises(InputError, match=f"run {run} has no attempt 3; there were 2 attempts"):
        yard.ask(history.check_attempt, run, 3)


def test_the_client_tells_the_log_of_a_run(yard, tmp_path):
    claim = yard.claimed()
    yard.finish(claim, lines=lines(1, 3))
    client = Client(home=tmp_path, database_url=yard.database.url)
    client.__dict__["database"] = yard.database
    assert texts(client.logs(claim.run_id, after=(1, 1))) == [(1, 2, "line 2"), (1, 3, "line 3")]
    assert texts(client.log_tail(claim.run_id, 1)) == [(1, 3, "line 3")]
    assert client.space().logs > 0
