"""The limits of a run, kept by the slot that trains it: no process is killed, which might hold another run by then."""

from __future__ import annotations

import math
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from service.display import duration, size
from service.spec.schema import Limits as Section
from service.spec.schema import memory_bytes

HEADROOM = 64 * 2**20  # bytes that the system allows beyond the limit, so that this end is as a rule the orderly one


class Limits:
    """What this attempt may still take. `used`: seconds that earlier attempts have taken."""

    def __init__(self, section: Section, used: float = 0.0) -> None:
        self._seconds, self._epochs = section.seconds, section.stalled_epochs
        self._memory = memory_bytes(section.memory) if section.memory else None
        self._began = time.monotonic() - used
        self._low, self._stalled = math.inf, 0

    def exceeded(self) -> str | None:
        """What is used up, time or memory, as a sentence; asked some times a second."""
        if self._seconds is not None and time.monotonic() - self._began > self._seconds:
            return f"it took more than limits.seconds, {duration(self._seconds)}"
        if self._memory is not None and (taken := memory_taken()) > self._memory:
            return f"it took {size(taken)} of memory, more than limits.memory, {size(self._memory)}"
        return None

    def stalled(self, losses: Iterable[float]) -> str | None:
        """Whether the training loss has set no new low for too many epochs; told of every epoch once, in order."""
        for loss in losses:
            self._stalled = 0 if loss < self._low else self._stalled + 1
            self._low = min(self._low, loss)
        if self._epochs is None or self._stalled < self._epochs:
            return None
        return f"the loss has set no new low for {self._epochs} epochs, its limits.stalled_epochs"

    @contextmanager
    def memory_bounded(self) -> Iterator[None]:
        """Have the system refuse (MemoryError) what would go far beyond the limit in one step (Linux)."""
        if self._memory is None or sys.platform != "linux":
            yield
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
        room = self._memory + HEADROOM - memory_taken()
        resource.setrlimit(resource.RLIMIT_DATA, (max(0, _private() + room), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def memory_taken() -> int:
    """Bytes of memory that this process has now; where there is no /proc, the most it ever had."""
    if sys.platform == "linux":
        return _pages(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def _private() -> int:
    """Bytes that this process has asked for, used or not: what RLIMIT_DATA counts."""
    return _pages(5)


def _pages(field: int) -> int:
    return int(Path("/proc/self/statm").read_text().split()[field]) * os.sysconf("SC_PAGE_SIZE")
