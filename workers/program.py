"""The Celery worker as its supervisor sees it: a program of its own, and the line to it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence

from service.processes import spawn, stop
from workers import line
from workers.exits import Exits


class CeleryWorker:
    """Starts the program; afterwards it holds what the program last said."""

    def __init__(self, node: str, slots: int, queues: Sequence[str], environment: Mapping[str, str]) -> None:
        self.slots = 0  # until the pool has answered
        self.takes = True
        self.exits = Exits()
        self._line, theirs = line.pair()
        with theirs:
            number = theirs.fileno()
            environment = {**environment, line.VARIABLE: str(number)}
            self._process = spawn(_command(node, slots, queues), env=environment, keep=[number])

    @property
    def code(self) -> int | None:
        """The code with which it ended; None: it runs."""
        return self._process.poll()

    def hear(self) -> bool:
        """Take in what it has said; returns whether the number of slots is another one now."""
        before = self.slots
        for said in self._line.receive():
            if "pid" in said:
                self.exits.tell(said["pid"], said["code"])
            else:
                self.slots, self.takes = said["slots"], said["takes"]
        self.exits.look()
        return self.slots != before

    def ask(self, slots: int, takes: bool) -> None:
        """Have the pool move towards so many slots, and take work or not. A busy slot is never ended: ask again."""
        if (slots, takes) != (self.slots, self.takes):
            self._line.send(slots=slots, takes=takes)

    def begin_to_end(self) -> None:
        """Let the slots save and hand over."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def end(self, grace: float) -> None:
        """Let the slots save and hand over, for so many seconds."""
        stop(self._process, grace)

    def kill(self) -> None:
        """End it and its slots at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def _command(node: str, slots: int, queues: Sequence[str]) -> list[str]:
    return [
        sys.executable, "-m", "celery", "--quiet", "--app", "workers.app", "worker",
        "--concurrency", str(slots), "--queues", ",".join(queues), "--hostname", node,
        "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO",
    ]  # fmt: skip
