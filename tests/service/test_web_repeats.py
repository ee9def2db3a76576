"""Requests that come again byte for byte: told at once, and as if each had been read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.client import Client
from service.roles import Role
from service.settings import Settings
from service.store.database import Database
from service.web import answers
from service.web.access import CALLER
from service.web.answers import Answers
from service.web.repeats import LONGEST, MOST, REPEAT, Repeat, Repeats, protocol
from tests.web import served

PLAIN = b"GET /runs HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"
DOCUMENT = b"GET /api/v1/runs HTTP/1.1\r\nHost: localhost\r\n\r\n"


# The protocol beside uvicorn's


class Sent(asyncio.Transport):
    """What was written, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.closed = b"", False

    def write(self, data: Any) -> None:
        self.bytes += b"" if self.closed else bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"peername": ("127.0.0.1", 4711), "sockname": ("127.0.0.1", 80)}.get(name, default)

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers without having read what comes with a request."""
    body = f"{scope['method']} {scope['path']}".encode()
    headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


Piece = tuple[bytes, bool]  # what is read at once, and whether it is answered before the next comes


class Server:
    """Connections one after the other, each until it is closed."""

    def __init__(self, kind: type[HttpToolsProtocol]) -> None:
        kept = Answers(page, lambda: 0.0)

        async def letting_in(scope: Scope, receive: Receive, send: Send) -> None:
            scope[CALLER] = None
            if REPEAT in scope:
                scope[REPEAT].admitted = lambda: True
            await kept(scope, receive, send)

        self.kind, self.state = kind, ServerState()
        self.config = Config(letting_in, ws="none", log_config=None, lifespan="off")
        self.config.load()
        self.lines: list[tuple[HttpToolsProtocol, Sent]] = []

    def line(self) -> tuple[HttpToolsProtocol, Sent]:
        if not self.lines or self.lines[-1][1].closed:
            self.lines.append((self.kind(config=self.config, server_state=self.state, app_state={}), Sent()))
            self.lines[-1][0].connection_made(self.lines[-1][1])
        return self.lines[-1]

    async def answered(self) -> None:
        while self.state.tasks:
            await asyncio.sleep(0)

    async def read(self, pieces: list[Piece]) -> list[tuple[bytes, bool]]:
        for data, answered in pieces:
            self.line()[0].data_received(data)
            if answered:
                await self.answered()
        await self.answered()
        for made, _ in self.lines:
            made.connection_lost(None)
        return [(sent.bytes, sent.closed) for _, sent in self.lines]


def told(kind: type[HttpToolsProtocol], pieces: list[Piece]) -> list[tuple[bytes, bool]]:
    async def scene() -> list[tuple[bytes, bool]]:
        return await Server(kind).read([(PLAIN, True)] * 2 + pieces)

    return asyncio.run(scene())


def having(*fields: bytes) -> bytes:
    return PLAIN.replace(b"\r\n\r\n", b"\r\n" + b"".join(field + b"\r\n" for field in fields) + b"\r\n")


WRONG = b"HTTP/1.1 400 "
LENGTH = b"Content-Length: %d" % len(PLAIN)
PIECES = [
    PLAIN, PLAIN + PLAIN, PLAIN[:20], PLAIN[20:], PLAIN.replace(b"GET", b"HEAD"), having(b"Connection: close"),
    PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"), having(b"Connection: upgrade", b"Upgrade: websocket"),
    having(LENGTH), having(LENGTH) + PLAIN, having(LENGTH).replace(b"GET", b"POST"), having(b"Expect: 100-continue"),
    having(b"Transfer-Encoding: chunked"), b"%x\r\n" % len(PLAIN), b"\r\n0\r\n\r\n", b"\r\n", b"nonsense\r\n\r\n",
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PIECES), st.booleans()), max_size=8))
@example([(having(LENGTH), True), (PLAIN, True)])  # a body that looks like a request
def test_whatever_is_read_is_answered_as_uvicorn_answers_it(pieces):
    """Most of what this draws is no sound sequence: what a part of it is depends on what stands before it."""
    ours, plain = told(protocol(), pieces), told(HttpToolsProtocol, pieces)
    if any(WRONG in sent for sent, _ in plain):  # which uvicorn tells before it answers what came before
        ours, plain = ours[: len(plain)], [(sent.partition(WRONG)[0], closed) for sent, closed in plain]
        assert all(mine.startswith(theirs) for (mine, _), (theirs, _) in zip(ours, plain, strict=True))
    else:
        assert ours == plain


def test_who_does_not_read_is_sent_no_more():
    async def scene() -> None:
        server = Server(protocol())
        made, sent = server.line()
        for _ in range(2):
            made.data_received(PLAIN)
            await server.answered()
        before = sent.bytes
        made.pause_writing()
        made.data_received(PLAIN)
        await asyncio.sleep(0)
        assert sent.bytes == before
        made.resume_writing()
        await server.answered()
        assert sent.bytes == before + before[: len(before) // 2]

    asyncio.run(scene())


def test_the_third_time_it_is_not_read_any_more():
    read: list[bytes] = []

    class Noting(protocol()):  # type: ignore[misc]
        def on_url(self, url: bytes) -> None:
            read.append(url)
            super().on_url(url)

    told(Noting, [(PLAIN, True)] * 3)
    assert read == [b"/runs"] * 2


def test_no_more_is_remembered_than_some():
    known = Repeats()
    for number in range(3 * MOST):
        known.remember(Repeat(b"%d" % number), "here")
    assert len(known._known) <= MOST
    long = PLAIN.replace(b"\r\n\r\n", b"\r\nX-Long: %b\r\n\r\n" % (b"x" * LONGEST))
    kind: Any = protocol()
    told(kind, [(long, True)] * 3)
    assert [request for request, _ in kind.repeats._known] == [PLAIN]


# A yard


@pytest.fixture
def kind() -> str:
    """Nothing here differs from database to database."""
    return "sqlite"


def a_yard(database: Database, home: Path, **changes: Any) -> Client:
    client = Client(Settings(home=home, database_url=database.url, broker_url="redis://127.0.0.1:1/0", **changes))
    client.__dict__["database"] = database
    return client


@contextmanager
def asking(client: Client) -> Iterator[Any]:
    """Sends bytes to a yard and returns its answer: status and body."""
    with served(client) as browser, socket.create_connection((browser.base_url.host, browser.base_url.port)) as line:
        file = line.makefile("rb")

        def ask(request: bytes) -> tuple[int, bytes]:
            line.sendall(request)
            status = int(file.readline().split()[1])
            headers = dict(row.lower().split(b": ", 1) for row in iter(lambda: file.readline().strip(), b""))
            return status, file.read(int(headers[b"content-length"]))

        yield ask, browser


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that the kept answers were asked for."""
    found: list[str] = []
    real = Answers.__call__

    async def call(self: Answers, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            found.append(scope["path"])
        await real(self, scope, receive, send)

    monkeypatch.setattr(Answers, "__call__", call)
    return found


def test_what_is_asked_again_is_told_until_it_is_too_old_or_something_has_changed(
    database, tmp_path, yard, reads, monkeypatch
):
    monkeypatch.setattr(answers, "AGE_SECONDS", 1e9)
    yard.submit()
    with asking(a_yard(database, tmp_path)) as (ask, browser):
        first = ask(DOCUMENT)
        assert first[0] == 200
        assert [ask(DOCUMENT) for _ in range(4)] == [first] * 4
        assert reads == ["/api/v1/runs"] * 2
        assert browser.patch("/api/v1/runs", json={"runs": [1], "note": "changed"}).status_code == 200
        changed = ask(DOCUMENT)
        assert b"changed" in changed[1]
        assert [ask(DOCUMENT) for _ in range(3)] == [changed] * 3
        reads.clear()
        monkeypatch.setattr(answers, "AGE_SECONDS", 0.0)
        assert ask(DOCUMENT) == changed
        assert reads == ["/api/v1/runs"]


def test_who_repeats_too_often_has_to_wait(database, tmp_path, yard):
    with asking(a_yard(database, tmp_path, requests_per_second=2.0)) as (ask, _):
        told = [ask(DOCUMENT)[0] for _ in range(20)]
    assert told[:4] == [200] * 4
    assert 429 in told


def test_a_token_is_looked_at_each_time(database, tmp_path, monkeypatch):
    monkeypatch.setattr(answers, "AGE_SECONDS", 1e9)
    client = a_yard(database, tmp_path, require_tokens=True)
    secret, _ = client.create_token("ana", Role.VIEWER)
    request = DOCUMENT.replace(b"\r\n\r\n", b"\r\nAuthorization: Bearer %b\r\n\r\n" % secret.encode())
    with asking(client) as (ask, _):
        assert [ask(request)[0] for _ in range(3)] == [200] * 3
        client.revoke_token("ana")
        assert ask(request)[0] == 401
