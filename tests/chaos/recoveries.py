"""Deaths and what became of them: how long each run waited until it trained again, and what was trained twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from service.store.records import AttemptRecord
from tests.chaos.findings import Findings
from tests.chaos.watcher import Open

FULL_SECONDS = 5.0  # from the end of a full disk until those that it has ended are missed


@dataclass(frozen=True)
class Blow:
    """An attempt that a fault has hit, and when, in seconds since 1970."""

    kind: str
    at: float
    run_id: int
    number: int


@dataclass
class Blows:
    """Every blow, and the times in which something that every worker needs was away."""

    blows: list[Blow] = field(default_factory=list)
    outages: list[tuple[float, float]] = field(default_factory=list)
    full: list[tuple[float, float]] = field(default_factory=list)  # when a disk was
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def struck(self, kind: str, attempts: Iterable[Open]) -> None:
        with self._lock:
            self.blows += [Blow(kind, time.time(), one.run_id, one.number) for one in attempts]

    def away(self, began: float) -> None:
        with self._lock:
            self.outages.append((began, time.time()))


@dataclass(frozen=True)
class Recovery:
    blow: Blow
    noticed: float  # seconds from the blow until the database says that the attempt is lost
    trains: float  # … until the next attempt has begun
    pause: float  # that the run had to make, for it was lost before
    outage: float  # how long something was away meanwhile


def recoveries(
    blows: Blows, attempts: Mapping[int, Sequence[AttemptRecord]], outages: Sequence[tuple[float, float]]
) -> list[Recovery]:
    """Of every blow that cost an attempt; others came too late, or the work was handed over."""
    found = []
    for blow in blows.blows:
        hit = next(one for one in attempts[blow.run_id] if one.number == blow.number)
        after = next((one for one in attempts[blow.run_id] if one.number == blow.number + 1), None)
        if hit.outcome != "lost" or hit.finished is None or after is None:
            continue
        noticed, trains = hit.finished.timestamp() - blow.at, after.started.timestamp() - blow.at
        if noticed < 0:
            continue  # it was lost already when it was hit
        away = sum(max(0.0, min(end, blow.at + trains) - max(begin, blow.at)) for begin, end in outages)
        pause = min(60.0, 2.0 ** min(blow.number - 1, 10) - 1)
        found.append(Recovery(blow, noticed, trains, pause, away))
    return found


def check(found: Sequence[Recovery], lease: float, spare: float, findings: Findings) -> None:
    """Nobody waits longer than the lease, the pause, an outage with the term after it, and what a slot needs to be
    free."""
    for one in found:
        bound = lease + one.pause + (one.outage + lease if one.outage else 0.0) + spare
        if one.trains > bound:
            findings.add(
                f"run {one.blow.run_id} trained again {one.trains:.1f} s after '{one.blow.kind}' had hit its attempt "
                f"{one.blow.number}; the bound was {bound:.1f} s",
                one.blow.run_id,
            )


def check_others(blows: Blows, attempts: Mapping[int, Sequence[AttemptRecord]], findings: Findings) -> int:
    """Nobody is taken for dead whom no fault has hit, be the database away or not; returns how many died all the same.

    Only a full disk may end processes that were not chosen.
    """
    chosen = {(blow.run_id, blow.number) for blow in blows.blows}
    others = 0
    for run_id, own in attempts.items():
        for one in own:
            if one.outcome != "lost" or one.finished is None or (run_id, one.number) in chosen:
                continue
            others += 1
            said = (
                f"run {run_id}: attempt {one.number} on {one.worker} was taken for dead at {one.finished:%H:%M:%S} "
                f"though no fault had hit it: {one.reason}"
            )
            if any(begin <= one.finished.timestamp() <= end + FULL_SECONDS for begin, end in blows.full):
                print(f"{said} (a disk was full)", flush=True)
            else:
                findings.add(said, run_id)
    return others


def repeated(blows: Blows, attempts: Mapping[int, Sequence[AttemptRecord]]) -> list[float]:
    """Seconds of work that each lost attempt cost: from its beginning to its death, without the epochs that were kept.

    The time in which it got ready is among them. Epochs count with what they took on average in this attempt.
    """
    died = {(blow.run_id, blow.number): blow.at for blow in blows.blows}
    found = []
    for run_id, own in attempts.items():
        for one, after in pairwise(own):
            if one.outcome != "lost" or one.finished is None:
                continue
            worked = died.get((run_id, one.number), one.finished.timestamp()) - one.started.timestamp()
            kept = (after.first_epoch or after.epoch or 0) - one.first_epoch if one.first_epoch else 0
            each = one.seconds / (one.epoch - one.first_epoch + 1) if one.first_epoch and one.epoch else 0.0
            found.append(max(0.0, worked - kept * each))
    return found
