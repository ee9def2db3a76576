"""A history of any size, written through the store's own bulk writer: what people might have trained in some months."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
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
        submitted = [_run(rng, number) for number in range(first, min(runs, first + AT_ONCE))]
        _write(database, submitted, epochs, rng)
    if database.file is None:
        with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))  # as autovacuum would have done by then


def samples(runs: int, epochs: int = 20, seed: int = 1) -> Iterator[tuple[NewRun, dict[str, list[float]]]]:
    """So many runs with their curves, to be stored elsewhere or in another way."""
    rng = random.Random(seed)
    for number in range(runs):
        yield _run(rng, number), dict(_curves(rng, epochs))


def _write(database: Database, runs: list[NewRun], epochs: int, rng: random.Random) -> None:
    with database.write() as session:
        numbers = free_numbers(session, len(runs))
        became, attempts, points, summaries = [], [], [], []
        for number, run in zip(numbers, runs, strict=True):
            life = _life(rng, number)
            became.append(_became(number, run, life, epochs))
            attempts.append(_attempt(number, life, epochs))
            for name, values in _curves(rng, epochs):
                points += [(number, name, epoch, value) for epoch, value in enumerate(values, 1)]
                summaries.append(_summary(number, name, values))
        insert_all(session, RUNS, RUN, became)
        add_details(session, dict(zip(numbers, runs, strict=True)))
        insert_all(session, Attempt.__table__, ATTEMPT, attempts)
        insert_all(session, Metric.__table__, ("run_id", "name", "epoch", "value"), points)
        insert_all(session, Summary.__table__, SUMMARY, summaries)


@dataclass(frozen=True)
class _Life:
    """What became of a run."""

    state: State
    created: datetime
    started: datetime
    finished: datetime | None
    worker: str


def _life(rng: random.Random, number: int) -> _Life:
    """A run every four minutes, which waits for some and trains for more."""
    state = rng.choice(STATES)
    created = BEGAN + timedelta(minutes=4 * number, seconds=rng.uniform(0, 200))
    started = created + timedelta(seconds=rng.expovariate(0.02))
    finished = started + timedelta(seconds=rng.expovariate(0.005)) if state.ended else None
    return _Life(state, created, started, finished, f"lab-{rng.randrange(20)}")


RUN = (
    "id", "name", "state", "queue", "priority", "dataset_sha256", "epochs", "epoch", "attempt", "max_attempts",
    "created", "not_before", "started", "finished", "worker", "error",
)  # fmt: skip


def _became(number: int, run: NewRun, life: _Life, epochs: int) -> tuple[Any, ...]:
    error = "the loss diverged" if life.state is State.FAILED else None
    return (
        number, run.name, life.state, run.queue, run.priority, DATASET, epochs, epochs, 1, 3,
        life.created, life.created, life.started, life.finished, life.worker, error,
    )  # fmt: skip


ATTEMPT = (
    "run_id", "number", "worker", "pid", "started", "finished", "outcome", "first_epoch", "epoch", "samples", "seconds",
    "environment",
)  # fmt: skip


def _attempt(number: int, life: _Life, epochs: int) -> tuple[Any, ...]:
    environment = {"host": life.worker}
    return (
        number, 1, life.worker, 7, life.started, life.finished, life.state, 1, epochs, 1000, 10.0, environment
    )  # fmt: skip


SUMMARY = ("run_id", "name", "last", "last_epoch", "best", "best_epoch")


def _summary(number: int, name: str, values: list[float]) -> tuple[Any, ...]:
    best = min(values) if name.endswith("loss") else max(values)
    return number, name, values[-1], len(values), best, values.index(best) + 1


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
    spec = _spec(rng, number)
    return NewRun(
        name=spec["name"],
        spec=spec,
        dataset_sha256=DATASET,
        epochs=spec["train"]["epochs"],
        max_attempts=3,
        queue=rng.choice(("default", "default", "night", "big")),
        priority=rng.randrange(3),
        tags=rng.sample(("base", "try", "night", "paper", "wide"), rng.randrange(3)),
        uid=f"{rng.getrandbits(128):032x}",
    )


OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
    "sgd": {"momentum": 0.0},
    "rmsprop": {"decay": 0.9},
}


def _spec(rng: random.Random, number: int) -> dict[str, Any]:
    """A spec as it is resolved, with every default in it: some sixty keys."""
    optimizer = rng.choice(("adam", "adam", "adam", "sgd", "rmsprop"))
    return {
        "version": 1,
        "name": f"net-{rng.randrange(50)}",
        "data": {
            "source": "digits",
            "missing": {"fill": "error", "indicator": False},
            "split": {"validation": 0.2, "test": 0.1, "stratify": True, "fold": 1},
            "scale": rng.choice(("minmax", "standard")),
        },
        "network": _network(rng),
        "loss": {"cross_entropy": {"label_smoothing": 0.0}},
        "optimizer": {optimizer: {"learning_rate": round(10 ** rng.uniform(-4.5, -1), 8), **OPTIMIZERS[optimizer]}},
        "schedule": {rng.choice(("constant", "cosine")): {}},
        "metrics": ["accuracy", "f1"],
        "train": {
            "epochs": rng.choice((20, 30, 50, 100)),
            "batch_size": rng.choice((16, 32, 64, 128)),
            **{"accumulate": 1, "warmup": 0.0, "l1": 0.0, "l2": 0.0, "freeze": [], "threads": 1},
            "early_stopping": {"monitor": "val_loss", "patience": 8, "min_delta": 0.0},
        },
        "limits": {},
        "max_attempts": 3,
        "seed": number,
    }


def _network(rng: random.Random) -> list[dict[str, Any]]:
    layers: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 4)):
        units = rng.choice((16, 32, 64, 128, 256))
        layers.append(_dense(units, rng.choice(("relu", "tanh", "gelu"))))
        layers.append({"dropout": {"rate": rng.choice((0.1, 0.2, 0.5))}})
    return [*layers, _dense(10, "linear")]


def _dense(units: int, activation: str) -> dict[str, Any]:
    return {"dense": {"units": units, "activation": activation, "initializer": None, "bias": True}}
