"""What a result's bytes depend on besides the spec: recorded with every attempt and compared when a run goes on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

# Floating-point sums differ in their last bits between kernels and builds (not between machines with the same ones).
DECIDES_BYTES = ("machine", "numpy", "blas", "blas_version", "blas_kernel")


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    blas: Mapping[str, Any] = next((pool for pool in threadpool_info() if pool["user_api"] == "blas"), {})
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas.get("internal_api", "unknown"),
        "blas_version": blas.get("version", "unknown"),
        "blas_kernel": blas.get("architecture", "unknown"),
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What changed between two attempts that may change the bytes of the result."""
    return [
        f"{key}: {before.get(key)} -> {after.get(key)}" for key in DECIDES_BYTES if before.get(key) != after.get(key)
    ]
