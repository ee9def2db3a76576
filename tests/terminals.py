"""Programs on a pseudo-terminal: keys are sent, what is shown is searched."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.servers import eventually
from tests.yard import ROOT, TIMEOUT, Yard

ALTERNATE, BACK = b"\x1b[?1049h", b"\x1b[?1049l"  # to the other screen, and from there


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, environment: dict[str, str], *arguments: str, size: tuple[int, int] = (24, 80)) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.slave)
        self.shown = b""
        words = [sys.executable, "-m", "service.cli", "top", *arguments]
        self.program = subprocess.Popen(
            words, cwd=ROOT, env=environment | {"TERM": "xterm-256color"}, stdin=self.slave, stdout=self.slave,
            stderr=self.slave, start_new_session=True,
        )  # fmt: skip

    def resize(self, lines: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def send(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read(self) -> None:
        while select.select([self.master], [], [], 0.02)[0]:
            self.shown += os.read(self.master, 65536)

    def text(self) -> str:
        return re.sub(r"\x1b[\[\]][?0-9;]*[A-Za-z]", "", self.shown.decode(errors="replace"))

    def waits_for(self, words: str) -> None:
        """Until it has shown the words since the last time that it was asked."""

        def there() -> bool:
            self.read()
            return words in self.text()

        try:
            eventually(there, TIMEOUT)
        except AssertionError:
            raise AssertionError(f"'{words}' was not shown; but:\n{self.text()[-4000:]}") from None
        self.shown = b""

    def ends(self) -> int:
        deadline = time.monotonic() + TIMEOUT
        while self.program.poll() is None and time.monotonic() < deadline:
            self.read()  # or it would wait to be read
        self.read()
        return self.program.wait(1)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.slave) == self.before

    def close(self) -> None:
        if self.program.poll() is None:
            self.program.kill()
            self.program.wait()
        os.close(self.master)
        os.close(self.slave)


@contextmanager
def opened(there: Yard, *arguments: str) -> Iterator[Terminal]:
    made = Terminal(there.environment, "--interval", "0.2", *arguments)
    try:
        yield made
    finally:
        made.close()
