"""The history: how soon it answers with a hundred thousand runs in it, how fast it grows; beside MLflow and Optuna."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package

import argparse
import shlex
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import histories, pages, points, rivalry, yards
from benchmarks.commands import PROGRAM, Command, timings
from benchmarks.report import (
    Budget,
    beside_budgets,
    circumstances,
    interruptible,
    paragraph,
    table,
    write_section,
)
from service.client import Client
from service.store import schema
from service.store.database import Database
from tests import servers

SECTIONS = {
    "bulk": "History: written in bulk",
    "pages": "History: pages",
    "command": "History: commands",
    "compare": "History: twenty runs compared",
    "points": "History: points per second",
    "mlflow": "History: beside MLflow",
    "optuna": "History: beside Optuna",
}
EPOCHS = 20
COMPARED = 20  # runs


@dataclass(frozen=True)
class Yard:
    """A client for each database, and how many seconds its history took to be written."""

    folder: Path
    clients: dict[str, Client]
    written: dict[str, float]


@contextmanager
def prepared(runs: int) -> Iterator[Yard]:
    """The same history in both databases."""
    with yards.home() as folder, servers.postgresql() as server:
        clients = {
            "SQLite": Client(home=folder),
            "PostgreSQL": Client(home=folder, database_url=server.url),
        }
        written = {}
        for name, client in clients.items():
            database = Database(client.settings.database)
            schema.upgrade(database)
            began = time.perf_counter()
            histories.write(database, runs, EPOCHS)
            written[name] = time.perf_counter() - began
            database.dispose()
        yield Yard(folder, clients, written)
        for client in clients.values():
            client.database.dispose()


def bulk(yard: Yard, runs: int) -> tuple[str, list[Budget]]:
    number = runs * len(histories.METRICS) * EPOCHS
    rows = [
        [name, f"{seconds:.0f}", f"{runs / seconds:,.0f}", f"{number / seconds:,.0f}"]
        for name, seconds in yard.written.items()
    ]
    text = (
        f"{runs:,} runs with {number:,} points, and with specs, their keys, tags, attempts and summaries, by "
        f"{histories.AT_ONCE:,} runs in a transaction of one process, making them up included:"
    )
    return f"{paragraph(text)}\n\n{table(['', '>seconds', '>runs a second', '>points a second'], rows)}", []


FITTING = "val_accuracy > 0.8 and optimizer = adam"


def commands(yard: Yard, number: int) -> tuple[str, list[Budget]]:
    """Whole commands on either database."""
    plain: list[str | Path] = [PROGRAM, "runs", "list"]
    every: dict[str, Command] = {
        "runs list": (plain, 0),
        "runs list --where --sort": ([*plain, "--where", FITTING, "--sort", "best(val_loss)"], 0),
        "runs list --columns": ([*plain, "--columns", "id, name, optimizer, train.epochs, best(val_loss)"], 0),
        "runs best": ([PROGRAM, "runs", "best", "--metric", "val_accuracy", "--where", FITTING], 0),
        "runs show": ([PROGRAM, "runs", "show", "7"], 0),
    }
    rows, budgets = [], []
    for name, client in yard.clients.items():
        places = {"TRAINYARD_HOME": str(yard.folder), "TRAINYARD_DATABASE_URL": client.settings.database}
        times = timings(every, yard.folder, number, **places)
        for command, values in times.items():
            rows.append([f"{command}, {name}", f"{statistics.median(values):.2f}", f"{max(values):.2f}"])
        slowest = max(statistics.median(times[command]) for command in times if command.startswith("runs list"))
        budgets.append((f"`runs list`, {name}", f"{slowest:.2f} s", "< 0.6 s", slowest < 0.6))
    text = f"Whole commands, {number} times in turns, s:"
    return f"{text}\n\n{table(['', '>median', '>max'], rows)}", budgets


def compare(yard: Yard, runs: int, turns: int) -> tuple[str, list[Budget]]:
    """Runs from all over the history, with what differs and their curves."""
    rows, budgets = [], []
    for name, client in yard.clients.items():
        client.compare([1, 2])  # what is loaded at its first use
        times = []
        for turn in range(turns):
            ids = list(range(1 + turn, runs + 1, max(1, runs // COMPARED)))[:COMPARED]
            began = time.perf_counter()
            client.compare(ids)
            times.append(time.perf_counter() - began)
        middle = statistics.median(times)
        rows.append([name, f"{1000 * middle:.0f}", f"{1000 * max(times):.0f}"])
        budgets.append((f"{COMPARED} runs compared, {name}", f"{1000 * middle:.0f} ms", "< 200 ms", middle < 0.2))
    text = f"{COMPARED} runs from all over the history, other ones each time, {turns} times, ms:"
    return f"{text}\n\n{table(['', '>median', '>max'], rows)}", budgets


def measure(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The sections, one after the other; those that write come last."""
    wanted = options.only or list(SECTIONS)
    rivals = {"mlflow": (rivalry.mlflow, options.mlflow_python), "optuna": (rivalry.optuna, options.optuna_python)}
    with prepared(options.runs) as yard:
        if "bulk" in wanted:
            yield section("bulk", *bulk(yard, options.runs))
        if "pages" in wanted:
            yield section("pages", *pages.measure(yard.clients, options.turns))
        if "command" in wanted:
            yield section("command", *commands(yard, options.commands))
        if "compare" in wanted:
            yield section("compare", *compare(yard, options.runs, options.commands))
        if "points" in wanted:
            yield section("points", *points.measure(yard.clients, options.seconds))
        for name, (rival, python) in rivals.items():
            if name in wanted and python is None:
                print(f"{name} is skipped: --{name}-python PYTHON names a Python that has it\n", file=sys.stderr)
            elif name in wanted:
                yield section(name, *rival(python, yard.clients["SQLite"], options.rival_runs, yard.folder))


def section(name: str, text: str, budgets: list[Budget]) -> tuple[str, str]:
    command = shlex.join(["python", "benchmarks/history.py", *map(_without_place, sys.argv[1:])])
    parts = [circumstances(["sqlalchemy", "psycopg"], command), *([beside_budgets(budgets)] if budgets else []), text]
    return SECTIONS[name], "\n\n".join(parts)


def _without_place(word: str) -> str:
    """A word of the command line as it may be shown: where a program is concerns nobody."""
    return Path(word).name if "/" in word else word


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=100_000, help="in the history, with 100 points each")
    parser.add_argument("--turns", type=int, default=3, help="how often each page is asked for")
    parser.add_argument("--commands", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0, help="of recording points, for each size of a report")
    parser.add_argument("--rival-runs", type=int, default=2000, help="in the rivals' histories")
    parser.add_argument("--mlflow-python", metavar="PATH", help="a Python that has MLflow; without it is left out")
    parser.add_argument("--optuna-python", metavar="PATH", help="a Python that has Optuna; without it is left out")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be repeated")
    parser.add_argument("--write", action="store_true", help="write the sections of RESULTS.md")
    options = parser.parse_args()
    with interruptible():
        for title, text in measure(options):
            print(f"## {title}\n\n{text}\n", flush=True)
            if options.write:
                write_section(title, text)


if __name__ == "__main__":
    main()
