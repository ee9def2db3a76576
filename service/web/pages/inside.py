"""Inside a trained network, for the run's page, which asks for it once somebody looks: it reads weights and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.client import Client
from service.display import number
from service.inspection import Inside
from service.pictures import data_url
from service.spreads import BINS, Spread, besides, gradient_words, still_words
from service.web.heavy import Judges
from service.web.pages.run import shape

MOST_CLASSES = 30  # of a confusion matrix that is shown whole
SHADES = 9
HISTOGRAM_WIDTH, HISTOGRAM_HEIGHT = 240, 56


@dataclass(frozen=True)
class Cell:
    """A count of the confusion matrix; `shade` from 0 to SHADES by its share of the row."""

    count: int
    shade: int
    right: bool


@dataclass(frozen=True)
class Histogram:
    name: str
    shape: str
    words: str
    path: str
    zero: float | None  # where 0 lies, if it does
    low: str
    high: str
    width: int = HISTOGRAM_WIDTH
    height: int = HISTOGRAM_HEIGHT


def values(client: Client, judges: Judges, run_id: int) -> dict[str, Any]:
    found = judges.inside(run_id)
    return {
        "run": client.run(run_id),
        "histograms": [histogram(spread) for spread in found.spreads],
        "gradients": [histogram(spread) for spread in found.gradients.spreads],
        "gradient_words": gradient_words(found.gradients),
        "still_words": still_words(found.gradients),
        "filters": [data_url(image) for image in found.filters],
        "units": found.units,
        "mistakes": [(mistake, data_url(mistake.image)) for mistake in found.mistakes],
        **_judged(found),
    }


def _judged(found: Inside) -> dict[str, Any]:
    evaluation = found.evaluation
    if evaluation is None:
        return {"split": None, "rows": 0, "scores": [], "classes": (), "confusion": None, "confused": []}
    table = None
    if evaluation.confusion is not None and len(evaluation.classes) <= MOST_CLASSES:
        table = [
            [Cell(count, _shade(count, sum(row)), at == true) for at, count in enumerate(row)]
            for true, row in enumerate(evaluation.confusion.tolist())
        ]
    return {
        "split": evaluation.split, "rows": evaluation.rows, "classes": evaluation.classes, "confusion": table,
        "scores": [(name, number(value)) for name, value in evaluation.metrics.items()],
        "confused": evaluation.confused()[:10],
    }  # fmt: skip


def _shade(count: int, of: int) -> int:
    """The smallest share that is none is seen."""
    return 0 if not count else max(1, round(SHADES * count / of))


def histogram(spread: Spread) -> Histogram:
    """Bars as one path; their height by the root, so that small ones are seen beside the mode. A single one stands in
    the middle."""
    most = max(spread.counts) ** 0.5 or 1.0
    each = HISTOGRAM_WIDTH / BINS
    left, tall = (HISTOGRAM_WIDTH - each * len(spread.counts)) / 2, HISTOGRAM_HEIGHT - 2
    parts = [
        f"M{left + at * each:.1f} {HISTOGRAM_HEIGHT}v{-(count**0.5) / most * tall:.1f}h{each - 0.8:.1f}"
        f"V{HISTOGRAM_HEIGHT}z"
        for at, count in enumerate(spread.counts)
        if count
    ]
    span = spread.high - spread.low
    zero = -spread.low / span * HISTOGRAM_WIDTH if spread.low < 0 < spread.high else None
    words = f"mean {number(spread.mean)}, deviation {number(spread.deviation)}{besides(spread)}"
    return Histogram(
        spread.name, shape(spread.shape), words, "".join(parts), None if zero is None else round(zero, 1),
        number(spread.low), number(spread.high),
    )  # fmt: skip
