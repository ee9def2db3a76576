"""Training speed: nn.train beside PyTorch, JAX and scikit-learn, the same work in turns on one thread each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before anything loads a BLAS
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import math
import statistics
import time
from importlib.util import find_spec

from threadpoolctl import threadpool_limits

from benchmarks.memory import compare_memory
from benchmarks.report import circumstances, geometric_mean, interruptible, paragraph, table, write_section
from benchmarks.rivals import CONTENDERS, Epochs
from benchmarks.rows import ROWS, Row

PACKAGES = {"numpy": "numpy", "torch": "torch", "jax": "jax", "sklearn": "scikit-learn"}
RIVALS = [name for name in CONTENDERS if name != "nn"]


def speeds(row: Row, optimizer: str, turns: int, seconds: float) -> dict[str, float]:
    """Samples a second of each contender: the median of the turns, which they take one after the other."""
    made = {(name, make.__name__): make(row, optimizer) for name, makers in CONTENDERS.items() for make in makers}
    trainings = {key: train for key, train in made.items() if train is not None}
    epochs, found = {}, {key: [] for key in trainings}
    with threadpool_limits(1):
        for key, train in trainings.items():
            train(1)
            epochs[key] = max(1, round(seconds / timed(train, 1)))
        for turn in range(turns):
            keys = list(trainings)
            for key in keys[turn % len(keys) :] + keys[: turn % len(keys)]:
                found[key].append(epochs[key] * row.samples / timed(trainings[key], epochs[key]))
    medians = {key: statistics.median(values) for key, values in found.items()}
    return {name: max((medians[key] for key in medians if key[0] == name), default=math.nan) for name in CONTENDERS}


def timed(train: Epochs, epochs: int) -> float:
    began = time.perf_counter()
    train(epochs)
    return time.perf_counter() - began


def compare(turns: int, seconds: float) -> str:
    """The table of all rows, and what they say together."""
    lines, ratios, lost = [], {name: [] for name in RIVALS}, []
    for row in ROWS:
        for optimizer in row.optimizers:
            found = speeds(row, optimizer, turns, seconds)
            against = {name: found["nn"] / found[name] for name in RIVALS if not math.isnan(found[name])}
            for name, ratio in against.items():
                ratios[name].append(ratio)
            label = optimizer.upper() if optimizer == "sgd" else "Adam"
            behind = [name for name, ratio in against.items() if ratio < 1]
            lost += [f"{row.name} {label} ({', '.join(behind)})"] if behind else []
            lines.append([row.name, label, *(shown(value) for value in found.values())])
            lines[-1] += [f"{against[name]:.2f}" if name in against else "-" for name in RIVALS]
            print("  ".join(lines[-1]), file=sys.stderr)
    means = [f"{geometric_mean(ratios[name]):.2f}" if ratios[name] else "-" for name in RIVALS]
    lines.append(["geometric mean", "", *[""] * len(CONTENDERS), *means])
    head = ["layers / batch", "", *(f">{name}" for name in CONTENDERS), ">/PT", ">/fused", ">/JAX", ">/sk"]
    verdict = f"nn is not first in: {'; '.join(lost)}." if lost else "nn is first in every row."
    return f"{table(head, lines)}\n\n{paragraph(verdict)}"


def shown(samples_per_second: float) -> str:
    if math.isnan(samples_per_second):
        return "-"
    digits = 3 - math.ceil(math.log10(samples_per_second))
    return f"{round(samples_per_second, digits):,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="turns of each contender in each row")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long a turn takes")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):  # JAX has no switch that keeps it to one thread
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with interruptible():
        legend = (
            f"Samples a second, the median of {options.turns} turns of about {options.seconds:g} s, and nn's ratio to "
            "each rival (above 1: nn is faster). One core, float32, whole epochs with shuffling and the mean loss. "
            "20×5² is a convolution of 20 filters, 5 by 5, with ReLU and 2 by 2 max pooling, on images of 28 by 28."
        )
        parts = [paragraph(legend), compare(options.turns, options.seconds), compare_memory()]
        text = "\n\n".join([circumstances([PACKAGES[name] for name in PACKAGES if find_spec(name)]), *parts])
    print(text)
    if options.write:
        write_section("Training", text)


if __name__ == "__main__":
    main()
