"""The figures of a worker, in files that its slots share with their supervisor."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.yard import ROOT

SLOT = """
import sys
from billiard.process import current_process
from workers import metrics
current_process().index = 1  # as in a forked slot, which has files of its own
metrics.reserve()
with open(sys.argv[1], 'wb', buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError:
        print('full')
metrics.count_epoch(1, 1, 0.1)
metrics.ATTEMPTS.labels(outcome='completed').inc()
print('counted')
"""


def test_a_slot_counts_on_when_the_disk_is_full(disk):
    folder = disk / "metrics"
    folder.mkdir()
    counted = subprocess.run(
        [sys.executable, "-c", SLOT, disk / "filling"], cwd=ROOT, capture_output=True, text=True, timeout=60,
        env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(folder), "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (counted.returncode, counted.stdout) == (0, "full\ncounted\n"), counted.stderr
