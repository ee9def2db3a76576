"""The store under many writers: how long a small write takes, alone and beside large ones, and whether all is there."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # before this folder, whose service.py is not the package

import argparse
import contextlib
import math
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from benchmarks import yards
from benchmarks.report import circumstances, interruptible, paragraph, quantile, table, write_section
from service.store import blobs, schema, transitions
from service.store.clock import after
from service.store.database import Database
from service.store.submissions import NewRun
from service.store.tables import Blob, Dataset, Metric, Outcome, Run
from service.store.transitions import Claim, LeaseLost, Point, Progress
from tests import servers

MIB = 2**20
LEASE = 60.0
METRICS = ("loss", "accuracy", "val_loss", "val_accuracy")
EPOCHS = 2000  # of one run; then the slot claims the next one
CHECKPOINT_SECONDS = 10.0
CHECKPOINTS = range(8 * MIB, 65 * MIB, MIB)  # the sizes of which one is drawn
LARGE = 200 * MIB  # what is staged again and again in the second half
PROMISE = 0.1  # seconds: what nobody shall wait because of a checkpoint that is staged
COMPUTING = 0.005  # seconds, about as long as a chunk takes
DATASET = "d" * 64


@dataclass
class Log:
    """What one process did: when each small write was wanted and how long it took, when each chunk had its turn and for
    how long, and what was written."""

    writes: list[tuple[float, float]] = field(default_factory=list)
    chunks: list[tuple[float, float]] = field(default_factory=list)
    staged: list[tuple[int, float]] = field(default_factory=list)  # bytes, seconds
    epochs: dict[int, int] = field(default_factory=dict)  # of each run
    errors: Counter[str] = field(default_factory=Counter)


class Watched(Database):
    """A database that notes when chunks have the turn, in which nobody else can write."""

    def __init__(self, url: str, log: Log) -> None:
        super().__init__(url)
        self.log = log

    @contextmanager
    def write(self, *, large: bool = False) -> Iterator[Session]:
        self.large = large
        with super().write(large=large) as session:
            yield session

    @contextmanager
    def turn(self) -> Iterator[None]:
        with super().turn():
            began = time.monotonic()
            yield
            if self.large and self.file is not None:
                self.log.chunks.append((began, time.monotonic() - began))


class Writer:
    """What a slot writes, without the training between."""

    def __init__(self, url: str, end: float) -> None:
        self.end, self.log = end, Log()
        self.database = Watched(url, self.log)

    @property
    def over(self) -> bool:
        return time.monotonic() > self.end

    def small(self, transition: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """One function of the store in a transaction of its own, as often as it takes."""

        def write() -> Any:
            with self.database.write() as session:
                return transition(session, *arguments, **named)

        began = time.monotonic()
        answer = self.until_done(write)
        self.log.writes.append((began, time.monotonic() - began))
        return answer

    def until_done(self, write: Callable[[], Any]) -> Any:
        while True:
            try:
                return write()
            except LeaseLost:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it is counted and shown
                self.log.errors[str(error)] += 1

    def stage(self, data: memoryview, between: Callable[[], None] = lambda: None) -> int:
        began = time.monotonic()
        blob_id = self.until_done(lambda: blobs.stage(self.database, bytes(data), between))
        self.log.staged.append((len(data), time.monotonic() - began))
        return int(blob_id)

    def remove(self, blob_id: int) -> None:
        self.until_done(lambda: blobs.remove(self.database, blob_id))


class Slot(Writer):
    def __init__(self, url: str, end: float) -> None:
        super().__init__(url, end)
        self.data = memoryview(os.urandom(CHECKPOINTS[-1]))
        self.save_at = time.monotonic() + random.uniform(0, CHECKPOINT_SECONDS)

    def run(self) -> Log:
        while not self.over:
            self.small(transitions.submit, [NewRun("load", {}, DATASET, EPOCHS, max_attempts=1)])
            claim = self.small(transitions.claim, "default", "bench", os.getpid(), LEASE, {})
            self.train(claim)
            self.small(transitions.finish, claim.run_id, claim.attempt, Outcome.COMPLETED)
        self.database.dispose()
        return self.log

    def train(self, claim: Claim) -> None:
        kept = None
        for epoch in range(1, EPOCHS + 1):
            if self.over:
                break
            points = [Point(name, epoch, value_of(epoch), name.endswith("accuracy")) for name in METRICS]
            self.record(claim, Progress(1, epoch, points, samples=epoch * 100, seconds=epoch * 0.1))
            self.log.epochs[claim.run_id] = epoch
            if time.monotonic() > self.save_at:
                kept = self.save(claim, kept)
                self.save_at = time.monotonic() + CHECKPOINT_SECONDS
        if kept is not None:
            self.record(claim, Progress(checkpoint_id=self.stage(self.data[:MIB])))
            self.remove(kept)

    def record(self, claim: Claim, progress: Progress) -> None:
        self.small(transitions.record, claim.run_id, claim.attempt, progress, LEASE)

    def save(self, claim: Claim, replaced: int | None) -> int:
        """As a keeper does: stage, renewing the lease between two chunks now and then, point at it, remove."""
        renewed = time.monotonic()

        def renew() -> None:
            nonlocal renewed
            if time.monotonic() - renewed > 0.2:
                self.record(claim, Progress())
                renewed = time.monotonic()

        blob_id = self.stage(self.data[: random.choice(CHECKPOINTS)], renew)
        self.record(claim, Progress(checkpoint_id=blob_id))
        if replaced is not None:
            self.remove(replaced)
        return blob_id


class Stager(Writer):
    """Stages large bytes, loads and removes them, again and again."""

    def run(self) -> Log:
        data = memoryview(os.urandom(LARGE))
        while not self.over:
            blob_id = self.stage(data)
            with self.database.read() as session:
                blobs.load(session, blob_id)
            self.remove(blob_id)
        self.database.dispose()
        return self.log


def value_of(epoch: int) -> float:
    return float(epoch % 1000)


_all_ready: Barrier


def _expect(barrier: Barrier) -> None:
    global _all_ready
    _all_ready = barrier


def slot(url: str, seconds: float) -> Log:
    Slot(url, time.monotonic() + 0.1).run()  # imports, statements that are compiled
    _all_ready.wait()
    return Slot(url, time.monotonic() + seconds).run()


def stager(url: str, after_seconds: float, seconds: float) -> Log:
    _all_ready.wait()
    time.sleep(after_seconds)
    return Stager(url, time.monotonic() + seconds).run()


def machine(seconds: float) -> Log:
    """How much longer 5 ms of computing take: what of a wait is due to the machine, which all these share."""
    log = Log()
    _all_ready.wait()
    end = time.monotonic() + seconds
    while (began := time.monotonic()) < end:
        computing = time.thread_time() + COMPUTING
        while time.thread_time() < computing:
            pass
        log.writes.append((began, time.monotonic() - began - COMPUTING))
        time.sleep(0.1)
    return log


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[Database]:
    """A database with nothing in it but a dataset to point at."""
    with contextlib.ExitStack() as stack:
        if kind == "sqlite":
            database = Database(f"sqlite:///{folder / 'trainyard.db'}")
        else:
            database = Database(stack.enter_context(servers.postgresql()).url)
        schema.upgrade(database)
        with database.write() as session:
            blob = Blob(sha256="0" * 64, size=0, touched=after(1e9))
            session.add(blob)
            session.flush()
            session.add(Dataset(sha256=DATASET, source="made up", schema={}, blob_id=blob.id))
        yield database
        database.dispose()


@dataclass(frozen=True)
class Loads:
    """What all did, when the stager began, and the longest log that SQLite had, in bytes."""

    slots: list[Log]
    stager: Log
    machine: Log
    middle: float
    longest: int


def load(database: Database, number: int, seconds: float) -> Loads:
    """All at once, once all are ready."""
    context, longest = get_context("spawn"), 0
    barrier = context.Barrier(number + 3, timeout=120)
    with ProcessPoolExecutor(number + 2, mp_context=context, initializer=_expect, initargs=(barrier,)) as pool:
        large = pool.submit(stager, database.url, seconds / 2, seconds / 2)
        late = pool.submit(machine, seconds)
        slots = [pool.submit(slot, database.url, seconds) for _ in range(number)]
        barrier.wait()
        middle = time.monotonic() + seconds / 2
        while not all(future.done() for future in [*slots, large, late]):
            longest = max(longest, size_of_log(database))
            time.sleep(0.2)
        return Loads([future.result() for future in slots], large.result(), late.result(), middle, longest)


def size_of_log(database: Database) -> int:
    if database.file is None:
        return 0
    log = Path(f"{database.file}-wal")
    return log.stat().st_size if log.exists() else 0


def wrong_runs(database: Database, logs: list[Log]) -> int:
    """How many runs have not each of their metrics once for each epoch, with the value that was written."""
    with database.read() as session:
        rows = session.execute(
            select(Metric.run_id, Metric.name, func.count(), func.min(Metric.epoch), func.max(Metric.epoch),
                   func.sum(Metric.value)).group_by(Metric.run_id, Metric.name)
        ).all()  # fmt: skip
        ended = dict(session.execute(select(Run.id, Run.epoch)).all())
    found = {(run, name): tuple(figures) for run, name, *figures in rows}
    expected = {run: epochs for log in logs for run, epochs in log.epochs.items()}
    right = {
        run
        for run, epochs in expected.items()
        if ended.get(run) == epochs
        and all(
            found.get((run, name)) == (epochs, 1, epochs, sum(map(value_of, range(1, epochs + 1)))) for name in METRICS
        )
    }
    return len(expected) - len(right)


def integrity(database: Database) -> str:
    if database.file is None:
        return "not asked"
    with database.read() as session:
        return "; ".join(session.scalars(text("PRAGMA integrity_check")))


def line(name: str, waits: Sequence[float], seconds: float) -> list[str]:
    figures = [f"{1000 * quantile(waits, share):.1f}" for share in (0.5, 0.99, 0.999, 1)]
    return [name, f"{len(waits) / seconds:,.0f}", *figures, f"{sum(each > PROMISE for each in waits):,}"]


def waits(logs: list[Log], begin: float, end: float) -> list[float]:
    return [spent for log in logs for began, spent in log.writes if begin <= began < end]


def behind_chunks(done: Loads) -> list[float]:
    """Of each small write, the seconds in which a chunk had the turn."""
    chunks = np.array(sorted(chunk for log in [*done.slots, done.stager] for chunk in log.chunks))
    writes = np.array([write for log in done.slots for write in log.writes])
    moments = chunks.cumsum(axis=1).ravel()  # begin and end of each: no two have the turn at once
    had = np.insert(chunks[:, 1].cumsum(), 0, 0.0).repeat(2)[1:-1]  # how long chunks have had it until then
    begun, ended = (np.interp(each, moments, had) for each in (writes[:, 0], writes.sum(axis=1)))
    return list(ended - begun)


def measure(kind: str, number: int, seconds: float) -> str:
    with yards.home() as folder, database_of(kind, folder) as database:
        done = load(database, number, seconds)
        wrong, sound = wrong_runs(database, done.slots), integrity(database)
    halves = (0.0, done.middle), (done.middle, math.inf)
    names = (f"{number} slots", "the same, and 200 MiB staged")
    rows = [line(name, waits(done.slots, *half), seconds / 2) for name, half in zip(names, halves, strict=True)]
    small, chunks = waits(done.slots, 0, math.inf), behind_chunks(done) if kind == "sqlite" else []
    if chunks:
        rows.append(line("of all that, behind chunks", chunks, seconds))
    rows.append(line("5 ms of computing, beyond them", waits([done.machine], 0, math.inf), seconds))
    errors = sum((log.errors for log in [*done.slots, done.stager]), Counter[str]())
    locked = sum(times for error, times in errors.items() if "locked" in error)
    budgets = [
        ['"database is locked"', str(locked), "0", verdict(not locked)],
        ["other errors", str(errors.total() - locked), "0", verdict(errors.total() == locked)],
        ["runs with a metric missing, doubled or wrong", str(wrong), "0", verdict(not wrong)],
        ["longest wait of a small write", f"{1000 * max(small):.0f} ms", "none", ""],
    ]
    if chunks:  # on PostgreSQL nobody waits for a chunk
        budgets += [
            ["of one wait, behind chunks", f"{1000 * max(chunks):.0f} ms", "< 100 ms", verdict(max(chunks) < PROMISE)],
            ["PRAGMA integrity_check", sound, "ok", verdict(sound == "ok")],
        ]
    head = ["", ">a second", ">p50", ">p99", ">p99.9", ">max", f">> {1000 * PROMISE:.0f} ms"]
    return "\n\n".join([
        circumstances(["sqlalchemy"]), table(["", "measured", "budget", ""], budgets),
        paragraph(described(number, seconds)), table(head, rows), paragraph(beside(kind, done)),
        *(f"- {times} × {error}" for error, times in errors.most_common(5)),
    ])  # fmt: skip


def described(number: int, seconds: float) -> str:
    return (
        f"{number} processes write as slots do, without any training between: {len(METRICS)} metrics and the lease in "
        f"each small write, and every {CHECKPOINT_SECONDS:g} s a checkpoint of {CHECKPOINTS[0] // MIB} to "
        f"{CHECKPOINTS[-1] // MIB} MiB, the replaced one removed. In the second half of {seconds:g} s another process "
        "stages 200 MiB, loads and removes them, again and again. From wanting to write until committed, ms:"
    )


def beside(kind: str, done: Loads) -> str:
    speeds = [size / spent / MIB for log in done.slots for size, spent in log.staged if size > MIB]
    large = [spent for _, spent in done.stager.staged]
    log = f"; SQLite's log had at most {done.longest / MIB:.0f} MiB" if kind == "sqlite" else ""
    return (
        f"{sum(len(log.epochs) for log in done.slots)} runs, {len(speeds)} checkpoints at "
        f"{quantile(speeds, 0.5):.0f} MiB/s (median); 200 MiB staged {len(large)} times, in {quantile(large, 0.5):.1f} "
        f"s (median){log}."
    )


def verdict(met: bool) -> str:
    return "met" if met else "NOT met"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--write", action="store_true", help="write the section of RESULTS.md")
    options = parser.parse_args()
    title = f"Store: many writers, {'SQLite' if options.database == 'sqlite' else 'PostgreSQL'}"
    with interruptible():
        found = measure(options.database, options.slots, options.seconds)
        print(f"## {title}\n\n{found}\n")
        if options.write:
            write_section(title, found)


if __name__ == "__main__":
    main()
