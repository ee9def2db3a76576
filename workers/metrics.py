"""A worker's own figures for Prometheus: counted by its slots, served by its supervisor.

The slots are processes that may be killed at any moment. Each writes its counts into a file of its own, named after the
slot and not after the process, so that a replaced slot goes on counting and no file is left behind; the supervisor adds
the files up (prometheus_client's multiprocess mode).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.metrics.disk import disks
from service.store.records import WorkerRecord


def _slot() -> str:
    """The number of the slot, also after its process was replaced; the supervisor and the main process have none."""
    try:
        from billiard.process import current_process
    except ImportError:
        return "main"
    index = getattr(current_process(), "index", None)
    return "main" if index is None else str(index)


FILE_BYTES = 2**16  # with which prometheus_client begins a file; ours need a tenth of it


def reserve() -> None:
    """Have the system set aside what this process's files take. On a disk that is full by the time they are written, a
    file mapped into memory would end the process (SIGBUS)."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder is None or not hasattr(os, "posix_fallocate"):  # as on macOS
        return
    for kind in ("counter", "histogram"):
        file = os.open(os.path.join(folder, f"{kind}_{_slot()}.db"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            os.posix_fallocate(file, 0, FILE_BYTES)
        finally:
            os.close(file)


if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    reserve()
    values.ValueClass = values.MultiProcessValue(process_identifier=_slot)  # type: ignore[no-untyped-call]

SAMPLES = Counter("trainyard_samples_trained", "Training samples seen, each counted once an epoch.")
STEPS = Counter("trainyard_steps_trained", "Mini-batch updates of weights.")
EPOCHS = Counter("trainyard_epochs_trained", "Passes over a training split.")
EPOCH_SECONDS = Histogram(
    "trainyard_epoch_duration_seconds",
    "Time that an epoch took, validation included.",
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
ATTEMPTS = Counter("trainyard_attempts", "Attempts that ended in this worker's slots, by outcome.", ["outcome"])
LEASES_LOST = Counter("trainyard_leases_lost", "Attempts that found their run taken over by another worker.")


def count_epoch(samples: int, steps: int, seconds: float) -> None:
    EPOCHS.inc()
    SAMPLES.inc(samples)
    STEPS.inc(steps)
    EPOCH_SECONDS.observe(seconds)


class SlotsCollector(Collector):
    """Slots by what they do, as the supervisor last heard of them, and the disk that they write to."""

    def __init__(self, home: Path) -> None:
        self.record: WorkerRecord | None = None
        self._home = home

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily("trainyard_slots", "Slots of this worker, by what they do.", labels=["state"])
        if self.record is not None:
            family.add_metric(["busy"], self.record.busy)
            family.add_metric(["idle"], max(0, self.record.slots - self.record.busy))
        yield family
        yield from disks({"home": self._home})


def registry(folder: str) -> tuple[CollectorRegistry, SlotsCollector]:
    """What a supervisor serves: the sums over its slots' files, and its slots."""
    made = CollectorRegistry()
    MultiProcessCollector(made, path=folder)  # type: ignore[no-untyped-call]
    slots = SlotsCollector(Path(folder))
    made.register(slots)
    return made, slots
