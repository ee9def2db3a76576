"""Server-sent events: what changes in the yard, as it does. One look at the database serves every stream."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from service.errors import TrainyardError, Unreachable
from service.live import Change, Live
from service.web.problems import answers

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
SHARE = 0.1  # of one processor that looking may take, where the database is slow
HEARTBEAT_SECONDS = 15.0
KEPT = 2000  # events, for those who lost their connection for a while
MOST_STREAMS = 200
RETRY = 2000  # milliseconds until a browser connects again


class TooManyStreams(Unreachable):
    def __init__(self) -> None:
        super().__init__(f"{MOST_STREAMS} streams of events are open, and no more can be; close a page")


class Hub:
    """The events of a yard, numbered. They are looked for while somebody listens."""

    def __init__(self, live: Live, before_telling: Callable[[], None] = lambda: None) -> None:
        self._live = live
        self._before_telling = before_telling
        self._name = secrets.token_hex(4)  # numbers of another process mean nothing here
        self._last = 0
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT)
        self._streams = 0
        self._closed = False
        self._news = asyncio.Event()  # replaced at each news
        self._begun = asyncio.Event()  # what changes from then on is told
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None

    def close(self) -> None:
        """End all streams, from whatever thread, so that the server can end."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def check(self) -> None:
        """Raise TooManyStreams if there cannot be another one."""
        if self._streams >= MOST_STREAMS:
            raise TooManyStreams

    async def stream(self, last_id: str | None, welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        """The events behind the one with this id, if it is known, for as long as `welcome` says so."""
        self._streams += 1
        try:
            self._start()
            yield f"retry: {RETRY}\n\n"
            await self._begun.wait()
            place = self._place(last_id)
            kind = "ready" if last_id is None else "reset"
            if place is None:
                place = self._last
                yield self._text(place, Change(kind, {}))
            async for text in self._behind(place, welcome):
                yield text
        finally:
            self._streams -= 1

    async def _behind(self, place: int, welcome: Callable[[], Awaitable[bool]]) -> AsyncIterator[str]:
        asked = time.monotonic()
        while not self._closed:
            news = self._news
            if place < self._last - len(self._kept):  # too slow, and what came next is no longer kept
                place = self._last
                yield self._text(place, Change("reset", {"reason": "too far behind"}))
            for number, text in [event for event in self._kept if event[0] > place]:
                yield text
                place = number
            if time.monotonic() - asked > HEARTBEAT_SECONDS:
                asked = time.monotonic()
                if not await welcome():
                    return
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                yield "event: tick\ndata: {}\n\n"

    def _place(self, last_id: str | None) -> int | None:
        """The number of an event; None for one that is not known, or no longer."""
        name, _, number = (last_id or "").partition("-")
        if name != self._name or not (number.isascii() and number.isdigit() and len(number) < 16):
            return None
        return int(number) if self._last - len(self._kept) <= int(number) <= self._last else None

    def _text(self, number: int, change: Change) -> str:
        data = json.dumps(change.data, separators=(",", ":"))
        return f"event: {change.kind}\nid: {self._name}-{number}\ndata: {data}\n\n"

    def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._look_on())

    async def _look_on(self) -> None:
        """Look while there is anyone to tell. What happens meanwhile is found by the next look, however late."""
        away = False
        while self._streams and not self._closed:
            began = time.monotonic()
            try:
                changes = await anyio.to_thread.run_sync(self._live.look)
                away, came_back = False, away
                if came_back:
                    changes = [Change("reset", {"reason": "the database is back"})]
            except TrainyardError as error:
                changes, away = ([] if away else [Change("away", {"detail": str(error)})]), True
            except Exception:
                log.exception("looking for what has changed failed; trying again")
                changes = []
            if changes or not self._begun.is_set():  # what was there at the first look is never told of
                self._before_telling()
            self._tell(changes)
            self._begun.set()
            taken = time.monotonic() - began
            await asyncio.sleep(max(LOOK_SECONDS, taken / SHARE))

    def _tell(self, changes: list[Change]) -> None:
        for change in changes:
            self._last += 1
            self._kept.append((self._last, self._text(self._last, change)))
        if changes:
            self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
        if self._closed:
            self._begun.set()


def router(hub: Hub, welcome: Callable[[Request], Awaitable[bool]]) -> APIRouter:
    api = APIRouter(tags=["events"])

    @api.get(
        "/events", operation_id="follow_events", response_class=StreamingResponse,
        responses=answers() | {200: {"description": DESCRIPTION, "content": {"text/event-stream": {}}}},
    )  # fmt: skip
    async def events(
        request: Request,
        last_event_id: Annotated[str | None, Header(max_length=100, description="go on behind this event")] = None,
    ) -> StreamingResponse:
        """What changes, as server-sent events; one stream is enough for a page."""
        hub.check()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            hub.stream(last_event_id, lambda: welcome(request)), media_type="text/event-stream", headers=headers
        )

    return api


DESCRIPTION = """\
`run` (a run as lists have it), `log` (`id`, `attempt`, `number`: how far a run's log has got), `removed` (`id`),
`workers` and `queues` (as their own addresses answer), `away` (the database does not answer), `ready` (the stream is
new) and `reset` (what happened meanwhile is not known: ask anew).
`tick` comes while nothing happens, every 15 seconds."""
