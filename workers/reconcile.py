"""The reconciler: makes leases and tickets match what the database says.

Any number of supervisors may do it at the same time; it only returns runs to their queue and sends tickets, both
harmless when done twice. `claim` does the taking-over.
"""

from __future__ import annotations

import logging
import time

from service.processes import alive
from service.queue import MOST_TICKETS, Tickets
from service.store import blobs, history, notices, removal, suspicion, transitions
from service.store.database import Database, DatabaseUnreachable
from service.store.transitions import LeaseLost
from workers.exits import UNKNOWN, Exit, Exits

log = logging.getLogger(__name__)

COLLECT_SECONDS = 60.0
JUDGE_SECONDS = 10.0
WONDER_SECONDS = 0.5  # for which it waits to be told how a process ended


class Reconciler:
    """`exits`: what is known of this worker's processes. `suspect_after`: bad ends after which any is set aside."""

    def __init__(
        self,
        database: Database,
        tickets: Tickets,
        worker: str,
        lease_seconds: float,
        *,
        heartbeat_seconds: float = 0.0,
        exits: Exits | None = None,
        suspect_after: int = 0,
    ) -> None:
        self._database = database
        self._tickets = tickets
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._longest_gap = lease_seconds / 2 + 2 * heartbeat_seconds  # between two looks at the leases
        self._looked = time.monotonic()
        self._exits = exits or Exits()
        self._suspect_after = suspect_after
        self._dead_since: dict[int, float] = {}  # processes, whose exit nobody has told yet
        self._judge_after = time.monotonic() + JUDGE_SECONDS
        self._reap_after = time.monotonic() + lease_seconds
        self._collect_after = time.monotonic() + COLLECT_SECONDS
        self.runs_lost = 0

    def run(self) -> None:
        """One round. After an outage of the database every lease gets one full term before it may be reaped: the
        slots could not renew either."""
        try:
            self._lose_dead_slots()
            self._lose_expired()
            if self._suspect_after and time.monotonic() > self._judge_after:
                self._judge_after = time.monotonic() + JUDGE_SECONDS
                self._set_suspects_aside()
            if time.monotonic() > self._collect_after:
                self._collect_after = time.monotonic() + COLLECT_SECONDS
                removal.go_on(self._database)
                blobs.collect(self._database)
                self._tidy_notices()
        except DatabaseUnreachable:
            self._reap_after = time.monotonic() + self._lease_seconds
            raise
        self.send_tickets()

    @property
    def wonders(self) -> bool:
        """Whether it shall soon have another look, for a process has died and nobody has told how."""
        return bool(self._dead_since)

    def _lose_dead_slots(self) -> None:
        """Runs whose training process on this very worker is gone need not wait for their lease."""
        with self._database.read() as session:
            held = history.held_by(session, self._worker)
        dead = [(run_id, attempt, pid) for run_id, attempt, pid in held if not alive(pid)]
        self._dead_since = {pid: self._dead_since.get(pid, time.monotonic()) for *_, pid in dead}
        for run_id, attempt, pid in dead:
            if (end := self._end_of(pid)) is not None:
                self._dead_since.pop(pid, None)
                reason = f"its training process {pid} on {self._worker} {end.sentence}"
                self._lose(run_id, attempt, reason, end.signal)

    def _end_of(self, pid: int) -> Exit | None:
        """How it ended; None: somebody may still tell."""
        too_long = time.monotonic() - self._dead_since[pid] > WONDER_SECONDS
        return self._exits.of(pid) or (UNKNOWN if too_long else None)

    def _lose_expired(self) -> None:
        with self._database.read() as session:
            gone = transitions.expired(session)
        if not self._may_reap():
            return
        for run_id, attempt, worker in gone:
            reason = f"worker {worker} was silent for {self._lease_seconds:g} s"
            self._lose(run_id, attempt, reason, expired=True)

    def _may_reap(self) -> bool:
        """Whether the leases that have just been read count. Not after a gap: whatever kept us from looking, an outage
        that others met before us, a database that answered late, a machine that slept, kept the slots from renewing.
        """
        now = time.monotonic()
        gap, self._looked = now - self._looked, now
        if gap > self._longest_gap:
            self._reap_after = now + self._lease_seconds
        return now > self._reap_after

    def _lose(
        self, run_id: int, attempt: int, reason: str, exit_signal: str | None = None, *, expired: bool = False
    ) -> None:
        try:
            with self._database.write() as session:
                if expired:
                    state = transitions.lose_expired(session, run_id, attempt, reason)
                else:
                    state = transitions.lose(session, run_id, attempt, reason, exit_signal)
        except LeaseLost:
            return  # another supervisor was faster, or the slot ended the run after all
        if state is not None:
            self.runs_lost += 1
            log.warning("run %d: attempt %d is lost, the run is %s: %s", run_id, attempt, state, reason)

    def _set_suspects_aside(self) -> None:
        """Give no more runs to workers that lose what others complete."""
        with self._database.read() as session:
            suspects = suspicion.suspects(session, self._suspect_after)
        for suspect in suspects:
            with self._database.write() as session:
                new = suspicion.set_aside(session, suspect.worker, suspect.evidence)
            if new:
                log.warning("worker %s is set aside, it gets no more runs: %s", suspect.worker, suspect.evidence)

    def _tidy_notices(self) -> None:
        with self._database.write() as session:
            given_up = notices.tidy(session)
        if given_up:
            log.warning("%d notifications could not be delivered for a day and are given up", given_up)

    def send_tickets(self) -> None:
        """Send as many tickets as runs wait; whatever became of those sent before."""
        with self._database.read() as session:
            waiting = history.waiting(session, claimable=True)
        for queue, (number, _) in waiting.items():
            missing = min(number, MOST_TICKETS) - self._tickets.depth(queue)
            if missing > 0:
                self._tickets.send(queue, missing)
