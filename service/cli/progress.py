"""Following a run in the terminal: a bar by epoch, or lines where there is no terminal."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING

from service.display import duration, judged_by, number, thousands

if TYPE_CHECKING:
    from service.client import Client
    from service.store.records import RunRecord

LINE_SECONDS = 1.0  # between two lines
SHORT = {"accuracy": "acc"}


def follow(client: Client, run_id: int) -> RunRecord:
    """Show the run on stderr until it has ended, and return it. Raises NoSuchRun before anything is shown."""
    client.run(run_id)
    return _bar(client, run_id) if sys.stderr.isatty() else _lines(client, run_id)


def _lines(client: Client, run_id: int) -> RunRecord:
    """A line for an epoch, and at most one a second; the last epoch is always told."""
    shown, told = 0, -math.inf
    for run in client.watch(run_id):
        due = time.monotonic() - told >= LINE_SECONDS or run.state != "running"
        if run.epoch > shown and due and (epochs := client.history(run_id, after_epoch=run.epoch - 1)):
            last = epochs[-1]
            values = " ".join(f"{name} {number(last[name])}" for name in _shown(run) if name in last)
            print(f"epoch {last['epoch']}/{run.epochs} {values}", file=sys.stderr)
            shown, told = last["epoch"], time.monotonic()
        if run.state == "paused":
            print(client.why(run_id), file=sys.stderr)
    return run


def _bar(client: Client, run_id: int) -> RunRecord:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[facts]}"))
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        task = progress.add_task("waiting", total=None, facts="")
        for run in client.watch(run_id):
            if run.state == "queued":
                progress.update(task, description="waiting", facts=_reason(client, run_id))
                continue
            if run.state == "paused":
                progress.update(task, description="paused", facts=f"`trainyard runs resume {run_id}` lets it go on")
                continue
            description = f"epoch {run.epoch}/{run.epochs}"
            total = run.epoch if run.state.ended else run.epochs
            progress.update(task, description=description, total=total, completed=run.epoch, facts=_facts(client, run))
    return run


def _reason(client: Client, run_id: int) -> str:
    return client.why(run_id).removeprefix(f"run {run_id} waits").lstrip(": ")


def _facts(client: Client, run: RunRecord) -> str:
    """Loss, validation loss, accuracy, samples a second and the time left, in at most 60 columns."""
    names = {name: short for name, short in _shown(run).items() if name in run.metrics}
    facts = [f"{short} {number(run.metrics[name].last)}" for name, short in names.items()]
    attempt = client.attempts(run.id)[-1]
    if attempt.seconds and attempt.epoch:
        facts.append(f"{thousands(attempt.samples / attempt.seconds)}/s")
        done = attempt.epoch - (attempt.first_epoch or 1) + 1
        if not run.state.ended and done > 0:
            facts.append(f"{duration(attempt.seconds / done * (run.epochs - run.epoch))} left")
    return " ".join(facts)


def _shown(run: RunRecord) -> dict[str, str]:
    """The losses and, on validation, the metric that counts, with the words for a narrow line."""
    judge = judged_by(run)
    metric = {} if judge == "loss" else {f"val_{judge}": SHORT.get(judge, judge)}
    return {"loss": "loss", "val_loss": "val"} | metric
