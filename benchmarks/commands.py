"""Wall time of whole commands, process start included."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

PROGRAM = Path(sys.executable).parent / "trainyard"
Command = tuple[Sequence[str | Path], int]  # its words, and the exit code that is expected


def timings(commands: Mapping[str, Command], folder: Path, number: int, **environment: str) -> dict[str, list[float]]:
    """Each command so many times, in turns. In the turn before, Python compiled what it imports, into this folder."""
    own = {"PYTHONPYCACHEPREFIX": str(folder), "PYTHONDONTWRITEBYTECODE": "", **environment}
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(number + 1):
        for name, (command, code) in commands.items():
            began = time.perf_counter()
            done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **own})
            seconds = time.perf_counter() - began
            if done.returncode != code:
                raise RuntimeError(f"{name} ended with {done.returncode}: {done.stderr.decode()}")
            if turn:
                times[name].append(seconds)
    return times
