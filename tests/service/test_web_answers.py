"""Answers that are kept for a moment: one for many who ask for the same, and never one that should not be seen."""

from __future__ import annotations

import asyncio
import os
import threading
from dataclasses import dataclass, field

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.client import Client
from service.roles import Role
from service.settings import Settings
from service.web import answers
from service.web.access import CALLER, Caller
from service.web.answers import AGE_SECONDS, LARGEST, PAGE_SECONDS, Answers
from tests.web import served

ANA = Caller("10.0.0.1", Role.ADMIN, "ana", "secret of ana's page")
HTML = {b"content-type": b"text/html; charset=utf-8"}


@dataclass
class Page:
    """An application with one page, which counts how often it is made."""

    text: str = "before"
    status: int = 200
    headers: dict[bytes, bytes] = field(default_factory=lambda: dict(HTML))
    pieces: int = 1
    made: int = 0
    free: asyncio.Event | None = None  # to wait for before it answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.made += 1
        body = self.text.encode()
        if scope["method"] == "POST":
            self.text = "after"
        if self.free is not None:
            await self.free.wait()
        headers = [*self.headers.items(), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        for piece in range(1, self.pieces + 1):
            last = piece == self.pieces
            await send({"type": "http.response.body", "body": body if last else b"", "more_body": not last})


class Asking:
    """Who asks an application through kept answers, by a clock that stands."""

    def __init__(self) -> None:
        self.page, self.time = Page(), 100.0
        self.answers = Answers(self.page, lambda: self.time)

    async def send(self, path: str, method: str, caller: Caller | None, query: str, headers: dict[str, str]) -> str:
        heard: list[Message] = []

        async def send(message: Message) -> None:
            heard.append(message)

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        named = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": named}
        await self.answers({**scope, CALLER: caller}, receive, send)
        assert heard[0]["status"] == self.page.status
        return b"".join(message["body"] for message in heard[1:]).decode()

    async def get(
        self, path: str = "/runs", caller: Caller | None = ANA, query: str = "", method: str = "GET", **headers: str
    ) -> str:
        return await self.send(path, method, caller, query, headers)


@pytest.fixture
def asking() -> Asking:
    return Asking()


def test_an_answer_is_kept_for_its_age_from_its_beginning_and_no_longer(asking):
    async def scene():
        asking.page.free = asyncio.Event()
        first = asyncio.create_task(asking.get())
        await asyncio.sleep(0)
        asking.time += 0.9 * PAGE_SECONDS  # which making it takes
        asking.page.free.set()
        assert await first == "before"
        asking.page.text = "after"
        assert await asking.get() == "before"
        asking.time += 0.1 * PAGE_SECONDS
        assert await asking.get() == "after"

    asyncio.run(scene())
    assert asking.page.made == 2


def test_a_document_is_kept_for_a_shorter_time(asking):
    async def scene():
        asking.page.headers = {b"content-type": b"application/json"}
        assert await asking.get() == "before"
        asking.page.text = "after"
        asking.time += 0.9 * AGE_SECONDS
        assert await asking.get() == "before"
        asking.time += 0.1 * AGE_SECONDS
        assert await asking.get() == "after"

    asyncio.run(scene())


def test_many_who_ask_at_once_cost_one_answer_also_if_it_is_an_error(asking):
    async def scene(status):
        asking.page.status, asking.page.free, asking.page.made = status, asyncio.Event(), 0
        tasks = [asyncio.create_task(asking.get(query=str(status))) for _ in range(5)]
        await asyncio.sleep(0)
        asking.page.free.set()
        assert await asyncio.gather(*tasks) == ["before"] * 5
        assert asking.page.made == 1

    asyncio.run(scene(200))
    asyncio.run(scene(404))


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_who_has_changed_something_sees_it_before_hearing_that_it_is_done(asking, method):
    async def scene():
        assert await asking.get() == "before"

        async def sending(message: Message) -> None:
            asking.page.text = "after"
            assert await asking.get() == "after"

        scope = {"type": "http", "method": method, "path": "/api/v1/runs/cancel", "query_string": b"", "headers": []}
        await asking.answers({**scope, CALLER: ANA}, lambda: None, sending)

    asyncio.run(scene())


def test_what_was_begun_before_a_change_is_kept_for_nobody(asking):
    async def scene():
        asking.page.free = asyncio.Event()
        early = asyncio.create_task(asking.get())
        await asyncio.sleep(0)
        asking.page.text = "after"
        asking.answers.forget()
        late = asyncio.create_task(asking.get())
        await asyncio.sleep(0)
        asking.page.free.set()
        assert (await early, await late, await asking.get()) == ("before", "after", "after")
        assert asking.answers._bytes == sum(answer.size for answer in asking.answers._kept.values())

    asyncio.run(scene())
    assert asking.page.made == 2


@pytest.mark.parametrize(
    "other",
    [
        {"caller": Caller("10.0.0.1", Role.VIEWER, "ana", ANA.csrf)},
        {"caller": Caller("10.0.0.1", Role.ADMIN, "bob", ANA.csrf)},
        {"caller": Caller("10.0.0.1", Role.ADMIN, "ana", "secret of another login")},
        {"caller": None},
        {"query": "where=x"},
        {"path": "/workers"},
        {"accept": "text/html"},
        {"host": "another"},
        {"method": "HEAD"},
        {"cache-control": "no-cache"},
        {"cache-control": "max-age=0"},
    ],
    ids=str,
)
def test_who_asks_otherwise_gets_another_answer(asking, other):
    async def scene():
        assert await asking.get() == "before"
        asking.page.text = "after"
        assert await asking.get(caller=Caller("10.0.0.2", Role.ADMIN, "ana", ANA.csrf)) == "before"
        assert await asking.get(**other) == "after"

    asyncio.run(scene())


@pytest.mark.parametrize(
    "page",
    [
        Page(status=404), Page(status=503), Page(pieces=2), Page(text="x" * (LARGEST + 1)),
        Page(headers={b"content-type": b"text/event-stream"}),
        Page(headers={b"content-type": b"application/octet-stream"}),
        Page(headers=HTML | {b"set-cookie": b"trainyard=secret"}),
    ],
    ids=["404", "503", "pieces", "large", "events", "file", "cookie"],
)  # fmt: skip
def test_errors_streams_files_and_cookies_are_not_kept(asking, page):
    async def scene():
        asking.page = asking.answers._app = page
        for _ in range(2):
            assert await asking.get() == page.text
        assert (page.made, asking.answers._bytes, len(asking.answers._kept)) == (2, 0, 0)

    asyncio.run(scene())


@pytest.mark.parametrize(
    "path", ["/login", "/healthz", "/metrics", "/targets", "/static/page.js", "/api/v1/events", "/api/v1/tokens"]
)
def test_some_addresses_are_always_asked(asking, path):
    asyncio.run(asking.get(path))
    asyncio.run(asking.get(path))
    assert asking.page.made == 2


def test_all_that_is_kept_has_a_limit(asking, monkeypatch):
    async def scene():
        for number in range(50):
            await asking.get(query=str(number))
        assert 0 < asking.answers._bytes <= answers.MOST
        assert asking.page.made == 50
        await asking.get(query="49")
        assert asking.page.made == 50
        await asking.get(query="0")
        assert asking.page.made == 51
        asking.time += PAGE_SECONDS
        await asking.get(query="0")
        assert len(asking.answers._kept) == 1

    monkeypatch.setattr(answers, "MOST", 20_000)
    asyncio.run(scene())


def test_who_waits_for_somebody_that_goes_away_is_answered(asking):
    async def scene():
        asking.page.free = asyncio.Event()
        maker, waits, gives_up = (asyncio.create_task(asking.get()) for _ in range(3))
        await asyncio.sleep(0)
        gives_up.cancel()
        maker.cancel()
        await asyncio.sleep(0)
        asking.page.free.set()
        assert await waits == "before"

    asyncio.run(scene())
    assert asking.page.made == 2


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_kept_page_has_every_header_and_ends_with_what_is_done_over_http(database, yard, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "PAGE_SECONDS", 1e9)
    client = Client(Settings(home=tmp_path, database_url=database.url, broker_url="redis://127.0.0.1:1/0"))
    run = yard.submit()
    with served(client) as browser:
        del browser.headers["Cache-Control"]
        first, second = browser.get(f"/runs/{run}"), browser.get(f"/runs/{run}")
        assert first.text == second.text
        assert {**first.headers, "date": ""} == {**second.headers, "date": ""}
        yard.pause(run)  # beside the server
        assert browser.get(f"/runs/{run}").text == first.text
        browser.post("/api/v1/runs/cancel", json={"runs": [run], "wait": 0}).raise_for_status()
        assert f"Run {run} is cancelled" in browser.get(f"/runs/{run}").text


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="no turns here that can wait")
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_what_answers_waits_until_the_turn_of_what_trains_ends(database, tmp_path):
    client = Client(Settings(home=tmp_path, database_url=database.url, broker_url="redis://127.0.0.1:1/0"))
    before, own = set(threading.enumerate()), os.sched_getscheduler(0)
    with served(client) as browser:
        assert browser.get("/runs").status_code == 200
        serving = set(threading.enumerate()) - before
        policies = {thread.name: os.sched_getscheduler(thread.native_id or 0) for thread in serving}
    assert "web" in policies
    assert set(policies.values()) == {os.SCHED_BATCH if own == os.SCHED_OTHER else own}
    assert os.sched_getscheduler(0) == own
