"""What MLflow and Optuna take for a history in SQLite. `history.py` runs this with a Python that has them.

    python -P rival_histories.py mlflow RUNS.jsonl     prints seconds and rates as JSON

A line of the file is a run: name, params, tags, and the values of each metric, epoch by epoch.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

TURNS = 5  # of each question; the median counts
PAGE = 20
SEARCHES = {  # the names are those of `history.QUESTIONS`
    "newest": ("", []),
    "by a metric": ("", ["metrics.val_loss ASC"]),
    "metric > x, by the metric": ("metrics.val_accuracy > 0.8", ["metrics.val_accuracy DESC"]),
    "a parameter, newest": ("params.optimizer = 'sgd'", []),
    "a tag, by a metric": ("tags.paper = '1'", ["metrics.val_loss ASC"]),
    "metric, parameter and tag, by a metric": (
        "metrics.val_accuracy > 0.7 and params.optimizer = 'adam' and tags.paper = '1'",
        ["metrics.val_loss ASC"],
    ),
}


def mlflow(runs: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    client = mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.create_experiment("history", artifact_location=str(folder / "artifacts"))

    def fill(run: dict[str, Any]) -> None:
        """Everything in one batch, its fastest way."""
        new = client.create_run(experiment, run_name=run["name"]).info.run_id
        metrics = [
            Metric(name, value, 0, step) for name, values in run["curves"].items() for step, value in enumerate(values)
        ]
        params = [Param(name, str(value)) for name, value in run["params"].items()]
        client.log_batch(new, metrics, params, [RunTag(tag, "1") for tag in run["tags"]])
        client.set_terminated(new)

    filling = seconds(lambda: [fill(run) for run in runs])

    def search(where: str, order: list[str]) -> Any:
        return client.search_runs([experiment], where, order_by=order, max_results=PAGE)

    searches = {name: asked(lambda question=question: search(*question)) for name, question in SEARCHES.items()}
    single, batches = client.create_run(experiment).info.run_id, client.create_run(experiment).info.run_id
    one_by_one = seconds(lambda: [client.log_metric(single, "loss", 0.5, step=step) for step in range(200)])
    points = [[Metric("loss", 0.5, 0, 1000 * batch + step) for step in range(1000)] for batch in range(10)]
    batched = seconds(lambda: [client.log_batch(batches, batch) for batch in points])
    return {
        "version": mlflow.__version__,
        "fill": len(runs) / filling,
        "searches": searches,
        "single": 200 / one_by_one,
        "batched": 10_000 / batched,
    }


def optuna(runs: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{folder / 'optuna.db'}"
    study = optuna.create_study(storage=url, study_name="history")
    places = {
        "learning_rate": optuna.distributions.FloatDistribution(1e-6, 1, log=True),
        "optimizer": optuna.distributions.CategoricalDistribution(["adam", "sgd", "rmsprop"]),
        "batch_size": optuna.distributions.CategoricalDistribution([16, 32, 64, 128]),
    }

    def trial(run: dict[str, Any]) -> Any:
        return optuna.trial.create_trial(
            params={name: run["params"][name] for name in places},
            distributions=places,
            value=min(run["curves"]["val_loss"]),
            intermediate_values=dict(enumerate(run["curves"]["val_loss"])),
            user_attrs={"tags": run["tags"]},
        )

    filling = seconds(lambda: [study.add_trial(trial(run)) for run in runs])

    def again() -> Any:
        """As a program that has just been started sees it: the storage keeps what it has read."""
        return optuna.load_study(storage=url, study_name="history")

    return {
        "version": optuna.__version__,
        "fill": len(runs) / filling,
        "frame": asked(lambda: again().trials_dataframe()),
        "best": asked(lambda: again().best_trial),
    }


def seconds(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def asked(question: Callable[[], object]) -> float:
    return median(seconds(question) for _ in range(TURNS))


def main() -> None:
    rival, file = {"mlflow": mlflow, "optuna": optuna}[sys.argv[1]], Path(sys.argv[2])
    runs = [json.loads(line) for line in file.read_text().splitlines()]
    with tempfile.TemporaryDirectory(prefix="trainyard-bench-") as folder:
        print(json.dumps(rival(runs, Path(folder))))


if __name__ == "__main__":
    main()
