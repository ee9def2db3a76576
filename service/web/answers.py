"""Whole answers, kept for a moment: many who look at the same page cost as much as one.

What is told may be AGE_SECONDS old when it is asked for, a page PAGE_SECONDS, and no older: counted from when an
answer began to be made. A page in a browser follows the events, and asks for itself anew as soon as it does. Who asks
for the same while it is being made waits for it. Everything is forgotten, and what is being made is kept for nobody
else, whenever somebody changes something through this process, before that person hears that it is done; and whenever
those who follow the events are told that something has changed, before they are told. So whoever acts sees what became
of it, and whoever looks because of an event sees what it was about. What other processes change, workers and the
command line, is seen once the answer is too old. A request with `Cache-Control: no-cache` is answered anew, and so is
one by which a person reloads a page.

An answer is kept for those with the same name, role and login alone, for each gate has let them in before. Errors,
streams, files and whatever concerns tokens are never kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.web.access import CALLER, METRICS, OPEN, READS, STATIC, Caller
from service.web.repeats import REPEAT, Repeat

AGE_SECONDS, PAGE_SECONDS = 1.0, 2.0
PAGE = b"text/html"
LARGEST = 2**20  # bytes of an answer that is kept
MOST = 16 * 2**20  # bytes of all
OVERHEAD = 2_000  # bytes that an answer takes beside its body, about
NEVER = (*OPEN, *METRICS)
NEVER_BELOW = (STATIC, "/api/v1/events", "/api/v1/tokens", "/api/v1/caller")
ANEW = (b"no-cache", b"no-store", b"max-age=0")  # the last is what a browser sends when somebody reloads a page
SHARED = (PAGE, b"application/json", b"application/problem+json")

Key = tuple[object, ...]


@dataclass(eq=False)
class _Answer:
    """One that is being made, or has been: then `whole` are its messages, None if it cannot be shared."""

    began: float
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    whole: tuple[Message, Message] | None = None
    size: int = 0  # as it counts for MOST
    page: bool = False


class Answers:
    """What has just been answered, as ASGI middleware inside of the gate. All of it happens on the server's loop."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._clock = app, clock
        self._kept: dict[Key, _Answer] = {}  # the oldest first
        self._bytes = 0

    def forget(self) -> None:
        """From now on everything is answered anew."""
        self._kept.clear()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["method"] not in READS:
            await self._change(scope, receive, send)
        elif scope["method"] != "GET" or scope["path"] in NEVER or scope["path"].startswith(NEVER_BELOW):
            await self._app(scope, receive, send)
        else:
            await self._answer(scope, receive, send)

    async def _change(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            self.forget()
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self.forget()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        key, anew = _key(scope)
        known = self._kept.get(key)
        if anew or known is None or self._too_old(known):
            await self._make(key, scope, receive, send)
            return
        await known.ready.wait()
        if known.whole is None:
            await self._app(scope, receive, send)
            return
        repeat: Repeat | None = scope.get(REPEAT)
        if repeat is not None:
            repeat.current = lambda: self._kept.get(key) is known and not self._too_old(known)
        for message in known.whole:
            await send({**message})  # what stands before us adds headers

    async def _make(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        made = _Answer(self._clock())
        self._drop(key)
        self._kept[key] = made
        start: Message | None = None

        async def sending(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = {**message} if _may_be_shared(message) else None
            elif start is not None and not made.ready.is_set() and not message.get("more_body"):
                made.whole = start, message
            if start is None or message["type"] == "http.response.body":
                self._made(key, made)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            self._made(key, made)

    def _made(self, key: Key, made: _Answer) -> None:
        """Tell those who wait, and keep it if it is worth that."""
        if made.ready.is_set():
            return
        made.ready.set()
        if self._kept.get(key) is not made:
            return  # forgotten meanwhile
        if made.whole is None or made.whole[0]["status"] != 200:
            self._drop(key)
            return
        made.page = _kind(made.whole[0]).startswith(PAGE)
        made.size = len(made.whole[1].get("body", b"")) + OVERHEAD
        self._bytes += made.size
        while self._kept and (self._bytes > MOST or self._too_old(next(iter(self._kept.values())))):
            self._drop(next(iter(self._kept)))

    def _too_old(self, known: _Answer) -> bool:
        return self._clock() - known.began >= (PAGE_SECONDS if known.page else AGE_SECONDS)

    def _drop(self, key: Key) -> None:
        known = self._kept.pop(key, None)
        self._bytes -= known.size if known else 0


def _key(scope: Scope) -> tuple[Key, bool]:
    """What an answer depends on, and whether it is wanted anew."""
    accept = host = b""
    anew = False
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = value
        elif name == b"host":
            host = value
        elif name == b"cache-control":
            anew = any(word in value for word in ANEW)
    caller: Caller | None = scope[CALLER]
    who = None if caller is None else (caller.role, caller.name, caller.csrf)
    return (scope["path"], scope["query_string"], accept, host, scope.get("root_path", ""), who), anew


def _may_be_shared(start: Message) -> bool:
    """Whether an answer that begins like this is a page or a document, and of a size to be kept."""
    headers = dict(start["headers"])
    length = headers.get(b"content-length", b"")
    small = length.isdigit() and int(length) <= LARGEST
    return small and _kind(start).startswith(SHARED) and b"set-cookie" not in headers


def _kind(start: Message) -> bytes:
    return next((value for name, value in start["headers"] if name == b"content-type"), b"")
