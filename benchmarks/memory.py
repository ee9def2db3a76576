"""Peak memory of a training, each contender in a process of its own: python benchmarks/memory.py NAME prints two."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before anything loads a BLAS
os.environ["OMP_NUM_THREADS"] = "1"

import json
import resource
import subprocess
from importlib.util import find_spec
from itertools import pairwise

from benchmarks.report import paragraph, table
from benchmarks.rivals import CONTENDERS
from benchmarks.rows import WIDEST

PACKAGES = {"nn": "nn", "PyTorch": "torch"}


def peak_bytes() -> int:
    """This process's largest resident memory. VmHWM where it exists: ru_maxrss also counts the parent before exec."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def show_peak(name: str) -> None:
    """Train the widest row with Adam for two epochs and print the peak before the data was made, and at the end."""
    __import__(PACKAGES[name])  # a part of what the process needs before there is a network
    before = peak_bytes()
    train = CONTENDERS[name][0](WIDEST, "adam")
    assert train is not None
    train(2)
    print(json.dumps([before, peak_bytes()]))


def compare_memory() -> str:
    row, lines = WIDEST, []
    for name in (name for name, package in PACKAGES.items() if find_spec(package)):
        command = [sys.executable, __file__, name]
        before, peak = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        lines.append([name, f"{peak / 2**20:,.0f}", f"{before / 2**20:,.0f}", f"{(peak - before) / 2**20:,.0f}"])
    parameters = sum(a * b + b for a, b in pairwise(row.widths))
    text = f"Peak memory of two epochs of {row.name}, Adam, each in a process of its own, MiB. The data is "
    text += f"{row.samples * row.widths[0] * 4 / 2**20:.0f} MiB, the parameters are {parameters * 4 / 2**20:.1f} MiB."
    return f"{paragraph(text)}\n\n{table(['', '>peak', '>after the imports', '>difference'], lines)}"


if __name__ == "__main__":
    show_peak(sys.argv[1])
