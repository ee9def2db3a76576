"""Real yards in temporary homes, their slots, and the specs that the benchmarks of the service submit."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict

from service.client import Client
from service.processes import spawn, stop, wait_until
from service.settings import load_settings
from service.yard import GRACE_SECONDS, running

ROOT = Path(__file__).parents[1]

# All 150 rows train, in one batch: one epoch is one step.
TINY = """
version: 1
name: tiny
data: {source: iris, split: {validation: 0, test: 0}}
network: [dense: {units: 16, activation: relu}]
train: {epochs: 1, batch_size: 150}
"""

# Epochs of some milliseconds: four metrics are reported after each, the most work a run can make for the service.
SHORT_EPOCHS = """
version: 1
name: short-epochs
data: {source: digits, split: {validation: 0.2, test: 0.1}, scale: minmax}
network:
  - dense: {units: 128, activation: relu}
  - dense: {units: 64, activation: relu}
train: {epochs: 1, batch_size: 32}
"""

# Epochs of about half a second, weights and Adam's vectors of 2.8 MiB in each checkpoint.
LONG_EPOCHS = """
version: 1
name: long-epochs
data: {source: rows.npz, split: {validation: 0.1, test: 0.1}}
network:
  - dense: {units: 256, activation: relu}
  - dense: {units: 128, activation: relu}
train: {epochs: 1, batch_size: 128}
"""

UNKNOWN_KEY = TINY.replace("batch_size", "batchsize")


@contextmanager
def home() -> Iterator[Path]:
    """A folder for a yard, removed at the end; a person's own TRAINYARD_* variables do not reach into it."""
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        del os.environ[name]
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def yard(folder: Path, slots: int = 2, database_url: str = "") -> Iterator[Client]:
    """`trainyard up` in this home, once its slots are there; its processes are known by their TMPDIR."""
    settings = load_settings(home=folder, database_url=database_url)
    command = [sys.executable, "-m", "service.cli", "--home", str(folder), "up", "--workers", str(slots), "--port", "0"]
    with (folder / "yard.log").open("wb") as log:
        places = {"TMPDIR": str(folder), "TRAINYARD_DATABASE_URL": database_url}
        process = spawn(command, env={**os.environ, **places}, log=log)
        try:
            client = Client(settings)
            up = wait_until(lambda: running(settings) is not None or process.poll() is not None, 30)
            if not up or process.poll() is not None:
                raise RuntimeError(f"the yard did not start:\n{(folder / 'yard.log').read_text()}")
            if not wait_until(lambda: any(worker.slots == slots for worker in client.workers()), 30):
                raise RuntimeError("the yard's slots did not start")
            yield client
            client.database.dispose()
        finally:
            stop(process, GRACE_SECONDS)


@contextmanager
def worker(client: Client, name: str, queue: str) -> Iterator[None]:
    """Another worker of a yard, with one slot."""
    folder = client.settings.home
    command = [sys.executable, "-m", "workers", "--name", name, "--slots", "1", "--queues", queue]
    environment = {**os.environ, "TMPDIR": str(folder), "TRAINYARD_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    with (folder / "worker.log").open("ab") as log:
        process = spawn(command, env=environment, log=log)
        try:
            yield
        finally:
            stop(process, GRACE_SECONDS)


def epochs_trained(folder: Path) -> float:
    """All epochs ended by the slots of this home so far, from the memory in which they count: fresh at any moment."""
    return counted(folder, "trainyard_epochs_trained_total")


def counted(folder: Path, name: str) -> float:
    """What the slots of this home have counted so far, all together."""
    total = 0.0
    for file in folder.glob("metrics/*/counter_*.db"):
        for key, value, *_ in MmapedDict.read_all_values_from_file(file):
            total += value if f'"{name}"' in key else 0.0
    return total


def cpu_seconds(folder: Path) -> dict[int, float]:
    """CPU seconds so far of each process of the yard in this home: of those with its TMPDIR; empty without a /proc."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended, or is somebody else's
            if f"TMPDIR={folder}\0".encode() in (process / "environ").read_bytes():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                found[int(process.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return found
