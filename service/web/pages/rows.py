"""A run as a row of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from service.client import Client
from service.display import duration, headline, lasted
from service.store.glance import Pace
from service.store.records import RunRecord


@dataclass(frozen=True)
class Row:
    run: RunRecord
    best: str
    time: str
    pace: str  # samples a second; empty unless it trains
    left: str

    @property
    def ended(self) -> bool:
        return self.run.state.ended


def row(run: RunRecord, paces: Mapping[int, Pace]) -> Row:
    pace = paces.get(run.id)
    return Row(run, headline(run), lasted(run), per_second(pace.samples_per_second if pace else None), left(pace))


def rows(client: Client, runs: Sequence[RunRecord]) -> list[Row]:
    paces = client.paces()
    return [row(run, paces) for run in runs]


def per_second(rate: float | None) -> str:
    """6,300/s, 1.2M/s"""
    if rate is None:
        return ""
    return f"{rate / 1e6:.1f}M/s" if rate >= 999_500 else f"{rate:,.0f}/s"


def left(pace: Pace | None) -> str:
    return "" if pace is None or pace.seconds_left is None else f"{duration(pace.seconds_left)} left"


def moment(value: datetime | None) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"
