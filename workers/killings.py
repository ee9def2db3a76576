"""Processes that the kernel has killed for want of memory, by its own counters (Linux).

A control group, where there is one, counts its own processes only, whatever memory was used up: its limit or the
machine's. Otherwise the machine's counter must do.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

LATELY_SECONDS = 10.0  # a process with much memory takes its time to end


class Killings:
    """How many there were of late. `counter`: a file with a line `oom_kill NUMBER`; None: there is none here."""

    def __init__(self, counter: Path | None = None) -> None:
        self._counter = counter or _counter(Path("/"))
        self._total = self._read()
        self._rises: deque[tuple[float, int]] = deque()  # when, and by how many

    def lately(self) -> int:
        """Look again; those of the last seconds are lately."""
        before, self._total = self._total, self._read()
        if self._total > before:
            self._rises.append((time.monotonic(), self._total - before))
        while self._rises and self._rises[0][0] < time.monotonic() - LATELY_SECONDS:
            self._rises.popleft()
        return sum(number for _, number in self._rises)

    def _read(self) -> int:
        return 0 if self._counter is None else oom_kills(self._counter) or 0


def oom_kills(counter: Path) -> int | None:
    """The number in the line `oom_kill`; None: the kernel does not count here."""
    try:
        found = re.search(r"^oom_kill (\d+)$", counter.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def _counter(root: Path) -> Path | None:
    """The most precise counter that there is: of our control group (version 2, version 1), else of the machine."""
    files = [*_of_groups(root), root / "proc/vmstat"]
    return next((file for file in files if oom_kills(file) is not None), None)


def _of_groups(root: Path) -> Iterator[Path]:
    """A container finds its own group at the top, whatever path it is told."""
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        return
    for _, controllers, path in groups:
        if not controllers:
            folder, name = root / "sys/fs/cgroup", "memory.events"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.oom_control"
        else:
            continue
        yield folder / path.lstrip("/") / name
        yield folder / name
