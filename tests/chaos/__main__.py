"""`python -m tests.chaos`: break a yard in every way that is known, by a seeded schedule, and see that nothing is lost.

python -m tests.chaos                                   both databases, ten minutes each
python -m tests.chaos --short --seed 1                  about a minute each, with short leases
python -m tests.chaos --database sqlite --seed 7        what was printed at the start of an earlier trial
"""

from __future__ import annotations

import argparse
import os
import random
import sys

from benchmarks.report import circumstances, interruptible, write_section
from tests.chaos import report, trial
from tests.chaos.faults import FAULTS
from tests.chaos.trial import Outcome, Plan
from tests.chaos.workload import Result

MINUTES, SHORT_MINUTES = 10.0, 0.75
FAULTS_A_MINUTE, SHORT_FAULTS_A_MINUTE = 6.0, 16.0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="one of them; both unless told")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--minutes", type=float, help="of faults, for each database")
    parser.add_argument("--runs", type=int, help="at least so many, for each database")
    parser.add_argument("--faults", type=int, help="for each database")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), metavar="FAULT", help="may be repeated")
    parser.add_argument("--short", action="store_true", help="short leases and short runs, for every change")
    parser.add_argument("--write", action="store_true", help="write a section of benchmarks/RESULTS.md")
    return parser.parse_args()


def plans(options: argparse.Namespace) -> list[Plan]:
    minutes = options.minutes or (SHORT_MINUTES if options.short else MINUTES)
    faults = options.faults or round(minutes * (SHORT_FAULTS_A_MINUTE if options.short else FAULTS_A_MINUTE))
    runs = options.runs if options.runs is not None else round(minutes * 10)
    databases = [options.database] if options.database else ["sqlite", "postgresql"]
    return [
        Plan(name, options.seed, minutes, runs, faults, options.short, tuple(options.only or ())) for name in databases
    ]


def failures(outcome: Outcome) -> list[str]:
    """Findings, and faults that could not be struck where they must be: in CI."""
    missed = [f"{kind}: {why}" for kind, why in outcome.not_struck.items() if kind not in outcome.struck]
    return outcome.findings.sentences + (missed if os.environ.get("CI") == "true" else [])


def main() -> int:
    options = parsed()
    calm: dict[str, Result] = {}
    failed = []
    with interruptible():
        for plan in plans(options):
            outcome = trial.run(plan, calm)
            text = report.told(outcome)
            print(f"\n{text}\n", flush=True)
            failed += failures(outcome)
            if options.write and not failures(outcome):
                facts = circumstances(["celery", "sqlalchemy", "numpy"], plan.command)
                write_section(f"Chaos: {report.NAMES[plan.database]}", f"{facts}\n\n{text}")
    for sentence in failed:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
