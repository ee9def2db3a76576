"""How processes of the pool ended, as the Celery worker tells it, put into words for the attempts that they held."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

from workers.killings import Killings

REMEMBERED_SECONDS = 60.0  # afterwards the system may give the number to another process


@dataclass(frozen=True)
class Exit:
    sentence: str  # "died by SIGKILL"
    signal: str | None = None


UNKNOWN = Exit("died")


class Exits:
    def __init__(self, killings: Killings | None = None) -> None:
        self._killings = killings or Killings()
        self._told: dict[int, tuple[float, Exit]] = {}

    def tell(self, pid: int, code: int) -> None:
        """A process has ended, with an exit code, or by a signal, whose number is negative then."""
        self._told[pid] = time.monotonic(), self._exit(code)

    def look(self) -> None:
        """Count what the system has killed, and forget what is long ago; to be called now and then."""
        self._killings.lately()
        past = time.monotonic() - REMEMBERED_SECONDS
        self._told = {pid: told for pid, told in self._told.items() if told[0] > past}

    def of(self, pid: int) -> Exit | None:
        """How the process ended; None: nobody has told yet."""
        _, found = self._told.get(pid, (0.0, None))
        return found

    def _exit(self, code: int) -> Exit:
        if code >= 0:
            return Exit(f"ended with exit code {code}")
        name = signal_name(-code)
        if name == "SIGKILL" and (killed := self._killings.lately()):
            processes = "1 process" if killed == 1 else f"{killed} processes"
            return Exit(
                f"died by SIGKILL: the system was out of memory (it killed {processes}); "
                "a smaller batch or network, or `limits.memory`, helps",
                name,
            )
        return Exit(f"died by {name}", name)


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
