"""Points per second: processes that record as slots do, with nothing between two reports."""

from __future__ import annotations

import math
import os
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier

from sqlalchemy import func, select

from benchmarks.histories import DATASET, METRICS
from benchmarks.report import Budget, paragraph, table
from service.client import Client
from service.store import transitions
from service.store.database import Database
from service.store.submissions import NewRun
from service.store.tables import Metric, Outcome, Run, StepMetric
from service.store.transitions import Claim, Point, Progress
from workers.keeper import Keeper

PROCESSES = 4
LEASE = 60.0
QUEUE = "points"
BATCHES = (1, 100, 1000, 5000)  # points in one report; a slot sends one a second, or for each epoch that takes longer
BUDGETS = {"SQLite": 20_000, "PostgreSQL": 50_000}
STEPS = 200_000  # of a run that logs each
EPOCHS = 20_000  # of one run; then a process goes on with the next one


def measure(clients: dict[str, Client], seconds: float) -> tuple[str, list[Budget]]:
    rows, budgets = [], []
    for name, client in clients.items():
        rates = [rate(client.database, batch, seconds) for batch in BATCHES]
        rows.append([name, *(f"{one:,.0f}" for one in rates)])
        budget = BUDGETS[name]
        measured = f"{rates[-1]:,.0f} a second"
        budgets.append((f"points stored, {name}", measured, f"≥ {budget:,} a second", rates[-1] >= budget))
    head = ["points in a report", *(f">{batch:,}" for batch in BATCHES)]
    text = (
        f"{PROCESSES} processes that do nothing but record, {seconds:g} s for each size of a report, points a second "
        f"of all of them. Each report is a fenced transaction of its own, with {len(METRICS)} metrics, their last and "
        "best values and the lease:"
    )
    return f"{paragraph(text)}\n\n{table(head, rows)}", budgets


def rate(database: Database, batch: int, seconds: float, processes: int = PROCESSES) -> float:
    """Points a second, of so many processes that begin together; each point is counted in the store at the end."""
    context = get_context("spawn")
    before = count(database)
    with ProcessPoolExecutor(processes, context, _meet, (context.Barrier(processes),)) as pool:
        done = list(pool.map(record, *zip(*[(database.url, batch, seconds)] * processes, strict=True)))
    written = count(database) - before
    if written != sum(points for points, _ in done):
        raise RuntimeError(f"{sum(points for points, _ in done)} points were recorded, {written} are there")
    return sum(points / took for points, took in done)


_together: Barrier


def _meet(barrier: Barrier) -> None:
    global _together
    _together = barrier


def record(url: str, batch: int, seconds: float) -> tuple[int, float]:
    """Record for so long; returns how many points, and the seconds that it took."""
    database, points = Database(url), 0
    claim, epoch = _claim(database), 0
    _together.wait(60)
    began = time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        if epoch >= EPOCHS:
            _finish(database, claim)
            claim, epoch = _claim(database), 0
        report = _report(epoch, batch)
        with database.write() as session:
            transitions.record(session, claim.run_id, claim.attempt, report, LEASE)
        points, epoch = points + len(report.points), report.epoch
    _finish(database, claim)
    database.dispose()
    return points, took


def logging(database: Database) -> float:
    """Points a second of a training that logs each of its steps and does nothing else, until the last is stored."""
    claim = _claim(database)
    with Keeper(database, claim, LEASE) as keeper:
        began = time.perf_counter()
        for step in range(1, STEPS + 1):
            keeper.log(step, {"loss": 0.5})
    took = time.perf_counter() - began
    with database.read() as session:
        stored = session.scalar(select(func.count()).where(StepMetric.run_id == claim.run_id))
    if stored != STEPS:
        raise RuntimeError(f"{STEPS} points were logged, {stored} are there")
    _finish(database, claim)
    return STEPS / took


def _claim(database: Database) -> Claim:
    """A new run, and a claim on one of those there are: processes may have each other's."""
    new = NewRun("points", {}, DATASET, EPOCHS, max_attempts=1, queue=QUEUE)
    with database.write() as session:
        transitions.submit(session, [new])
    with database.write() as session:
        claim = transitions.claim(session, QUEUE, f"bench-{os.getpid()}", os.getpid(), LEASE, {})
    assert claim is not None
    return claim


def _finish(database: Database, claim: Claim) -> None:
    with database.write() as session:
        transitions.finish(session, claim.run_id, claim.attempt, Outcome.COMPLETED)


def _report(epoch: int, batch: int) -> Progress:
    """The next epochs, as a training would have measured them."""
    names = METRICS[: min(batch, len(METRICS))]
    epochs = range(epoch + 1, epoch + 1 + batch // len(names))
    points = [
        Point(name, at, math.exp(-at / EPOCHS), higher_is_better=not name.endswith("loss"))
        for at in epochs
        for name in names
    ]
    return Progress(first_epoch=1, epoch=epochs[-1], points=points, samples=1000 * epochs[-1], seconds=0.01 * epoch)


def count(database: Database) -> int:
    with database.read() as session:
        ours = select(Run.id).where(Run.queue == QUEUE)
        return session.scalar(select(func.count()).select_from(Metric).where(Metric.run_id.in_(ours))) or 0
