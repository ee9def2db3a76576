"""Training speed: nn.train beside PyTorch and scikit-learn, the same work in turns on one thread each."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before anything loads a BLAS
os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import json
import math
import resource
import statistics
import subprocess
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

import nn
from benchmarks.report import circumstances, geometric_mean, interruptible, paragraph, table, write_section

Epochs = Callable[[int], None]  # train so many epochs on
LEARNING_RATE = {"sgd": 0.01, "adam": 0.001}
FOR_EVER = 1_000_000


@dataclass(frozen=True)
class Row:
    """A network of dense layers with ReLU between them, softmax cross-entropy at the end."""

    widths: tuple[int, ...]
    batch_size: int
    samples: int

    @property
    def name(self) -> str:
        return f"{'-'.join(map(str, self.widths))} / {self.batch_size}"

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples whose classes can be learned."""
        rng = np.random.default_rng(0)
        features = rng.standard_normal((self.samples, self.widths[0]), dtype=np.float32)
        teacher = rng.standard_normal((self.widths[0], self.widths[-1]), dtype=np.float32)
        return features, (features @ teacher).argmax(axis=1)


ROWS = (
    Row((64, 32, 10), 32, 19_200),
    Row((784, 30, 10), 10, 10_000),
    Row((784, 100, 10), 32, 12_800),
    Row((784, 256, 128, 10), 128, 12_800),
    Row((784, 1024, 1024, 10), 256, 5_120),
)


def trainyard(row: Row, optimizer: str) -> Epochs:
    hidden = [nn.Dense(width, "relu") for width in row.widths[1:-1]]
    plan = nn.Plan(
        network=nn.Network([*hidden, nn.Dense(row.widths[-1])], row.widths[:1]),
        loss=nn.CrossEntropy(),
        optimizer=nn.OPTIMIZERS[optimizer](learning_rate=LEARNING_RATE[optimizer]),
        epochs=FOR_EVER,
        batch_size=row.batch_size,
    )
    training = nn.train(plan, nn.State.start(plan), nn.Data(*row.data()))

    def train(epochs: int) -> None:
        for _ in range(epochs):
            next(training)

    return train


def pytorch(row: Row, optimizer: str, fused: bool = False) -> Epochs:
    import torch

    torch.set_num_threads(1)
    features, labels = (torch.from_numpy(array) for array in row.data())
    layers: list[torch.nn.Module] = []
    for inputs, outputs in zip(row.widths[:-1], row.widths[1:], strict=True):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model, criterion = torch.nn.Sequential(*layers[:-1]), torch.nn.CrossEntropyLoss()
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    steps = kind(model.parameters(), lr=LEARNING_RATE[optimizer], fused=fused)

    def train(epochs: int) -> None:
        for _ in range(epochs):
            order, total = torch.randperm(len(features)), 0.0
            for start in range(0, len(features), row.batch_size):
                batch = order[start : start + row.batch_size]
                steps.zero_grad()
                loss = criterion(model(features[batch]), labels[batch])
                loss.backward()
                steps.step()
                total += loss.item() * len(batch)

    return train


def pytorch_fused(row: Row, optimizer: str) -> Epochs:
    return pytorch(row, optimizer, fused=True)


