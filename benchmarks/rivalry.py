"""Our history beside MLflow's and Optuna's: the same runs and questions, ours in a history many times as long."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks import histories
from benchmarks.pages import LIMIT, run_ids
from benchmarks.points import LEASE, logging, rate
from benchmarks.report import Budget, paragraph, quantile, table
from service.client import Client
from service.store import transitions
from service.store.database import Database
from service.store.tables import Outcome
from service.store.transitions import Point, Progress

RIVALS = Path(__file__).parent / "rival_histories.py"
TURNS = 5
SECONDS = 5.0  # of points
EPOCHS = 20
FILLED = 200  # of our runs, one by one
BEST = 10.0  # times as fast is what we want to be
QUESTIONS: dict[str, dict[str, str | None]] = {  # as those of `rival_histories.SEARCHES`
    "newest": {"where": None},
    "by a metric": {"where": None, "sort": "val_loss"},
    "metric > x, by the metric": {"where": "val_accuracy > 0.8", "sort": "val_accuracy"},
    "a parameter, newest": {"where": "optimizer = sgd"},
    "a tag, by a metric": {"where": "tag = paper", "sort": "val_loss"},
    "metric, parameter and tag, by a metric": {
        "where": "val_accuracy > 0.7 and optimizer = adam and tag = paper",
        "sort": "val_loss",
    },
}


def mlflow(python: str, client: Client, runs: int, folder: Path) -> tuple[str, list[Budget]]:
    """MLflow with so many runs, and ours with all that `client` has."""
    theirs, total = _ask("mlflow", python, runs, folder), sum(client.counts().values())
    rates = [
        ["runs created and filled, one by one", theirs["fill"], filling(client.database)],
        ["points, a call of the training's for each", theirs["single"], logging(client.database)],
        ["points, a transaction for each", theirs["single"], rate(client.database, 1, SECONDS, processes=1)],
        ["points, a thousand at once", theirs["batched"], rate(client.database, 1000, SECONDS, processes=1)],
    ]
    times = [
        [f"search: {name}", theirs["searches"][name], _median(lambda asked=asked: client.runs(**asked))]
        for name, asked in QUESTIONS.items()
    ]
    text = (
        f"MLflow {theirs['version']} on SQLite with {runs:,} runs, Trainyard on SQLite with {total:,}. A run has "
        f"{len(histories.METRICS)} metrics at {EPOCHS} epochs; a search returns the first {LIMIT} runs with what they "
        "have. Medians:"
    )
    return _compared("MLflow", text, rates, times)


def optuna(python: str, client: Client, runs: int, folder: Path) -> tuple[str, list[Budget]]:
    theirs, total = _ask("optuna", python, runs, folder), sum(client.counts().values())
    rates = [["runs (trials) added and filled, one by one", theirs["fill"], filling(client.database)]]
    times = [
        [f"a table of the newest {runs:,} runs", theirs["frame"], _median(lambda: newest(client, runs))],
        ["the best run", theirs["best"], _median(lambda: client.best("val_loss"))],
    ]
    text = (
        f"Optuna {theirs['version']} with a study of {runs:,} trials in SQLite, loaded anew for each question, and "
        f"Trainyard on SQLite with {total:,} runs. Medians:"
    )
    return _compared("Optuna", text, rates, times)


def newest(client: Client, number: int) -> list[dict[str, Any]]:
    ids = run_ids(client, None, "id desc", number)
    return client.values(ids, "id, state, best(val_loss), optimizer, train.batch_size, started, finished, duration")


def _compared(rival: str, text: str, rates: list[list[Any]], times: list[list[Any]]) -> tuple[str, list[Budget]]:
    """Rates (larger is better) and times in seconds: what, theirs, ours."""
    ratios = [ours / theirs for _, theirs, ours in rates] + [theirs / ours for _, theirs, ours in times]
    rows = [[what, f"{theirs:,.0f}/s", f"{ours:,.0f}/s"] for what, theirs, ours in rates]
    rows += [[what, f"{1000 * theirs:.1f} ms", f"{1000 * ours:.1f} ms"] for what, theirs, ours in times]
    rows = [[*row, f"{ratio:.1f} ×"] for row, ratio in zip(rows, ratios, strict=True)]
    least, middle = min(ratios), quantile(ratios, 0.5)
    measured = f"{least:.1f} × at least, {middle:.1f} × in the middle"
    budgets: list[Budget] = [(f"beside {rival}", measured, f"≥ {BEST:g} ×", least >= BEST)]
    return f"{paragraph(text)}\n\n{table(['', f'>{rival}', '>Trainyard', '>ratio'], rows)}", budgets


def _median(question: Callable[[], object]) -> float:
    times = []
    for _ in range(TURNS):
        began = time.perf_counter()
        question()
        times.append(time.perf_counter() - began)
    return quantile(times, 0.5)


def _ask(rival: str, python: str, runs: int, folder: Path) -> dict[str, Any]:
    file = folder / f"{rival}.jsonl"
    with file.open("w") as out:
        for new, curves in histories.samples(runs, EPOCHS):
            run = {"name": new.name, "tags": new.tags, "params": _params(new.spec), "curves": curves}
            out.write(f"{json.dumps(run)}\n")
    done = subprocess.run([python, "-P", RIVALS, rival, file], capture_output=True, text=True, check=False, cwd=folder)
    if done.returncode:
        raise RuntimeError(f"{rival} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _params(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What people log of a spec by hand."""
    ((optimizer, settings),) = spec["optimizer"].items()
    train = {name: spec["train"][name] for name in ("epochs", "batch_size", "warmup", "l1", "l2")}
    return {"optimizer": optimizer, "layers": len(spec["network"]), "seed": spec["seed"], **settings, **train}


def filling(database: Database) -> float:
    """Runs a second that are submitted, claimed, recorded and finished, each with all its points in one report."""
    worker, began = "bench", time.perf_counter()
    for new, curves in histories.samples(FILLED, EPOCHS):
        points = [
            Point(name, epoch, value, higher_is_better=not name.endswith("loss"))
            for name, values in curves.items()
            for epoch, value in enumerate(values, 1)
        ]
        report = Progress(first_epoch=1, epoch=EPOCHS, points=points, samples=1000, seconds=1.0)
        with database.write() as session:
            transitions.submit(session, [replace(new, queue=worker, uid=uuid4().hex)])
        with database.write() as session:
            claim = transitions.claim(session, worker, worker, os.getpid(), LEASE, {})
        assert claim is not None
        with database.write() as session:
            transitions.record(session, claim.run_id, claim.attempt, report, LEASE)
        with database.write() as session:
            transitions.finish(session, claim.run_id, claim.attempt, Outcome.COMPLETED)
    return FILLED / (time.perf_counter() - began)
