"""What a result's bytes depend on besides the spec, and where it was trained: recorded with every attempt."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits


@lru_cache(maxsize=8)
def environment(threads: int = 1) -> dict[str, Any]:
    """That of this process, when it is told to use so many BLAS threads; `blas_threads` is how many it then has.

    `service.environments` says what of it decides bytes.
    """
    with threadpool_limits(threads, user_api="blas"):
        blas = _numpys_blas()
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cpu": cpu(),
        "cpus": os.cpu_count(),
        "simd": simd(),
        "os": f"{platform.system()} {platform.release()}",
        "libc": " ".join(platform.libc_ver()).strip() or platform.release(),  # elsewhere it comes with the system
        "trainyard": version("trainyard"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas.get("internal_api", "unknown"),
        "blas_version": blas.get("version", "unknown"),
        "blas_kernel": blas.get("architecture", "unknown"),
        "blas_threads": blas.get("num_threads"),
    }


def _numpys_blas() -> Mapping[str, Any]:
    """Other packages, such as SciPy, bring one of their own."""
    found = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return min(found, key=lambda pool: "numpy" not in pool["filepath"], default={})


def cpu() -> str:
    """The name that the processor's maker gave it."""
    if sys.platform == "linux":
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        return names[0] if names else platform.machine()
    if sys.platform == "darwin":
        ask = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(ask, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def simd() -> str:
    """The best instruction set that NumPy has kernels for and has found here, such as AVX512_SPR."""
    sets: Mapping[str, Any] = np.show_config(mode="dicts").get("SIMD Extensions", {})
    best = [*sets.get("baseline", ()), *sets.get("found", ())][-1:]
    return " ".join(best)