def scikit_learn(row: Row, optimizer: str) -> Epochs:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    features, labels = row.data()
    model = MLPClassifier(
        row.widths[1:-1], solver=optimizer, alpha=0, batch_size=row.batch_size, momentum=0, warm_start=True, tol=0,
        learning_rate_init=LEARNING_RATE[optimizer], n_iter_no_change=FOR_EVER, early_stopping=False, random_state=0,
    )  # fmt: skip

    def train(epochs: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # it did as many epochs as it was told
            model.set_params(max_iter=epochs).fit(features, labels)

    return train


CONTENDERS: dict[str, Callable[[Row, str], Epochs]] = {
    "nn": trainyard,
    "PyTorch": pytorch,
    "fused": pytorch_fused,
    "sklearn": scikit_learn,
}


def speeds(row: Row, optimizer: str, turns: int, seconds: float) -> dict[str, float]:
    """Samples a second of each contender: the median of the turns, which they take one after the other."""
    trainings = {name: make(row, optimizer) for name, make in CONTENDERS.items()}
    epochs, found = {}, {name: [] for name in CONTENDERS}
    with threadpool_limits(1):
        for name, train in trainings.items():
            train(1)
            epochs[name] = max(1, round(seconds / timed(train, 1)))
        for turn in range(turns):
            names = list(trainings)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                found[name].append(epochs[name] * row.samples / timed(trainings[name], epochs[name]))
    return {name: statistics.median(values) for name, values in found.items()}


def timed(train: Epochs, epochs: int) -> float:
    began = time.perf_counter()
    train(epochs)
    return time.perf_counter() - began


def compare(turns: int, seconds: float) -> str:
    """The table of all rows, and what they say together."""
    rivals = [name for name in CONTENDERS if name != "nn"]
    lines, ratios = [], {name: [] for name in rivals}
    for row in ROWS:
        for optimizer in LEARNING_RATE:
            found = speeds(row, optimizer, turns, seconds)
            for name in rivals:
                ratios[name].append(found["nn"] / found[name])
            lines.append([row.name, optimizer.upper() if optimizer == "sgd" else "Adam"])
            lines[-1] += [shown(value) for value in found.values()] + [f"{ratios[name][-1]:.2f}" for name in rivals]
            print("  ".join(lines[-1]), file=sys.stderr)
    means = [f"{geometric_mean(ratios[name]):.2f}" for name in rivals]
    lines.append(["geometric mean", "", *[""] * len(CONTENDERS), *means])
    head = ["layers / batch", "", *(f">{name}" for name in CONTENDERS), ">/PT", ">/fused", ">/sk"]
    lost = [f"{line[0]} {line[1]}" for line, *below in zip(lines, *ratios.values(), strict=False) if min(below) < 1]
    verdict = f"nn is not first in: {'; '.join(lost)}." if lost else "nn is first in every row."
    return f"{table(head, lines)}\n\n" + paragraph(f"{verdict} JAX, which the goal includes, is not measured here.")


def shown(samples_per_second: float) -> str:
    digits = 3 - math.ceil(math.log10(samples_per_second))
    return f"{round(samples_per_second, digits):,.0f}"


def peak_bytes() -> int:
    """This process's largest resident memory. VmHWM where it exists: ru_maxrss also counts the parent before exec."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def show_peak(name: str) -> None:
    """Train the widest row with Adam for two epochs and print the peak before the data was made, and at the end."""
    if name == "PyTorch":
        import torch  # noqa: F401 - a part of what the process needs before there is a network
    before = peak_bytes()
    with threadpool_limits(1):
        CONTENDERS[name](ROWS[-1], "adam")(2)
    print(json.dumps([before, peak_bytes()]))


def compare_memory() -> str:
    row, lines = ROWS[-1], []
    for name in ("nn", "PyTorch"):
        command = [sys.executable, __file__, "--peak", name]
        before, peak = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        lines.append([name, f"{peak / 2**20:,.0f}", f"{before / 2**20:,.0f}", f"{(peak - before) / 2**20:,.0f}"])
    parameters = sum(a * b + b for a, b in zip(row.widths[:-1], row.widths[1:], strict=True))
    text = f"Peak memory of two epochs of {row.name}, Adam, each in a process of its own, MiB. The data is "
    text += f"{row.samples * row.widths[0] * 4 / 2**20:.0f} MiB, the parameters are {parameters * 4 / 2**20:.1f} MiB."
    return f"{paragraph(text)}\n\n{table(['', '>peak', '>after the imports', '>difference'], lines)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="turns of each contender in each row")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long a turn takes")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--peak", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        show_peak(options.peak)
        return
    with interruptible():
        legend = (
            f"Samples a second, the median of {options.turns} turns of about {options.seconds:g} s, and nn's ratio to "
            "each rival (above 1: nn is faster). One thread, float32, whole epochs with shuffling and the mean loss."
        )
        parts = [paragraph(legend), compare(options.turns, options.seconds), compare_memory()]
        text = "\n\n".join([circumstances(["numpy", "torch", "scikit-learn"]), *parts])
    print(text)
    if options.write:
        write_section("Training", text)


if __name__ == "__main__":
    main()
