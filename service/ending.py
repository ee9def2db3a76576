"""What signals ask of a program that stays in front: to end, and, by a second Ctrl-C, to end at once."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType

SOON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AT_ONCE = signal.SIGQUIT
SAME_SECONDS = 0.2  # `uv run` and others pass on the Ctrl-C that the terminal has sent to us already


class Ending:
    """Whether the program is to end. SIGTERM and SIGHUP may come any number of times: a dying parent may well ask
    twice. SIGINT when it is ending already, or SIGQUIT: at once.

    The two functions are called inside the handler, so that they also reach a child while this process waits for
    something else.
    """

    def __init__(self, soon: Callable[[], None] = lambda: None, at_once: Callable[[], None] = lambda: None) -> None:
        self.asked: float | None = None  # since when, by the monotonic clock
        self.hurried = False
        self._soon, self._at_once = soon, at_once
        self._reader, self._writer = os.pipe()  # unlike a lock, safe to be used where a signal may have come

    def listen(self) -> None:
        for number in (*SOON, AT_ONCE):
            signal.signal(number, self._heed)

    def ask(self) -> None:
        """Have the program end soon, without a signal."""
        if self.asked is None:
            self.asked = time.monotonic()
            os.write(self._writer, b"!")

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the program is to end; returns whether it is."""
        select.select([self._reader], [], [], seconds)
        return self.asked is not None

    def fileno(self) -> int:
        """For `select`, beside other files: it can be read once the program is to end."""
        return self._reader

    def leave(self) -> None:
        """The last thing of all: whoever asks from now on asks one that has ended, and must not turn that into a death.
        (Python gives signals their deadly meaning back while it tidies up.)"""
        for number in (*SOON, AT_ONCE):
            signal.signal(number, signal.SIG_IGN)

    def _heed(self, number: int, frame: FrameType | None) -> None:
        again = self.asked is not None and time.monotonic() - self.asked > SAME_SECONDS
        self.ask()
        if number == AT_ONCE or (number == signal.SIGINT and again):
            self.hurried = True
            self._at_once()
        else:
            self._soon()
