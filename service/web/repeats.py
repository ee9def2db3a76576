"""Requests that come again byte for byte, as from programs that poll and pages that many look at: told without reading.

Reading a request and passing it to the application takes twice the time of sending a kept answer (`Answers`); where
slots train on the same cores, that is theirs. So what was sent for a request is remembered beside its bytes, and sent
again at once as long as the gate would let it in and the answer itself would be told again: both are asked each time.

Only a whole request, alone in what was read, on a connection that is not amid another one, is looked for. Anything else
goes the usual way, so that what is a request and what is not is the parser's to say, as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REPEAT = "trainyard.repeat"  # where it is in the scope of a request
MOST = 64  # requests that are remembered
LONGEST = 2**13  # bytes of such a request
LARGEST = 2**18  # bytes of its answer

Check = Callable[[], bool]


@dataclass(eq=False)
class Repeat:
    """A request that may come again. It is told again if both checks are there and hold."""

    request: bytes
    admitted: Check | None = None  # the gate's
    current: Check | None = None  # of whoever keeps its answer
    answer: bytes = b""

    def holds(self) -> bool:
        return self.current is not None and self.current() and self.admitted is not None and self.admitted()


class Repeats:
    """What was sent for which request, from which address."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, str], Repeat] = {}

    def answer(self, request: bytes, address: str) -> bytes | None:
        known = self._known.get((request, address))
        return known.answer if known is not None and known.holds() else None

    def remember(self, repeat: Repeat, address: str) -> None:
        known = repeat.request, address
        if len(self._known) >= MOST and known not in self._known:
            self._known.clear()
        self._known[known] = repeat


class Protocol(HttpToolsProtocol):
    """uvicorn's, which looks for repeated requests first."""

    repeats: Repeats  # of the server

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app: Any = self._noting(self.app)
        self._begun = self._ended = 0  # messages

    def data_received(self, data: bytes) -> None:
        between = self._begun == self._ended and (self.cycle is None or self.cycle.response_complete)
        if between and not self.flow.write_paused and (answer := self.repeats.answer(data, self._address)) is not None:
            self.transport.write(answer)
            self.on_response_complete()
            return
        before = self._begun
        super().data_received(data)
        alone = between and self._begun == self._ended == before + 1 and len(data) <= LONGEST
        if alone and self.cycle.keep_alive:
            self.scope[REPEAT] = Repeat(data)  # type: ignore[literal-required]  # before its task has begun

    def on_message_begin(self) -> None:
        self._begun += 1
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._ended += 1
        super().on_message_complete()

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _noting(self, app: ASGIApp) -> ASGIApp:
        """The application, of which answers are noted that may be told again."""

        async def noting(scope: Scope, receive: Receive, send: Send) -> None:
            repeat: Repeat | None = scope.get(REPEAT)
            if repeat is None:
                await app(scope, receive, send)
                return
            head = b""

            async def sending(message: Message) -> None:
                nonlocal head
                if message["type"] == "http.response.start":
                    head = self._head(message)
                elif repeat.current is not None and repeat.admitted is not None:
                    repeat.answer = head + message.get("body", b"")
                    if len(repeat.answer) <= LARGEST:
                        self.repeats.remember(repeat, self._address)
                await send(message)

            await app(scope, receive, sending)

        return noting

    def _head(self, start: Message) -> bytes:
        fields = [*self.server_state.default_headers, *start["headers"]]
        return b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % field for field in fields) + b"\r\n"


def protocol() -> type[asyncio.Protocol]:
    """The protocol of one server."""
    return type("Protocol", (Protocol,), {"repeats": Repeats()})
