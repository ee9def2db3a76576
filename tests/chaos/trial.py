"""A trial: a yard, the runs undisturbed, the faults, the end, and what was found."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import TrainyardError, Unreachable
from service.store.records import AttemptRecord
from tests.chaos import audit, faults, invariants, recoveries, schedule, workload
from tests.chaos.faults import NotStruck, Scene
from tests.chaos.findings import Findings
from tests.chaos.recoveries import Blows, Recovery
from tests.chaos.schedule import Strike
from tests.chaos.watcher import Watcher
from tests.chaos.workload import Feeder, Result
from tests.chaos.yards import Breath, ChaosYard, chaos_yard

DEFAULTS = {"lease_seconds": "10", "heartbeat_seconds": "1", "checkpoint_seconds": "10"}
# A lease that is much shorter ends by itself where two cores do the work of ten.
SHORT = {"lease_seconds": "4", "heartbeat_seconds": "0.4", "checkpoint_seconds": "0.5"}
OPEN_RUNS = 3  # of four slots: two cores have enough to do, and a run that lost its worker need not wait for another
GRACE = 60.0  # the yard gives its worker 40 seconds, and the worker its slots 30
LAST_RUNS = 180.0  # from the last fault until everything is trained
SPARE = 30.0  # seconds beside lease, pause and outage: a slot has to be free, or a worker to start


@dataclass(frozen=True)
class Plan:
    database: str
    seed: int
    minutes: float
    runs: int
    faults: int
    short: bool
    only: tuple[str, ...] = ()

    @property
    def settings(self) -> dict[str, str]:
        return SHORT if self.short else DEFAULTS

    @property
    def lease(self) -> float:
        return float(self.settings["lease_seconds"])

    @property
    def command(self) -> str:
        short = " --short" if self.short else ""
        only = "".join(f" --only '{kind}'" for kind in self.only)
        return (
            f"python -m tests.chaos --database {self.database} --seed {self.seed} --minutes {self.minutes:g} "
            f"--runs {self.runs} --faults {self.faults}{short}{only}"
        )


@dataclass
class Outcome:
    """What a trial has found and measured."""

    plan: Plan
    findings: Findings = field(default_factory=Findings)
    struck: Counter[str] = field(default_factory=Counter)
    not_struck: dict[str, str] = field(default_factory=dict)
    recoveries: list[Recovery] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    others: int = 0  # attempts that were lost though no fault had chosen them
    trusted: Counter[str] = field(default_factory=Counter)  # workers that were set aside and taken back
    ends: dict[str, Counter[int]] = field(default_factory=dict)
    runs: int = 0
    writes: int = 0
    looks: int = 0
    repeated: list[float] = field(default_factory=list)  # seconds of training that each lost attempt cost
    trained: float = 0.0  # seconds in all
    longest_submit: float = 0.0
    seconds: float = 0.0  # from the first moment at which a fault was possible to the last completed run
    kept: Path | None = None


def run(plan: Plan, calm: dict[str, Result]) -> Outcome:
    """`calm` is what the cases are undisturbed; those that are missing are trained first and added."""
    outcome = Outcome(plan)
    strikes = schedule.plan(plan.database, plan.seed, 60 * plan.minutes, plan.faults, plan.only)
    print(f"\n{plan.database}: {len(strikes)} faults in {plan.minutes:g} minutes. Again: {plan.command}")
    print("\n".join(str(strike) for strike in strikes), flush=True)
    every = workload.cases(0.15 if plan.short else 0.35, seeds=1 if plan.short else 2)
    with chaos_yard(plan.database, **plan.settings) as there:
        _be_calm(there, every, calm)
        watcher = Watcher(there.client.database, outcome.findings)
        blows = Blows()
        scene = Scene(there, watcher, blows, outcome.findings, Breath(), every, plan.lease)
        began = time.monotonic()
        try:
            with watcher:
                _be_chaotic(scene, strikes, outcome)
                if not outcome.findings:
                    _let_all_end(scene, outcome)
            outcome.seconds = time.monotonic() - began
            outcome.looks = watcher.looks
            _judge(scene, calm, outcome)
        except Exception as error:
            outcome.findings.add(f"the trial itself failed: {type(error).__name__}: {error}")
            raise
        finally:
            outcome.ends = {name: Counter(kept.ends) for name, kept in there.kept.items()}
            if outcome.findings:
                _tell(there, outcome)
    return outcome


def _be_calm(there: ChaosYard, every: Sequence[workload.Case], calm: dict[str, Result]) -> None:
    missing = [case for case in every if case.name not in calm]
    began = time.monotonic()
    calm |= workload.undisturbed(there, missing, 600)
    print(f"{len(missing)} runs undisturbed in {time.monotonic() - began:.0f} s; now the faults", flush=True)


def _be_chaotic(scene: Scene, strikes: Sequence[Strike], outcome: Outcome) -> None:
    """Strike every fault at its moment while runs are submitted and everything that has ended is started again."""
    plan, watcher = outcome.plan, scene.watcher
    began = time.monotonic()
    lanes = [
        threading.Thread(target=_strike_all, args=(scene, lane, began, outcome), name=name, daemon=True)
        for name in ("workers", "services")
        if (lane := [strike for strike in strikes if strike.lane == name])
    ]

    def full() -> bool:
        return watcher.states["queued"] + watcher.states["running"] >= OPEN_RUNS

    feeder = Feeder(scene.there, list(scene.cases), plan.seed, full, outcome.findings)
    with feeder, _ended_with(lanes, scene.breath):
        while not outcome.findings and (
            any(lane.is_alive() for lane in lanes)
            or time.monotonic() - began < 60 * plan.minutes
            or feeder.submitted < plan.runs
        ):
            _care(scene, outcome)
            time.sleep(0.1)
    outcome.longest_submit = feeder.longest


@contextmanager
def _ended_with(lanes: Sequence[threading.Thread], breath: Breath) -> Iterator[None]:
    for lane in lanes:
        lane.start()
    try:
        yield
    finally:
        breath.over.set()  # whatever is frozen, full or silent is mended at once
        for lane in lanes:
            lane.join()


def _strike_all(scene: Scene, lane: Sequence[Strike], began: float, outcome: Outcome) -> None:
    for planned in lane:
        if scene.breath.over.wait(max(0.0, began + planned.at - time.monotonic())):
            return
        at = time.monotonic() - began
        try:
            said = faults.strike(scene, planned)
            outcome.struck[planned.kind] += 1
        except NotStruck as error:
            said = f"not struck: {error}"
            outcome.not_struck[planned.kind] = str(error)
        except Exception as error:  # noqa: BLE001 - a lane that has died would strike nothing more and say nothing
            said = f"{type(error).__name__}: {error}"
            outcome.findings.add(f"fault {planned.number} ({planned.kind}) raised {said}")
        ended = time.monotonic() - began
        print(f"{planned.number:4d}  {at:6.1f} … {ended:6.1f} s  {planned.kind:24} {said}", flush=True)


def _care(scene: Scene, outcome: Outcome) -> None:
    """What the machine and a person do about what has ended: start it again, and trust a worker that was set aside."""
    scene.there.look()
    for name in list(scene.watcher.set_aside):
        with suppress(TrainyardError):  # the database is away, or somebody was faster; the next look tells
            scene.there.client.trust(name)
            outcome.trusted[name] += 1


def _let_all_end(scene: Scene, outcome: Outcome) -> None:
    """Everything is mended: now every run has to complete."""
    deadline = time.monotonic() + LAST_RUNS
    while not scene.findings:
        _care(scene, outcome)
        try:
            counts = scene.there.client.counts()
        except Unreachable as error:
            counts = {"unreachable": 1}
            if time.monotonic() > deadline:
                scene.findings.add(str(error))
        if not any(number for state, number in counts.items() if state != "completed"):
            return
        if time.monotonic() > deadline:
            for record in scene.there.client.runs("state in (queued, running, paused)", limit=None):
                why = scene.there.client.why(record.id)
                scene.findings.add(
                    f"run {record.id} has not ended {LAST_RUNS:g} s after the last fault: {why}", record.id
                )
        time.sleep(0.2)


def _judge(scene: Scene, calm: dict[str, Result], outcome: Outcome) -> None:
    there, findings, database = scene.there, outcome.findings, scene.there.client.database
    if findings:
        return  # what was found may still be seen on the machine, and the end has not been reached
    outcome.runs = invariants.runs(there, calm, findings)
    outcome.writes = audit.check(database, findings)
    records = there.client.runs(limit=None)
    attempts = {record.id: there.client.attempts(record.id) for record in records}
    outcome.attempts = Counter(str(one.outcome) for own in attempts.values() for one in own)
    outcome.others = recoveries.check_others(scene.blows, attempts, findings)
    outages = _merged(scene.blows.outages + scene.watcher.outages)
    outcome.recoveries = recoveries.recoveries(scene.blows, attempts, outages)
    for one in sorted(outcome.recoveries, key=lambda one: -one.trains)[:5]:
        print(
            f"run {one.blow.run_id} attempt {one.blow.number}, {one.blow.kind}: {one.noticed:.1f} s until it was "
            f"queued, {one.trains:.1f} s until it trained again (pause {one.pause:.0f} s, outage {one.outage:.1f} s)"
        )
    recoveries.check(outcome.recoveries, outcome.plan.lease, SPARE, findings)
    outcome.repeated = recoveries.repeated(scene.blows, attempts)
    outcome.trained = sum(one.seconds for own in attempts.values() for one in own)
    for name in there.stop_all(GRACE):
        findings.add(f"{name} has not ended {GRACE:g} s after it was told to stop")
    there.client.database.dispose()
    invariants.stored(database, findings)
    invariants.machine(there, findings)


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same times, none of them counted twice."""
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _tell(there: ChaosYard, outcome: Outcome) -> None:
    """What a person needs to look into it, and where the home is kept."""
    print(f"\n{len(outcome.findings.sentences)} findings. Again: {outcome.plan.command}")
    for run_id in sorted(outcome.findings.runs)[:5]:
        _safely(lambda run_id=run_id: print(*_story(there, run_id), sep="\n"))
    for name, text in {file.name: file for file in [there.output, *sorted(there.home.glob("logs/*.log"))]}.items():
        if text.exists():
            lines = text.read_text(errors="replace").splitlines()
            print(f"--- the end of {name}", *lines[-40:], sep="\n")
    kept = Path(f"{there.home.parent}-kept")
    shutil.copytree(there.home.parent, kept, ignore=_sockets, dirs_exist_ok=True)
    outcome.kept = kept
    print(f"\nThe home is kept in {kept}. Again: {outcome.plan.command}", flush=True)


def _story(there: ChaosYard, run_id: int) -> list[str]:
    def line(one: AttemptRecord) -> str:
        ended = f"{one.finished:%H:%M:%S.%f}"[:-3] if one.finished else "…"
        return (
            f"  attempt {one.number} on {one.worker} (process {one.pid}): {one.started:%H:%M:%S.%f} to {ended}, "
            f"epochs {one.first_epoch} to {one.epoch}, {one.outcome}: {one.reason}"
        )

    run = there.client.run(run_id)
    return [f"run {run.id} ({run.name}) is {run.state}: {run.error}", *map(line, there.client.attempts(run_id))]


def _safely(tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception as error:  # noqa: BLE001 - the database may be what is broken; the rest is told all the same
        print(f"  (it cannot be asked: {error})")


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not (os.path.isfile(f"{folder}/{name}") or os.path.isdir(f"{folder}/{name}"))]


def by_kind(found: Sequence[Recovery]) -> dict[str, list[Recovery]]:
    sorted_out: dict[str, list[Recovery]] = defaultdict(list)
    for one in found:
        sorted_out[one.blow.kind].append(one)
    return dict(sorted_out)
