"""A history of any size, written through the store's own bulk writer: what people might have trained in some months."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text

from service.store.bulk import insert_all
from service.store.database import Database
from service.store.submissions import RUNS, NewRun, add_details, free_numbers
from service.store.tables import Attempt, Blob, Dataset, Metric, State, Summary

METRICS = ("loss", "accuracy", "val_loss", "val_accuracy", "val_f1")
AT_ONCE = 2_000  # runs in one transaction
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
STATES = (State.COMPLETED,) * 90 + (State.FAILED,) * 5 + (State.CANCELLED,) * 4 + (State.PAUSED,)
DATASET = "d" * 64


def write(database: Database, runs: int, epochs: int = 20, seed: int = 1) -> None:
    """So many runs of so many epochs, 5 metrics each; what is written depends on the arguments alone."""
    rng = random.Random(seed)
    with database.write() as session:
        blob = Blob(sha256="0" * 64, size=0)
        session.add(blob)
        session.flush()
        session.add(Dataset(sha256=DATASET, source="digits", schema={}, blob_id=blob.id))
    for first in range(0, runs, AT_ONCE):
        _write(database, [_run(rng, number) for number in range(first, min(runs, first + AT_ONCE))], epochs, rng)
    if database.file is None:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))  # as autovacuum would have done by then


def _write(database: Database, runs: list[NewRun], epochs: int, rng: random.Random) -> None:
    with database.write() as session:
        numbers = free_numbers(session, len(runs))
        rows, points, summaries, attempts = [], [], [], []
        for number, run in zip(numbers, runs, strict=True):
            state = rng.choice(STATES)
            created = BEGAN + timedelta(minutes=4 * number, seconds=rng.uniform(0, 200))
            started = created + timedelta(seconds=rng.expovariate(0.02))
            finished = started + timedelta(seconds=rng.expovariate(0.005)) if state.ended else None
            worker = f"lab-{rng.randrange(20)}"
            rows.append(
                (
                    number,
                    run.name,
                    state,
                    run.queue,
                    run.priority,
                    DATASET,
                    epochs,
                    epochs,
                    1,
                    3,
                    created,
                    created,
                    started,
                    finished,
                    worker,
                    "the loss diverged" if state is State.FAILED else None,
                )
            )
            attempts.append((number, 1, worker, 7, started, finished, state, 1, epochs, 1000, 10.0, {"host": worker}))
            for name, values in _curves(rng, epochs):
                points += [(number, name, epoch, value) for epoch, value in enumerate(values, 1)]
                best = min(values) if name.endswith("loss") else max(values)
                summaries.append((number, name, values[-1], epochs, best, values.index(best) + 1))
        insert_all(
            session,
            RUNS,
            (
                "id",
                "name",
                "state",
                "queue",
                "priority",
                "dataset_sha256",
                "epochs",
                "epoch",
                "attempt",
                "max_attempts",
                "created",
                "not_before",
                "started",
                "finished",
                "worker",
                "error",
            ),
            rows,
        )
        add_details(session, dict(zip(numbers, runs, strict=True)))
        insert_all(
            session,
            Attempt.__table__,
            (
                "run_id",
                "number",
                "worker",
                "pid",
                "started",
                "finished",
                "outcome",
                "first_epoch",
                "epoch",
                "samples",
                "seconds",
                "environment",
            ),
            attempts,
        )
        insert_all(session, Metric.__table__, ("run_id", "name", "epoch", "value"), points)
        insert_all(
            session, Summary.__table__, ("run_id", "name", "last", "last_epoch", "best", "best_epoch"), summaries
        )


def _curves(rng: random.Random, epochs: int) -> Iterator[tuple[str, list[float]]]:
    """Curves that fall and rise as those of trainings do."""
    quality = rng.betavariate(6, 2)
    for name in METRICS:
        falls = name.endswith("loss")
        values = []
        for epoch in range(1, epochs + 1):
            share = 1 - math.exp(-4 * epoch / epochs)
            value = quality * share + rng.gauss(0, 0.004)
            values.append(2.3 * (1 - value) if falls else min(1.0, max(0.0, value)))
        yield name, values


def _run(rng: random.Random, number: int) -> NewRun:
    optimizer = rng.choice(("adam", "adam", "adam", "sgd", "rmsprop"))
    settings: dict[str, Any] = {"learning_rate": round(10 ** rng.uniform(-4.5, -1), 8)}
    settings |= {
        "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
        "sgd": {"momentum": 0.0},
        "rmsprop": {"decay": 0.9},
    }[optimizer]
    layers: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 4)):
        layers += [
            {
                "dense": {
                    "units": rng.choice((16, 32, 64, 128, 256)),
                    "activation": rng.choice(("relu", "tanh", "gelu")),
                    "initializer": None,
                    "bias": True,
                }
            },
            {"dropout": {"rate": rng.choice((0.1, 0.2, 0.5))}},
        ]
    layers.append({"dense": {"units": 10, "activation": "linear", "initializer": None, "bias": True}})
    spec = {
        "version": 1,
        "name": f"net-{rng.randrange(50)}",
        "data": {
            "source": "digits",
            "missing": {"fill": "error", "indicator": False},
            "split": {"validation": 0.2, "test": 0.1, "stratify": True, "fold": 1},
            "scale": rng.choice(("minmax", "standard")),
        },
        "network": layers,
        "loss": {"cross_entropy": {"label_smoothing": 0.0}},
        "optimizer": {optimizer: settings},
        "schedule": {rng.choice(("constant", "cosine")): {}},
        "metrics": ["accuracy", "f1"],
        "train": {
            "epochs": rng.choice((20, 30, 50, 100)),
            "batch_size": rng.choice((16, 32, 64, 128)),
            "accumulate": 1,
            "warmup": 0.0,
            "l1": 0.0,
            "l2": 0.0,
            "freeze": [],
            "early_stopping": {"monitor": "val_loss", "patience": 8, "min_delta": 0.0},
            "threads": 1,
        },
        "limits": {},
        "max_attempts": 3,
        "seed": number,
    }
    tags = rng.sample(("base", "try", "night", "paper", "wide"), rng.randrange(3))
    return NewRun(
        name=spec["name"],
        spec=spec,
        dataset_sha256=DATASET,
        epochs=20,
        max_attempts=3,
        queue=rng.choice(("default", "default", "night", "big")),
        priority=rng.randrange(3),
        tags=tags,
    )
