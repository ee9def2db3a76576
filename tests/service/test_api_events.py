"""What changes, as it does: looks at the database, and streams of events that are picked up after a break."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from service import live
from service.client import Client
from service.live import Live
from service.roles import Role
from service.settings import Settings
from service.store import edits
from service.store.logs import Line
from service.store.points import Point
from service.store.tables import Level
from service.web import answers
from service.web.api import events as stream_of_events
from tests.web import served


@pytest.fixture
def client(database, database_url, tmp_path) -> Client:
    client = Client(Settings(home=tmp_path, database_url=database_url, broker_url="redis://127.0.0.1:1/0"))
    client.__dict__["database"] = database
    return client


def kinds(changes):
    return [(change.kind, change.data.get("id")) for change in changes]


def runs(changes):
    return [(change.data["id"], change.data["state"]) for change in changes if change.kind == "run"]


def test_a_look_tells_what_has_changed_since_the_last_one(client, yard):
    first = yard.submit()
    look = Live(client).look
    assert look() == []
    assert look() == []
    second = yard.submit()
    assert runs(look()) == [(second, "queued")]
    claim = yard.claim()
    assert runs(look()) == [(first, "running")]
    yard.record(claim, Point("loss", 1, 0.5, False), epoch=1)
    (change,) = [change for change in look() if change.kind == "run"]
    assert (change.data["epoch"], change.data["metrics"]["loss"]["last"]) == (1, 0.5)
    assert "spec" not in change.data
    yard.finish(claim)
    assert runs(look()) == [(first, "completed")]
    client.edit(first, tag=["good"])
    assert runs(look()) == [(first, "completed")]
    client.remove([first])
    assert ("removed", first) in kinds(look())
    assert look() == []


def test_a_look_tells_that_a_log_has_grown_and_nothing_of_a_lease_that_is_only_renewed(client, yard):
    yard.submit()
    claim = yard.claim()
    look = Live(client).look
    look()
    yard.record(claim)
    assert look() == []
    yard.record(claim, lines=[Line(number, time.monotonic(), Level.INFO, "on its way") for number in (1, 2)])
    (change,) = look()
    assert (change.kind, change.data) == ("log", {"id": claim.run_id, "attempt": 1, "number": 2})
    assert look() == []
    yard.finish(claim, lines=[Line(3, time.monotonic(), Level.INFO, "done")])
    assert [kind for kind, run_id in kinds(look()) if run_id == claim.run_id] == ["run", "log"]


def test_an_old_run_is_told_of_when_it_trains_ends_or_is_edited(client, yard, monkeypatch):
    monkeypatch.setattr(live, "NEWEST", 1)
    old, _ = yard.submit(), yard.submit(queue="other")
    look = Live(client).look
    look()
    claim = yard.claim()
    assert runs(look()) == [(old, "running")]
    yard.pause(old)
    yard.interrupt(claim)
    assert runs(look()) == [(old, "paused")]
    client.edit(old, note="kept")
    assert runs(look()) == [(old, "paused")]
    yard.cancel(old)
    assert runs(look()) == [(old, "cancelled")]


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_an_edit_that_is_committed_behind_a_later_one_is_told(client, yard, monkeypatch):
    monkeypatch.setattr(live, "NEWEST", 1)
    slow, fast, _ = (yard.submit(queue="other") for _ in range(3))
    look = Live(client).look
    look()
    with yard.database.write() as session:
        edits.edit(session, [slow], edits.Changes(tag=["slow"]), "ada")
        session.flush()
        client.edit(fast, tag=["fast"])
        assert runs(look()) == [(fast, "queued")]
    assert runs(look()) == [(slow, "queued")]
    assert runs(look()) == []


def test_more_changes_than_can_be_told_ask_whoever_follows_to_look_anew(client, yard, monkeypatch):
    monkeypatch.setattr(live, "MOST", 3)
    look = Live(client).look
    yard.submit()
    look()
    for _ in range(3):
        yard.submit()
    assert [change.kind for change in look() if change.kind != "queues"] == ["reset"]


def test_queues_and_counts_are_told_when_they_change(client, yard):
    look = Live(client).look
    look()
    yard.submit(queue="night")
    (change,) = [change for change in look() if change.kind == "queues"]
    assert change.data["queues"]["night"]["waiting"] == 1
    assert change.data["counts"]["queued"] == 1


@contextmanager
def following(browser: httpx.Client, last: str | None = None) -> Iterator[Iterator[dict[str, Any]]]:
    headers = {} if last is None else {"Last-Event-ID": last}
    with browser.stream("GET", "/api/v1/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if name in ("event", "id"):
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)
        elif not line and "event" in event:
            yield event
            event = {}


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_stream_is_picked_up_behind_the_last_event_and_ends_with_the_server(client, yard, monkeypatch):
    monkeypatch.setattr(answers, "AGE_SECONDS", 1e9)
    yard.submit()
    with served(client) as browser, following(browser) as stream:
        assert next(stream)["event"] == "ready"
        with following(browser) as other:
            next(other)
            run_id = _submitted_and_told(browser, yard, stream)
            seen = next(event for event in other if event["event"] == "run")
            assert seen["data"]["id"] == run_id
        later = [_submitted_and_told(browser, yard, stream) for _ in range(2)]
        with following(browser, seen["id"]) as again:
            told = (event["data"]["id"] for event in again if event["event"] == "run")
            assert [next(told), next(told)] == later
        for unknown in ("nonsense", "00000000-3", seen["id"] + "9999"):
            with following(browser, unknown) as again:
                assert next(again)["event"] == "reset"


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_stream_ends_when_its_token_is_revoked_and_says_that_it_lives_while_nothing_happens(
    database_url, tmp_path, monkeypatch
):
    monkeypatch.setattr(stream_of_events, "HEARTBEAT_SECONDS", 0.05)
    client = Client(Settings(home=tmp_path, database_url=database_url, broker_url="", require_tokens=True))
    secret, _ = client.create_token("ada", Role.VIEWER)
    with served(client) as browser:
        browser.headers["Authorization"] = f"Bearer {secret}"
        with browser.stream("GET", "/api/v1/events") as answer:
            lines = answer.iter_lines()
            assert "event: tick" in lines
            client.revoke_token("ada")
            assert list(lines)[-1] == ""  # it has ended, with a whole event


def _submitted_and_told(browser, yard, stream) -> int:
    """Whoever asks because of the event sees what it was about, however long answers are kept."""
    run_id = yard.submit()
    assert next(event for event in stream if event["event"] == "run")["data"]["id"] == run_id
    seen = browser.get("/api/v1/runs", headers={"Cache-Control": ""}).json()["runs"]
    assert seen[0]["id"] == run_id
    return run_id
