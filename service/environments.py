"""What a training ran on, as every attempt records it: what of it decides the bytes, and how people read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from string import Formatter
from typing import Any

Environment = Mapping[str, Any]

# Floating-point sums differ in their last bits between kernels, builds and versions, not between machines with the
# same ones. NumPy picks its own kernels by the instruction sets it finds (simd) and takes some functions from libc.
DECIDES_BYTES = (
    "machine", "simd", "libc", "trainyard", "numpy", "blas", "blas_version", "blas_kernel", "blas_threads",
)  # fmt: skip


def differences(before: Environment, after: Environment, keys: Iterable[str] = DECIDES_BYTES) -> list[str]:
    """What changed between two attempts that may change the bytes of the result, as far as both have recorded it."""
    both = [key for key in keys if key in before and key in after]
    return [f"{key}: {before[key]} -> {after[key]}" for key in both if before[key] != after[key]]


def changes(environments: Sequence[Environment]) -> list[tuple[int, list[str]]]:
    """For each attempt on another environment than the one before it: its place, from 1, and all that differs."""
    pairs = enumerate(pairwise(environments), 2)
    found = [(number, differences(before, after, after)) for number, (before, after) in pairs]
    return [(number, changed) for number, changed in found if changed]


def facts(environment: Environment) -> list[tuple[str, str]]:
    """A few lines for people: host, CPU, BLAS, versions; of what is not recorded, nothing."""

    def line(*parts: str) -> str:
        return ", ".join(part.format_map(environment) for part in parts if _known(part, environment))

    found = [
        ("host", line("{host}", "{cpus} CPUs")),
        ("CPU", line("{cpu}", "{machine}", "{simd}")),
        ("BLAS", line("{blas} {blas_version}", "{blas_kernel} kernels", "threads {blas_threads}")),
        ("versions", line("trainyard {trainyard}", "Python {python}", "NumPy {numpy}")),
        ("system", line("{os}", "{libc}")),
    ]
    return [(name, text) for name, text in found if text]


def _known(part: str, environment: Environment) -> bool:
    return all(environment.get(key) not in (None, "") for _, key, _, _ in Formatter().parse(part) if key)
