"""`python -m tests.chaos.stress`: a machine at full load, default settings, no fault: nobody may be taken for dead."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Double, func, select, type_coerce

from benchmarks.report import circumstances, interruptible, paragraph, table, write_section
from service.processes import spawn, stop
from service.store.clock import now
from service.store.database import Database
from service.store.tables import Attempt, Run, State
from tests.chaos import workload
from tests.chaos.findings import Findings
from tests.chaos.trial import DEFAULTS, GRACE
from tests.chaos.watcher import Watcher
from tests.chaos.workload import Feeder
from tests.chaos.yards import ChaosYard, chaos_yard
from tests.servers import eventually

SPINNERS = 2  # for each core, beside as many runs as there are slots
LAST_RUNS = 600.0  # the load goes on until they have ended


@contextmanager
def load(number: int) -> Iterator[None]:
    """So many processes that do nothing but take time."""
    spinners = [spawn([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for spinner in spinners:
            stop(spinner, 5)


def least_left(database: Database) -> float:
    """Seconds of the lease that ends first; negative when it has."""
    left = type_coerce(func.min(Run.lease_until), Double) - type_coerce(now(), Double)
    with database.read() as session:
        found = session.scalar(select(left).where(Run.state == State.RUNNING))
    return float("inf") if found is None else float(found)


def under_load(there: ChaosYard, minutes: float, spinners: int, findings: Findings) -> list[list[str]]:
    database, least = there.client.database, float("inf")
    watcher = Watcher(database, findings)

    def full() -> bool:
        return watcher.states["queued"] + watcher.states["running"] >= 4

    began = time.monotonic()
    with watcher, load(spinners):
        with Feeder(there, workload.cases(0.5, seeds=2), 1, full, findings) as feeder:
            while time.monotonic() - began < 60 * minutes and not findings:
                there.look()
                least = min(least, least_left(database))
                time.sleep(0.2)
        eventually(lambda: findings or not watcher.states["queued"] + watcher.states["running"], LAST_RUNS, every=0.5)
        average = os.getloadavg()[0]
    attempts = judge(there, findings)
    return [
        ["minutes", f"{(time.monotonic() - began) / 60:.1f}"],
        ["processes that only take time", f"{spinners}"],
        ["load average at the end", f"{average:.1f}"],
        ["runs", f"{feeder.submitted}"],
        ["attempts, all of them completed", f"{attempts}"],
        ["the least that was left of a lease", f"{least:.1f} of {DEFAULTS['lease_seconds']} s"],
        ["longest submit", f"{feeder.longest:.1f} s"],
    ]


def judge(there: ChaosYard, findings: Findings) -> int:
    with there.client.database.read() as session:
        attempts: Sequence[Attempt] = session.scalars(select(Attempt)).all()
    for one in attempts:
        if one.outcome != "completed":
            findings.add(f"run {one.run_id}: attempt {one.number} on {one.worker}: {one.outcome}: {one.reason}")
    for kept in there.kept.values():
        if kept.ends:
            findings.add(f"{kept.name} has ended by itself with {kept.ends}")
    return len(attempts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.stress", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--spinners", type=int, default=SPINNERS * (os.cpu_count() or 1))
    parser.add_argument("--write", action="store_true", help="write the section of benchmarks/RESULTS.md")
    options = parser.parse_args()
    findings = Findings()
    with interruptible(), chaos_yard(options.database, **DEFAULTS) as there:
        rows = under_load(there, options.minutes, options.spinners, findings)
        for name in there.stop_all(GRACE):
            findings.add(f"{name} has not ended {GRACE:g} s after it was told to stop")
        if findings:
            print(there.log())
    facts = circumstances(["celery", "sqlalchemy", "numpy"], f"python -m tests.chaos.stress {' '.join(sys.argv[1:])}")
    text = f"{facts}\n\n{paragraph('No fault but a full machine, default settings:')}\n\n{table(['', ''], rows)}"
    print(text)
    if options.write and not findings:
        write_section("Chaos: a full machine", text)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
