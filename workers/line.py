"""The line between a supervisor and its Celery worker: two sockets that nobody else has.

The supervisor says how many slots there shall be and whether they shall take work: {"slots": 4, "takes": true}. The
Celery worker answers with what is, and tells how each process of its pool ended: {"pid": 4711, "code": -9}.

Neither side ever waits for the other. A message arrives whole or, where the line is full, not at all; what matters is
said again with the next heartbeat. Nothing of it goes through the broker: whoever reaches that could say the same.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

VARIABLE = "TRAINYARD_LINE"  # the number of the Celery worker's socket
LONGEST = 1024  # bytes of a message


class Line:
    """One end of the line."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        end.set_inheritable(False)  # a program that a slot starts has no use for it
        self._socket = end

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, **message: Any) -> bool:
        """Say something; False when the line is full, or nobody is at its other end."""
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError:
            return False
        return True

    def receive(self) -> list[dict[str, Any]]:
        """Everything that has been said since the last time."""
        messages = []
        while True:
            try:
                messages.append(json.loads(self._socket.recv(LONGEST)))
            except OSError:  # there is nothing more
                return messages

    def close(self) -> None:
        self._socket.close()


def pair() -> tuple[Line, socket.socket]:
    """Our end, and the one for the program that is to be started."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    return Line(ours), theirs


def inherited() -> Line | None:
    """The end that this program was started with; None without a supervisor."""
    number = os.environ.pop(VARIABLE, None)
    return None if number is None else Line(socket.socket(fileno=int(number)))
