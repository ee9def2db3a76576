"""The disks that a yard or a worker writes to."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily, Metric


def disks(places: Mapping[str, Path]) -> Iterable[Metric]:
    """Size and room of the disk that each folder is on; of one that cannot be looked at there is no figure."""
    size = GaugeMetricFamily("trainyard_disk_bytes", "Size of the disk that a folder is on.", labels=["place"])
    free = GaugeMetricFamily("trainyard_disk_free_bytes", "What is free on that disk.", labels=["place"])
    for place, folder in places.items():
        try:
            usage = shutil.disk_usage(folder)
        except OSError:  # not made yet, or its disk was taken away
            continue
        size.add_metric([place], usage.total)
        free.add_metric([place], usage.free)
    yield size
    yield free
