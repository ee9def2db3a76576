"""MNIST: how well four networks read the real digits, and how long it takes. One thread, one seed, no rival.

50,000 images train, 10,000 validate and pick the epoch; the 10,000 test images are looked at once, at the end. The
idx files are not part of the project: `--folder` says where they lie, ../shared/data/mnist unless told.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before anything loads a BLAS

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import nn
from benchmarks.report import circumstances, interruptible, paragraph, table, write_section
from service.datasets import Wanted
from service.datasets.arrays import read_idx
from service.datasets.roles import Roles

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "mnist"
IMAGE = (28, 28, 1)


@dataclass(frozen=True)
class Reader:
    """A network with all that trains it; `goal` is the accuracy on the test images that it must reach."""

    name: str
    layers: Sequence[nn.Layer]
    loss: nn.Loss
    optimizer: nn.Optimizer
    epochs: int
    batch_size: int
    goal: float
    input_shape: tuple[int, ...] = (784,)
    augment: nn.Augmentation | None = None
    more: tuple[tuple[str, Any], ...] = ()

    def plan(self) -> nn.Plan:
        return nn.Plan(
            network=nn.Network(self.layers, self.input_shape),
            loss=self.loss,
            optimizer=self.optimizer,
            epochs=self.epochs,
            batch_size=self.batch_size,
            metrics=("accuracy",),
            seed=1,
            early_stopping=nn.EarlyStopping("val_accuracy", patience=self.epochs),  # never early: it picks the epoch
            **dict(self.more),
        )


READERS = (
    Reader(
        "784-30-10 sigmoid, quadratic cost, SGD 3.0",
        (nn.Dense(30, "sigmoid"), nn.Dense(10, "sigmoid")),
        nn.Quadratic(), nn.Sgd(3.0), epochs=30, batch_size=10, goal=0.95,
    ),
    Reader(
        "784-100-10 sigmoid, cross-entropy, L2, SGD, cosine",
        (nn.Dense(100, "sigmoid"), nn.Dense(10)),
        nn.CrossEntropy(), nn.Sgd(0.5), epochs=60, batch_size=10, goal=0.978,
        more=(("l2", 1e-4), ("schedule", nn.CosineDecay())),
    ),
    Reader(
        "784-512-512-10 ReLU, dropout, Adam, cosine",
        (nn.Dropout(0.1), nn.Dense(512, "relu"), nn.Dropout(0.4), nn.Dense(512, "relu"), nn.Dropout(0.4), nn.Dense(10)),
        nn.CrossEntropy(), nn.Adam(0.001), epochs=30, batch_size=100, goal=0.985,
        more=(("schedule", nn.CosineDecay()),),
    ),
    Reader(
        "32×3²–pool–64×3²–pool–128–10, dropout, shifts, Adam, one cycle",
        (
            nn.Conv2d(32, 3, activation="relu"), nn.MaxPool(2),
            nn.Conv2d(64, 3, activation="relu"), nn.MaxPool(2), nn.Dropout(0.25),
            nn.Flatten(), nn.Dense(128, "relu"), nn.Dropout(0.5), nn.Dense(10),
        ),
        nn.CrossEntropy(), nn.Adam(0.003), epochs=20, batch_size=64, goal=0.993, input_shape=IMAGE,
        augment=nn.Augmentation(shift=2), more=(("schedule", nn.OneCycle()),),
    ),
)  # fmt: skip


def images(folder: Path, part: str, shape: tuple[int, ...]) -> nn.Data:
    """The images as bytes, from 0 to 1 when they are used."""
    dataset = read_idx(folder / f"{part}-images-idx3-ubyte.gz", Wanted(), Roles())
    return nn.Data(dataset.features.reshape(-1, *shape), dataset.labels, shift=np.float32(0), scale=np.float32(255))


def read_digits(reader: Reader, folder: Path) -> list[str]:
    """Train, and return the line of the table."""
    plan, everything = reader.plan(), images(folder, "train", reader.input_shape)
    rows, validation, _ = nn.split_indices(everything.labels, 10_000, 0, True, 1)
    train = everything.take(rows)
    if reader.augment is not None:
        augment = nn.ImageAugmentation(reader.augment, IMAGE)
        train = nn.Data(train.features, train.labels, shift=train.shift, scale=train.scale, augment=augment)
    state, began = nn.State.start(plan), time.perf_counter()
    for epoch in nn.train(plan, state, train, everything.take(validation)):
        print(f"  epoch {epoch.epoch}: {epoch.metrics['val_accuracy']:.4f}, {epoch.seconds:.1f} s", file=sys.stderr)
    seconds = time.perf_counter() - began
    accuracy = nn.evaluate(plan, state.best_parameters, images(folder, "t10k", reader.input_shape))["accuracy"]
    shown = [f"{value:.2%}" for value in (state.best_value or 0.0, accuracy)]
    verdict = "met" if accuracy >= reader.goal else "NOT met"
    return [
        reader.name,
        f"{state.best_epoch} of {plan.epochs}",
        *shown,
        f"{reader.goal:.1%}",
        verdict,
        f"{seconds:.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the four idx files are")
    parser.add_argument("--only", type=int, action="append", choices=range(1, len(READERS) + 1), help="a row, from 1")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    options = parser.parse_args()
    if not (options.folder / "train-images-idx3-ubyte.gz").exists():
        sys.exit(f"MNIST is not in {options.folder}: put its four idx .gz files there, or name their --folder")
    chosen = options.only or range(1, len(READERS) + 1)
    lines = []
    with interruptible():
        for number in chosen:
            print(READERS[number - 1].name, file=sys.stderr)
            lines.append(read_digits(READERS[number - 1], options.folder))
    legend = "Accuracy on 10,000 validation images, which pick the epoch, and on the 10,000 test images, seen once."
    head = ["network", "epoch", ">validation", ">test", ">goal", "", ">s"]
    text = f"{circumstances(['numpy'])}\n\n{paragraph(legend)}\n\n{table(head, lines)}"
    print(text)
    if options.write:
        write_section("MNIST", text)


if __name__ == "__main__":
    main()
