"""Counters over attempts that never fall, whatever becomes of the attempts.

The database knows every attempt, but not for ever: runs are removed, and a counter that falls is one that began anew to
Prometheus, which would take the whole rest for just happened. So what becomes of attempts is counted while it does.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy.orm import Session

from service.store import totals
from service.store.tables import Outcome
from service.store.totals import AttemptFigures

OVERLAP = 15.0  # seconds that a transaction may take to commit after it has written the time of an end


class Ledger:
    """What has happened since this was made."""

    def __init__(self) -> None:
        self.ended: Counter[Outcome] = Counter()
        self.retries = 0
        self.epochs = 0
        self.samples = 0
        self._made = time.monotonic()
        self._seen: dict[tuple[int, int], AttemptFigures] | None = None  # attempts that go on, or have just ended
        self._looked = 0.0  # by the database's clock

    def look(self, session: Session) -> None:
        at = totals.clock(session)
        if self._seen is None:
            self._looked = at - (time.monotonic() - self._made)
        found = totals.attempts(session, self._looked - OVERLAP)
        before = self._before(found) if self._seen is None else self._seen
        for attempt in found:
            self._count(attempt, before.get((attempt.run_id, attempt.number)))
        self._seen = {(attempt.run_id, attempt.number): attempt for attempt in found}
        self._looked = at

    def _before(self, found: Sequence[AttemptFigures]) -> dict[tuple[int, int], AttemptFigures]:
        """What would have been seen when this was made, had the database been asked; of an attempt that went on then,
        what it had done is not known any more and goes uncounted."""
        older = (attempt for attempt in found if attempt.started < self._looked)
        return {
            (attempt.run_id, attempt.number): replace(attempt, outcome=None)
            if attempt.finished is not None and attempt.finished >= self._looked
            else attempt
            for attempt in older
        }

    def _count(self, attempt: AttemptFigures, before: AttemptFigures | None) -> None:
        self.retries += before is None and attempt.number > 1
        self.epochs += max(0, attempt.epochs - (before.epochs if before else 0))
        self.samples += max(0, attempt.samples - (before.samples if before else 0))
        if attempt.outcome is not None and (before is None or before.outcome is None):
            self.ended[attempt.outcome] += 1
