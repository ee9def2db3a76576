"""Times and durations as people write them: '2026-11-01 12:30', '7 days ago', '2 h 30 min'."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

_UNITS = {
    name: seconds
    for seconds, names in (
        (0.001, "ms millisecond milliseconds"),
        (1.0, "s sec second seconds"),
        (60.0, "m min minute minutes"),
        (3600.0, "h hour hours"),
        (86_400.0, "d day days"),
        (604_800.0, "w week weeks"),
    )
    for name in names.split()
}
_PIECE = r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)"
_NAMED: dict[str, Callable[[datetime], datetime]] = {
    "now": lambda now: now,
    "today": lambda now: _midnight(now),
    "yesterday": lambda now: _midnight(now - timedelta(days=1)),
}


def duration(text: str) -> float | None:
    """The seconds of '5 min' or '2 h 30 min', or None if it is no duration."""
    lower = text.strip().lower()
    pieces = re.findall(_PIECE, lower)
    if not re.fullmatch(f"({_PIECE})+", lower) or any(unit not in _UNITS for _, unit in pieces):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in pieces)


def moment(text: str, now: datetime) -> datetime | None:
    """The time that is meant, or None if it is none. Without a zone it is of the zone of this machine."""
    words = text.strip().lower()
    if words in _NAMED:
        return _NAMED[words](now)
    try:
        if words.endswith(" ago"):
            seconds = duration(words.removesuffix(" ago"))
            return None if seconds is None else now - timedelta(seconds=seconds)
        told = datetime.fromisoformat(text.strip())
        return told.astimezone() if told.tzinfo is None else told
    except (ValueError, OverflowError):
        return None


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None).astimezone()
