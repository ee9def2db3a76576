"""The log of a run: what its attempts had to tell, and what others know of them.

A line is known by its attempt and its number in there. Whoever holds the run counts its lines and writes them with
whatever else it reports, in the same fenced transaction; when it is gone, the one who finds that out adds the last one.

Of a long attempt the first and the last lines are kept. A gap in the numbers says how many are missing in between.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import and_, delete, func, insert, literal, or_, select, text
from sqlalchemy.orm import Session

from service.store.bulk import dialect
from service.store.clock import now
from service.store.records import LogRecord
from service.store.tables import Level, LogLine, Run
from service.urls import without_secrets

FIRST, LAST = 500, 500  # lines of an attempt that are kept
AT_ONCE = 100  # lines beyond, that are removed together
LONGEST = 2000  # characters of a line

Place = tuple[int, int]  # attempt and number
_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_COLUMNS = [getattr(LogLine, name) for name in LogRecord.__dataclass_fields__]


class Line(NamedTuple):
    """A line that is not stored yet; `moment` is `time.monotonic()` of this process when it was told."""

    number: int
    moment: float
    level: Level
    text: str


def clean(said: str) -> str:
    """The text as a line that is safe to keep and to show: no control characters, no passwords, not too long."""
    if "://" in said:
        said = _URL.sub(lambda found: without_secrets(found[0]), said)
    if not said.isprintable():
        said = "".join(mark if mark.isprintable() else mark.encode("unicode_escape").decode() for mark in said)
    return said if len(said) <= LONGEST else f"{said[: LONGEST - 2]} …"


def store(session: Session, run_id: int, attempt: int, lines: Sequence[Line]) -> None:
    """Store lines of an attempt, in the caller's fenced transaction; one that is there already stays as it is.

    They are dated by the database's clock, as all times are.
    """
    if not lines:
        return
    here = time.monotonic()
    rows = [(line.number, here - line.moment, line.level.value, line.text) for line in lines]
    if dialect(session) == "postgresql":
        columns = dict(zip(("numbers", "ages", "levels", "texts"), map(list, zip(*rows, strict=True)), strict=True))
        session.execute(_STORE, {"run_id": run_id, "attempt": attempt, **columns})
    else:
        session.connection().exec_driver_sql(_STORE_EACH, [(run_id, attempt, *row) for row in rows])
    last = lines[-1].number
    if last // AT_ONCE > (lines[0].number - 1) // AT_ONCE and last > FIRST + LAST:
        beyond = (LogLine.number > FIRST, LogLine.number <= last - LAST)
        session.execute(delete(LogLine).where(LogLine.run_id == run_id, LogLine.attempt == attempt, *beyond))


_STORE = text("""
    INSERT INTO log_lines (run_id, attempt, number, at, level, text)
    SELECT :run_id, :attempt, line.number,
        CAST(extract(epoch FROM clock_timestamp()) AS double precision) - line.age, line.level, line.text
    FROM unnest(CAST(:numbers AS int[]), CAST(:ages AS float8[]), CAST(:levels AS text[]), CAST(:texts AS text[]))
        line (number, age, level, text)
    ON CONFLICT DO NOTHING
""")
_STORE_EACH = """
    INSERT INTO log_lines (run_id, attempt, number, at, level, text)
    VALUES (?, ?, ?, (julianday('now') - 2440587.5) * 86400.0 - ?, ?, ?) ON CONFLICT DO NOTHING
"""


def add(session: Session, run_id: int, attempt: int, said: str, level: Level = Level.INFO) -> None:
    """Add a line behind those of an attempt, in the transaction that has just ended it."""
    own = (LogLine.run_id == run_id, LogLine.attempt == attempt)
    next_number = select(func.coalesce(func.max(LogLine.number), 0) + 1).where(*own).scalar_subquery()
    values = {"run_id": run_id, "attempt": attempt, "number": next_number, "at": now()}
    session.execute(insert(LogLine).values(**values, level=level.value, text=clean(said)))


def read(
    session: Session, run_id: int, *, attempt: int | None = None, after: Place = (0, 0), limit: int | None = None
) -> list[LogRecord]:
    """Lines behind a place, in order; of one attempt, or of all."""
    in_order = _lines(run_id, attempt).where(_behind(after)).order_by(LogLine.attempt, LogLine.number).limit(limit)
    return [LogRecord(*row) for row in session.execute(in_order)]


def tail(session: Session, run_id: int, count: int, *, attempt: int | None = None) -> list[LogRecord]:
    """The last lines, in order; of one attempt, or of all."""
    last = _lines(run_id, attempt).order_by(LogLine.attempt.desc(), LogLine.number.desc()).limit(count)
    return [LogRecord(*row) for row in reversed(session.execute(last).all())]


def ends(session: Session, run_ids: Iterable[int]) -> dict[int, Place]:
    """The last line of each of these runs, that of its last attempt; those without lines are left out."""
    own = (LogLine.run_id == Run.id, LogLine.attempt == Run.attempt)
    last = select(func.max(LogLine.number)).where(*own).correlate(Run).scalar_subquery()
    rows = session.execute(select(Run.id, Run.attempt, last).where(Run.id.in_(run_ids)))
    return {run_id: (attempt, number) for run_id, attempt, number in rows if number is not None}


def _lines(run_id: int, attempt: int | None) -> Any:
    lines = select(*_COLUMNS).where(LogLine.run_id == run_id)
    return lines if attempt is None else lines.where(LogLine.attempt == attempt)


def _behind(place: Place) -> Any:
    attempt, number = place
    return or_(LogLine.attempt > attempt, and_(LogLine.attempt == literal(attempt), LogLine.number > number))


def left_out(lines: Iterable[LogRecord], before: LogRecord | None = None) -> Iterator[tuple[int, LogRecord]]:
    """Each line with the number of those that are missing between it and the one before, which may be told."""
    for line in lines:
        together = before is not None and before.attempt == line.attempt
        yield (line.number - before.number - 1 if before is not None and together else 0), line
        before = line
