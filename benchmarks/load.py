"""Requests at a steady rate, whatever becomes of them, over connections that are kept open.

A program of its own that needs little of the machine, which it shares with what it asks: nothing but the standard
library, and one thread, which waits until the turns of others on the processor end; for its like would sit at other
machines. It reads jobs from its input, a line of JSON each, and answers each with one. A request's time counts from
when it was due, not from when it was sent: an answer that is late makes those behind it late, as it would for people,
who do not wait for each other.
"""

from __future__ import annotations

import json
import os
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

PATIENCE = 10.0  # seconds for what is still under way at the end


@dataclass(eq=False)
class Connection:
    address: tuple[str, int]
    socket: socket.socket = field(init=False)
    due: float | None = None  # of the request that it waits for an answer to
    head: bytes = b""
    left: int = -1  # bytes of the body to come; -1: the head is not whole

    def __post_init__(self) -> None:
        self.socket = socket.create_connection(self.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, request: bytes, due: float) -> None:
        self.due, self.head, self.left = due, b"", -1
        self.socket.sendall(request)

    def read(self) -> bool | None:
        """Whether the answer was the one hoped for; None as long as it is not whole. OSError if there is none."""
        data = self.socket.recv(1 << 18)
        if not data:
            raise ConnectionResetError
        if self.left >= 0:
            self.left -= len(data)
        else:
            self.head += data
            head, end, body = self.head.partition(b"\r\n\r\n")
            if not end:
                return None
            self.head, self.left = head, _length(head) - len(body)
        return self.head.startswith(b"HTTP/1.1 200 ") if self.left <= 0 else None


def _length(head: bytes) -> int:
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])


class Load:
    """`waits` are seconds from when a request was due until its answer was whole. To be run once."""

    def __init__(self, host: str, port: int, paths: Sequence[str], accept: str, connections: int) -> None:
        self._requests = [_request(host, port, path, accept) for path in paths]
        self._address, self._selector = (host, port), selectors.DefaultSelector()
        self._idle = deque(self._open() for _ in range(connections))
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.waits: list[float] = []
        self.errors = 0

    def _open(self) -> Connection:
        made = Connection(self._address)
        self._selector.register(made.socket, selectors.EVENT_READ, made)
        return made

    def run(self, rate: float, seconds: float) -> None:
        began, sent, number = time.perf_counter(), 0, int(rate * seconds)
        end = began + seconds + PATIENCE
        while len(self.waits) + self.errors < number and (now := time.perf_counter()) < end:
            while sent < number and (due := began + sent / rate) <= now:
                self._waiting.append((due, self._requests[sent % len(self._requests)]))
                sent += 1
            while self._waiting and self._idle:
                due, request = self._waiting.popleft()
                self._idle.popleft().ask(request, due)
            pause = began + sent / rate - time.perf_counter() if sent < number else 0.1
            for key, _ in self._selector.select(max(0.0, pause)):
                self._hear(key.data)
        self.errors = number - len(self.waits)  # those without an answer, too
        for key in [*self._selector.get_map().values()]:
            key.data.socket.close()
        self._selector.close()

    def _hear(self, connection: Connection) -> None:
        try:
            good = connection.read()
        except OSError:
            self._selector.unregister(connection.socket)
            connection.socket.close()
            unused, good = connection.due is None, False
            if unused:
                self._idle.remove(connection)
            connection = self._open()
            if unused:  # closed by a server to which it was idle for too long
                self._idle.append(connection)
                return
        if good is None:
            return
        if good and connection.due is not None:
            self.waits.append(time.perf_counter() - connection.due)
        else:
            self.errors += 1
        connection.due = None
        self._idle.append(connection)


def _request(host: str, port: int, path: str, accept: str) -> bytes:
    """As a browser sends it."""
    lines = (
        f"GET {path} HTTP/1.1", f"Host: {host}:{port}", f"Accept: {accept}", "Accept-Encoding: gzip, deflate, br",
        "Accept-Language: en", "User-Agent: Mozilla/5.0 (X11; Linux x86_64)", "Sec-Fetch-Site: same-origin",
        "Connection: keep-alive",
    )  # fmt: skip
    return "\r\n".join((*lines, "", "")).encode()


def main() -> None:
    if hasattr(os, "SCHED_BATCH"):  # as `service.processes.let_others_finish`, which a bare Python has not
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    for line in sys.stdin:
        job = json.loads(line)
        cpu = time.process_time()
        load = Load(job["host"], job["port"], job["paths"], job["accept"], job["connections"])
        load.run(job["rate"], job["seconds"])
        answer = {"waits": load.waits, "errors": load.errors, "cpu": time.process_time() - cpu}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
