"""What is trained: specs that differ in all that has a state, each undisturbed once and then again and again."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.errors import Unreachable
from tests.chaos.findings import Findings
from tests.yard import Yard

DIGITS = "data: {source: digits, split: {validation: 0.2, test: 0.1}, scale: minmax}"
BODIES = {  # and how many epochs take about ten seconds on one core of an ordinary machine
    "dropout": (3600, f"""
{DIGITS}
network: [dense: {{units: 32, activation: relu}}, dropout: 0.2]
optimizer: {{adam: 0.002}}
train: {{epochs: EPOCHS, batch_size: 32}}
"""),
    "convolutions": (400, f"""
{DIGITS[:-1]}, augment: {{shift: 1, noise: 0.1}}}}
network: [conv2d: {{units: 4, size: 3, activation: relu}}, max_pool: 2, batch_norm, dropout: 0.2, flatten]
optimizer: {{momentum: 0.02}}
schedule: one_cycle
train: {{epochs: EPOCHS, batch_size: 32, accumulate: 2, warmup: 1, l2: 0.001, clip_norm: 1, average: 0.9}}
"""),
    "normalised": (2400, f"""
{DIGITS}
network: [dense: 64, batch_norm, activation: relu, dense: {{units: 32, activation: relu}}]
optimizer: {{adamw: 0.003}}
schedule: cosine
metrics: [accuracy, f1]
train: {{epochs: EPOCHS, batch_size: 64}}
"""),
    "averaged": (7000, """
data: {source: breast_cancer}
network: [dense: {units: 16, activation: tanh}]
optimizer: {momentum: 0.01}
train: {epochs: EPOCHS, batch_size: 16, average: 0.99}
"""),
    "plateau": (8000, """
data: {source: diabetes}
network: [dense: {units: 64, activation: relu}, dropout: 0.1]
optimizer: {adam: 0.003}
schedule: {reduce_on_plateau: {patience: 40, gamma: 0.9}}
train: {epochs: EPOCHS, batch_size: 16}
"""),
    "stopped-early": (2500, f"""
{DIGITS}
network: [dense: {{units: 48, activation: gelu}}, dropout: 0.3]
optimizer: {{sgd: 0.01}}
train: {{epochs: EPOCHS, batch_size: 32, early_stopping: {{patience: 120}}}}
"""),
    "large": (120, f"""
{DIGITS}
network: [dense: {{units: 1024, activation: relu}}, dropout: 0.5, dense: {{units: 512, activation: relu}}]
optimizer: {{adam: 0.0005}}
train: {{epochs: EPOCHS, batch_size: 64}}
"""),
    "long-epochs": (22, f"""
{DIGITS}
network:
  - conv2d: {{units: 48, size: 3, padding: same, activation: relu}}
  - conv2d: {{units: 64, size: 3, padding: same, activation: relu}}
  - residual: [conv2d: {{units: 64, size: 3, padding: same}}, batch_norm, activation: relu]
  - global_average_pool
optimizer: {{adamw: 0.003}}
train: {{epochs: EPOCHS, batch_size: 32}}
"""),
}  # fmt: skip
LENGTHS = {  # shares of those ten seconds
    "dropout": 0.9, "convolutions": 0.5, "normalised": 0.3, "averaged": 0.2, "plateau": 0.2, "stopped-early": 0.4,
    "large": 0.6, "long-epochs": 0.9,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One spec with one seed; the run's name tells it."""

    name: str
    text: str

    def file(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.name}.yaml"
        if not file.exists():
            file.write_text(self.text)
        return file


@dataclass(frozen=True)
class Result:
    """All of a completed run that must not depend on what happened to its workers."""

    history: list[dict[str, Any]]
    weights_sha256: str | None
    best_file: str
    last_file: str
    samples: int  # how many it took, and in how much time
    seconds: float


def cases(length: float, seeds: int) -> list[Case]:
    """Every spec with so many seeds; `length` makes all of them shorter or longer."""
    made = []
    for (name, (epochs, body)), seed in itertools.product(BODIES.items(), range(1, seeds + 1)):
        number = max(3, round(epochs * LENGTHS[name] * length))
        head = f"version: 1\nname: {name}-{seed}\nseed: {seed}\nmax_attempts: 1000"
        made.append(Case(f"{name}-{seed}", head + body.replace("EPOCHS", str(number))))
    return made


def result(there: Yard, run_id: int) -> Result:
    best, last, sha256, history = there.result(run_id)
    attempts = there.client.attempts(run_id)
    samples, seconds = sum(one.samples for one in attempts), sum(one.seconds for one in attempts)
    return Result(history, sha256, *(hashlib.sha256(file).hexdigest() for file in (best, last)), samples, seconds)


def undisturbed(there: Yard, every: list[Case], patience: float) -> dict[str, Result]:
    """Train each case once while nothing happens."""
    runs = {case.name: there.client.submit(case.file(there.home / "specs")).id for case in every}
    for name, run_id in runs.items():
        record = there.client.wait(run_id, patience)
        if record.state != "completed" or record.attempt != 1:
            raise RuntimeError(f"undisturbed, {name} is {record.state} after {record.attempt} attempts: {record.error}")
    return {name: result(there, run_id) for name, run_id in runs.items()}


class Feeder:
    """Submits cases so that a few runs are always open; `with Feeder(…):` until the block ends."""

    def __init__(self, there: Yard, every: list[Case], seed: int, full: Callable[[], bool], findings: Findings) -> None:
        self._there, self._full, self._findings = there, full, findings
        self._endless = _endless(every, random.Random(seed))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._feed, name="feeder", daemon=True)
        self.submitted = 0
        self.longest = 0.0  # seconds that a submit took, whether it reached the database or not

    def __enter__(self) -> Feeder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _feed(self) -> None:
        for case in self._endless:
            while self._full() and not self._ended.wait(0.1):
                pass
            if self._ended.is_set():
                return
            self._submit(case)
            self._ended.wait(0.3)  # until the watcher has seen it

    def _submit(self, case: Case) -> None:
        began = time.monotonic()
        try:
            self._there.client.submit(yaml.safe_load(case.text))
            self.submitted += 1
        except Unreachable:
            self._ended.wait(0.5)  # the database is away; whoever submits is told so, and does it again
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no answer for a person
            self._findings.add(f"a submit of {case.name} raised {type(error).__name__}: {error}")
        self.longest = max(self.longest, time.monotonic() - began)


def _endless(every: list[Case], generator: random.Random) -> Iterator[Case]:
    while True:
        yield from generator.sample(every, len(every))
