"""The service: how soon a run starts, how many may be submitted, how soon one ends, what it all costs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package

import argparse
import os
import random
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from benchmarks import bare, overhead, yards
from benchmarks.commands import PROGRAM, Command, timings
from benchmarks.report import (
    Budget,
    beside_budgets,
    circumstances,
    interruptible,
    paragraph,
    quantile,
    table,
    write_section,
)
from service.client import Client
from service.processes import spawn, stop, wait_until
from service.queue import celery_app
from service.settings import load_settings
from service.store import history
from service.store.database import Database
from service.store.schema import upgrade
from service.store.tables import State
from tests import servers

SECTIONS = {
    "start": "Service: submit to first step",
    "many": "Service: many runs",
    "cancel": "Service: cancel",
    "drain": "Service: drain",
    "cli": "Service: commands",
    "overhead": "Service: overhead",
}
MANY = 10_000  # runs by one command
CLEAR = 0.05  # where equal runs differ by a larger share, a ratio says nothing about 2 %


def milliseconds(values: Sequence[float]) -> list[str]:
    return [f"{1000 * quantile(values, share):.0f}" for share in (0.5, 0.99, 1)]


def first_step(client: Client, number: int) -> tuple[str, list[Budget]]:
    """Submits one after the other to an idle pool, until the only step of each is done."""
    folder = client.settings.home
    spec = folder / "tiny.yaml"
    returned, claimed, stepped, ended, pids = [], [], [], [], set()
    for _ in range(number):
        time.sleep(random.uniform(0.02, 0.3))  # out of step with every heartbeat
        before, began = yards.epochs_trained(folder), time.time()
        run = client.submit(spec)
        returned.append(time.time() - began)
        if not wait_until(lambda before=before: yards.epochs_trained(folder) > before, 60, 0.001):
            raise RuntimeError("no slot has counted an epoch")
        stepped.append(time.time() - began)
        run = client.wait(run.id, 60)
        (attempt,) = client.attempts(run.id)
        pids.add(attempt.pid)
        claimed.append(attempt.started.timestamp() - began)
        ended.append(run.finished.timestamp() - began if run.finished else float("nan"))
    stages = {
        "submit has returned": returned,
        "claimed by a slot (database clock)": claimed,
        "first step done": stepped,
        "completed, weights stored (database clock)": ended,
        "a bare Celery message, the same broker": bare_messages(client, number),
    }
    rows = [[name, *milliseconds(values)] for name, values in stages.items()]
    text = f"From the call of submit, {number} runs one after the other on an idle pool of two slots, ms:"
    middle, late = quantile(stepped, 0.5), quantile(stepped, 0.99)
    measured = f"p50 {1000 * middle:.0f} ms, p99 {1000 * late:.0f} ms"
    met = middle < 0.1 and late < 0.5
    slots = memory(pids)
    return f"{text}\n\n{table(['until', '>p50', '>p99', '>max'], rows)}", [
        ("submit → first step, idle pool", measured, "p50 < 100, p99 < 500 ms", met),
        ("memory of an idle slot", f"{slots:.0f} MiB", "< 120 MB", slots * 1.048576 < 120),
    ]


def memory(pids: set[int]) -> float:
    """The largest resident memory of these processes in MiB, what they share with their parent included."""
    sizes = [Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0] for pid in pids]
    return max(map(int, sizes)) / 1024


def bare_messages(client: Client, number: int) -> list[float]:
    """Seconds from send_task to the beginning of a task that does nothing, in a worker of its own."""
    stamps = client.settings.home / "stamps"
    stamps.touch()
    app, found = celery_app(client.settings.broker), []
    with bare_worker(client, stamps):
        for index in range(number + 1):
            time.sleep(random.uniform(0.02, 0.1))
            began = time.time()
            app.send_task(bare.TASK, [index], queue=bare.QUEUE)
            if not wait_until(lambda index=index: f"\n{index} " in "\n" + stamps.read_text(), 30, 0.002):
                raise RuntimeError("the bare Celery worker does not answer")
            found.append(float(stamps.read_text().splitlines()[-1].split()[1]) - began)
    return found[1:]  # the first one waited for the worker's start


@contextmanager
def bare_worker(client: Client, stamps: Path) -> Iterator[None]:
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "benchmarks.bare", "worker", "--concurrency", "2"]
    command += ["--queues", bare.QUEUE, "--without-gossip", "--without-mingle", "--without-heartbeat"]
    paths = {"TRAINYARD_HOME": str(client.settings.home), "BARE_STAMPS": str(stamps), "PYTHONPATH": str(yards.ROOT)}
    with (client.settings.home / "bare.log").open("wb") as log:
        process = spawn(command, env={**os.environ, **paths}, log=log)
        try:
            yield
        finally:
            stop(process, 10)


def many(client: Client, number: int) -> tuple[str, list[Budget]]:
    """Many submits: to a queue that nobody serves, cancelled again; then to the pool, until all are trained."""
    spec = client.settings.home / "tiny.yaml"
    parked, parking = timed(lambda: [client.submit(spec, queue="nobody").id for _ in range(number)])
    _, cancelling = timed(lambda: [client.cancel(run) for run in parked])
    if len(client.retry_all("queue = nobody")) != number:
        raise RuntimeError("the cancelled runs are not queued again")
    cancelled, at_once = timed(lambda: client.cancel_all("queue = nobody and state = queued"))
    if len(cancelled) != number:
        raise RuntimeError(f"{len(cancelled)} runs were cancelled")
    began = time.perf_counter()
    _, submitting = timed(lambda: [client.submit(spec) for _ in range(number)])
    if not wait_until(lambda: not busy(client), 600, 0.1):
        raise RuntimeError("the runs do not end")
    drained = time.perf_counter() - began
    failed = client.counts()[State.FAILED]
    rows = [
        [f"{number:,} submits, no slot serves the queue", f"{parking:.1f}", f"{number / parking:,.0f}"],
        [f"{number:,} cancels of waiting runs", f"{cancelling:.1f}", f"{number / cancelling:,.0f}"],
        [f"{number:,} cancels of waiting runs, by one expression", f"{at_once:.1f}", f"{number / at_once:,.0f}"],
        [f"{number:,} submits, two slots train meanwhile", f"{submitting:.1f}", f"{number / submitting:,.0f}"],
        ["from the first submit until all are trained", f"{drained:.1f}", f"{number / drained:,.0f}"],
    ]
    text = f"One process, one call of the client each, tiny runs; {failed} failed:"
    cancelled = 1000 * at_once / number
    grids, budgets = by_one_command()
    return f"{text}\n\n{table(['', '>s', '>a second'], rows)}\n\n{grids}", [
        *budgets,
        ("1,000 waiting runs cancelled, by one expression", f"{cancelled:.2f} s (scaled)", "< 1 s", cancelled < 1),
    ]


def by_one_command() -> tuple[str, list[Budget]]:
    """`trainyard submit --grid …` as a whole command, from an empty history of either database."""
    rows: list[list[object]] = []
    budgets: list[Budget] = []
    for name in ("SQLite", "PostgreSQL"):
        with ExitStack() as stack:
            folder = stack.enter_context(yards.home())
            server = stack.enter_context(servers.postgresql()).url if name == "PostgreSQL" else None
            database = Database(server or load_settings(home=folder).database)
            upgrade(database)
            times = [submit_grid(folder, database.url) for _ in range(3)]
            with database.read() as session:
                found = history.counts(session)[State.QUEUED]
            database.dispose()
            if found != MANY * len(times):
                raise RuntimeError(f"{found} runs are queued on {name}")
        rows.append([name, *(f"{seconds:.1f}" for seconds in times)])
        middle = statistics.median(times)
        budgets.append((f"{MANY:,} runs queued by one command, {name}", f"{middle:.1f} s", "< 10 s", middle < 10))
    text = (
        f"One command that queues {MANY:,} runs, a grid of 1,000 seeds and 10 learning rates over "
        "examples/digits.yaml, process start included; three times, s. No broker is up."
    )
    return f"{paragraph(text)}\n\n{table(['', '>first', '>second', '>third'], rows)}", budgets


def submit_grid(folder: Path, database: str) -> float:
    """Seconds of the command that submits the grid."""
    rates = ",".join(f"{0.001 * step:.3f}" for step in range(1, 11))
    grid = ["--grid", "seed=1..1000", "--grid", f"optimizer.adam.learning_rate={rates}"]
    command = [sys.executable, "-m", "service.cli", "--home", str(folder), "--database", database, "submit"]
    spec = str(yards.ROOT / "examples" / "digits.yaml")
    environment = {**os.environ, "PYTHONPATH": str(yards.ROOT)}
    began = time.perf_counter()
    done = subprocess.run([*command, spec, *grid], capture_output=True, check=False, env=environment, text=True)
    seconds = time.perf_counter() - began
    if not done.stdout.startswith(f"{MANY:,} runs queued"):
        raise RuntimeError(f"submit ended with {done.returncode}: {done.stderr}")
    return seconds


def busy(client: Client) -> bool:
    counts = client.counts()
    return counts[State.QUEUED] + counts[State.RUNNING] > 0


def timed(do: Callable[[], object]) -> tuple[object, float]:
    began = time.perf_counter()
    return do(), time.perf_counter() - began


def cancels(client: Client, number: int) -> tuple[str, list[Budget]]:
    """Runs that train, cancelled at some moment, until they have obeyed."""
    spec = client.settings.home / "long.yaml"
    spec.write_text(yards.SHORT_EPOCHS.replace("epochs: 1,", "epochs: 100000,"))
    returned, ended = [], []
    for _ in range(number):
        run = client.submit(spec)
        if not wait_until(lambda run=run: client.run(run.id).epoch > 0, 60):
            raise RuntimeError("the run to be cancelled does not start")
        time.sleep(random.uniform(0, 0.5))
        began = time.time()
        run = client.cancel(run.id)
        returned.append(time.time() - began)
        ended.append(run.finished.timestamp() - began if run.finished else float("inf"))
    stages = {"the run has ended, its work saved": ended, "Client.cancel has returned": returned}
    rows = [[name, *milliseconds(values)] for name, values in stages.items()]
    text = f"{number} training runs cancelled, from the call of cancel, ms:"
    late = quantile(returned, 0.99)
    measured = f"p50 {1000 * quantile(returned, 0.5):.0f} ms, p99 {1000 * late:.0f} ms"
    return f"{text}\n\n{table(['until', '>p50', '>p99', '>max'], rows)}", [
        ("cancel obeyed by a training run", measured, "p99 < 1 s", late < 1)
    ]


def drains(client: Client, number: int) -> tuple[str, list[Budget]]:
    """Workers told to stop in the middle of an epoch of some seconds, until the run waits for the next one."""
    folder = client.settings.home
    overhead.write_rows(folder)
    spec = folder / "drained.yaml"
    spec.write_text(yards.LONG_EPOCHS.replace("units: 256", "units: 1024").replace("units: 128", "units: 1024"))
    run, found = client.submit(spec, overrides=["train.epochs=1000"], queue="drained").id, []
    for index in range(number):
        with yards.worker(client, f"drained-{index}", "drained"):
            if not wait_until(lambda: client.run(run).state == "running", 60, 0.01):
                raise RuntimeError("the run to be drained does not start")
            time.sleep(random.uniform(1, 3))
            began = time.perf_counter()
            client.stop(f"drained-{index}")
            if not wait_until(lambda: client.run(run).state == "queued", 60, 0.01):
                raise RuntimeError("the run is not handed over")
            found.append(time.perf_counter() - began)
    epochs, attempts = client.run(run).epoch, client.attempts(run)
    client.cancel(run)
    text = (
        f"{number} workers stopped, each in the middle of an epoch of 784-1024-1024-10, from the call of stop until "
        f"the run was in its queue again, ms. {epochs} epochs were finished in all, in {len(attempts)} attempts."
    )
    rows = [["stop, until the run waits again", *milliseconds(found)]]
    return f"{paragraph(text)}\n\n{table(['', '>p50', '>p99', '>max'], rows)}", [
        ("drain of a slot in mid-epoch", f"max {max(found):.2f} s", "< 3 s", max(found) < 3)
    ]


def commands(number: int) -> tuple[str, list[Budget]]:
    """Wall time of whole commands, process start included."""
    with yards.home() as folder:
        (folder / "wrong.yaml").write_text(yards.UNKNOWN_KEY)
        every: dict[str, Command] = {
            "python -c pass": ([sys.executable, "-c", "pass"], 0),
            "trainyard --help": ([PROGRAM, "--help"], 0),
            "trainyard check, an unknown key": ([PROGRAM, "check", folder / "wrong.yaml"], 2),
        }
        times = timings(every, folder, number)
    rows = [[name, f"{statistics.median(values):.2f}", f"{max(values):.2f}"] for name, values in times.items()]
    medians = {name: statistics.median(values) for name, values in times.items()}
    text = f"Whole commands, {number} times in turns, s:"
    return f"{text}\n\n{table(['', '>median', '>max'], rows)}", [
        (name, f"{seconds:.2f} s", "< 0.3 s", seconds < 0.3)
        for name, seconds in medians.items()
        if name.startswith("trainyard")
    ]


def costs(seconds: float, pairs: int) -> tuple[str, list[Budget]]:
    found, ratios = overhead.compare(seconds, pairs)
    text = (
        f"The same spec of about {seconds:g} s directly (a fresh process, one BLAS thread, no yard) and through a "
        "yard, in turns, seconds. Training: inside nn.train. Whole: from claim to end, or from loading the spec "
        "to packed weights. CPU: of the training process, which the neighbours disturb less. Rest: CPU of all "
        "other processes of the yard."
    )
    return f"{paragraph(text)}\n\n{found}", [
        (f"overhead, {name}", f"{100 * (ratio - 1):+.1f} %", "< 2 %", None if noise > CLEAR else ratio < 1.02)
        for name, (ratio, noise) in ratios.items()
    ]


def measure(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The sections, one after the other."""
    wanted = options.only or list(SECTIONS)
    if {"start", "many", "cancel", "drain"} & set(wanted):
        with yards.home() as folder, yards.yard(folder) as client:
            (folder / "tiny.yaml").write_text(yards.TINY)
            client.wait(client.submit(folder / "tiny.yaml").id, 60)  # imports, the database's first pages
            if "start" in wanted:
                yield section("start", *first_step(client, options.submits))
            if "many" in wanted:
                yield section("many", *many(client, options.many))
            if "cancel" in wanted:
                yield section("cancel", *cancels(client, options.cancels))
            if "drain" in wanted:
                yield section("drain", *drains(client, options.drains))
    if "cli" in wanted:
        yield section("cli", *commands(options.commands))
    if "overhead" in wanted:
        yield section("overhead", *costs(options.overhead_seconds, options.pairs))


def section(name: str, text: str, budgets: list[Budget]) -> tuple[str, str]:
    return SECTIONS[name], "\n\n".join(
        [circumstances(["celery", "sqlalchemy", "numpy"]), beside_budgets(budgets), text]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submits", type=int, default=100, help="submits to an idle pool")
    parser.add_argument("--many", type=int, default=1000, help="submits without a pause")
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--drains", type=int, default=20)
    parser.add_argument("--commands", type=int, default=10)
    parser.add_argument("--overhead-seconds", type=float, default=60.0, help="how long the compared training takes")
    parser.add_argument("--pairs", type=int, default=3, help="of trainings without and with the service")
    parser.add_argument("--only", action="append", choices=SECTIONS, help="may be repeated")
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    options = parser.parse_args()
    with interruptible():
        for title, text in measure(options):
            print(f"## {title}\n\n{text}\n")
            if options.write:
                write_section(title, text)


if __name__ == "__main__":
    main()
