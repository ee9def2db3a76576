"""What can be drawn of runs, as numbers and words: no drawing library knows these, `png` and `page` draw them.

`curves` and `parallel` are made from a comparison, `matrix` from an evaluation, `bars` from an importance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

from service.comparison import Column, Comparison, Points, better_way, identity, short_names
from service.errors import InputError

if TYPE_CHECKING:
    from service.evaluation import Evaluation
    from service.importance import Importance

APART = 10  # curves that colours can tell apart; of more the best stand out and the others are grey
BEST = 6  # so many stand out then
PAIRED = 5  # runs whose curves on the training rows are drawn, too; of more they would hide the others
DECADES = 50.0  # highest by lowest value; from here on a logarithmic axis tells more
AXES = 12  # parallel axes at most, that of the metric included
CLOSEST = 0.05  # of an axis' height, between two values written beside it
TICKS = 6  # values of an axis that are all written beside it; of more, only some


@dataclass(frozen=True)
class Line:
    """One run's metric on some rows. `colour` counts from 0, and is None for one of many in the background."""

    name: str
    points: Points
    colour: int | None
    dashed: bool

    @property
    def single(self) -> bool:
        """Whether it is one point, which no line shows."""
        return sum(math.isfinite(value) for _, value in self.points) == 1


@dataclass(frozen=True)
class Curves:
    title: str
    metric: str
    lines: tuple[Line, ...]
    logarithmic: bool


@dataclass(frozen=True)
class Matrix:
    """Rows of the counts are the true classes, columns those that were told."""

    title: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Axis:
    """Where each line crosses it, from 0 to 1, and what is written beside it at which heights."""

    name: str
    heights: tuple[float, ...]
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Parallel:
    """A line for each run, the best first; the last axis is the metric's.

    Colours go by rank, from 0 for the best to 1: by value, one bad run would give all the others the same. `marks` are
    some values of the metric at their ranks.
    """

    title: str
    metric: str
    runs: tuple[str, ...]
    axes: tuple[Axis, ...]
    ranks: tuple[float, ...]
    marks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Bars:
    title: str
    names: tuple[str, ...]
    shares: tuple[float, ...]


Figure: TypeAlias = "Curves | Matrix | Parallel | Bars"


def spans_decades(values: Iterable[float]) -> bool:
    finite = [value for value in values if math.isfinite(value)]
    return bool(finite) and min(finite) > 0 and max(finite) / min(finite) >= DECADES


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


# Curves


def curves(
    found: Comparison,
    metric: str | None = None,
    logarithmic: bool | None = None,
    *,
    pairs: bool = True,
    apart: int = APART,
) -> Curves:
    """The curves of a metric, by epoch; with `pairs`, and unless `metric` says which, on training rows (dashed) and on
    those for validation.

    `logarithmic` is decided by the values unless told. Of more than `apart` runs the best stand out. Raises InputError
    if no run has a point to draw.
    """
    name = found.metric if metric is None else metric
    if name is None:
        raise InputError("none of these runs has a metric yet; the first comes with the end of an epoch")
    drawn = [at for at in found.ranked(name) if any(math.isfinite(value) for _, value in found.curves[name][at])]
    if not drawn:
        raise InputError(f"no value of {name} can be drawn: all of them are no numbers, for the training diverged")
    colours = {at: colour for colour, at in enumerate(sorted(drawn if len(drawn) <= apart else drawn[:BEST]))}
    base = next(iter(found.curves))
    names = [name]
    if pairs and len(drawn) <= PAIRED and metric in (None, base):
        names = [each for each in found.curves if any(found.curves[each])]
    lines = [
        Line(_line_name(found, at, each, len(names)), found.curves[each][at], colours.get(at), each != names[-1])
        for at in sorted(drawn)
        for each in names
        if found.curves[each][at]
    ]
    if logarithmic is None:
        logarithmic = better_way(name) != "higher" and spans_decades(v for line in lines for _, v in line.points)
    return Curves(
        f"{' and '.join(names)} of {_which(found)}", base if len(names) > 1 else name, tuple(lines), logarithmic
    )


def _line_name(found: Comparison, at: int, metric: str, metrics: int) -> str:
    run = f"run {found.runs[at].id}"
    return f"{run} {metric}" if metrics > 1 else run


def _which(found: Comparison) -> str:
    if len(found.runs) == 1:
        return f"run {found.runs[0].id} ({found.runs[0].name})"
    return counted(len(found.runs), "run")


# A confusion matrix


def matrix(run_id: int, found: Evaluation) -> Matrix:
    """Raises InputError where one row has no class or several."""
    if found.confusion is None:
        kind = "several labels at once" if found.classes else "numbers"
        raise InputError(f"run {run_id} predicts {kind}; a confusion matrix is of one class a row")
    accuracy = found.metrics.get("accuracy")
    told = "" if accuracy is None else f", accuracy {accuracy:.4g}"
    title = f"run {run_id} on its {found.rows:,} {found.split} rows{told}"
    return Matrix(title, found.classes, tuple(tuple(row) for row in found.confusion.tolist()))


# Parallel coordinates


def parallel(found: Comparison) -> Parallel:
    """Runs as lines over the keys that differ. Raises InputError if fewer than two have the metric or no key does."""
    metric, kept, values = judged(found)
    if len(kept) < 2:
        raise InputError(f"parallel coordinates take two runs or more with {metric}; there is {len(kept)} here")
    columns = varied(found, kept)
    if not columns:
        raise InputError("no key of the spec differs between these runs, so there are no axes to draw")
    sign = -1 if better_way(metric) == "higher" else 1
    order = sorted(range(len(kept)), key=lambda at: sign * values[at])
    # Those that few of the runs have say least of all of them.
    shown = sorted(sorted(columns, key=lambda path: columns[path].count(None))[: AXES - 1], key=list(columns).index)
    axes = [
        _axis(name, [columns[path][at] for at in order]) for path, name in zip(shown, short_names(shown), strict=True)
    ]
    best = [values[at] for at in order]
    title = f"{metric} (best) of {counted(len(kept), 'run')}"
    if len(shown) < len(columns):
        title += f", {len(shown)} of {len(columns)} keys that differ"
    names = tuple(f"run {found.runs[kept[at]].id}" for at in order)
    ranks = [best.index(value) / (len(best) - 1) for value in best]
    marks = {rank: _written(value) for rank, value in zip(ranks, best, strict=True)}
    some = tuple((rank, marks[rank]) for rank in _thinned({rank: rank for rank in marks}))
    return Parallel(title, metric, names, (*axes, _axis(metric, best)), tuple(ranks), some)


def judged(found: Comparison) -> tuple[str, list[int], list[float]]:
    """The metric, the positions of the runs that have a finite best value of it, and these values."""
    if found.metric is None:
        raise InputError("none of these runs has a metric yet")
    summaries = enumerate(found.summaries(found.metric))
    finite = [(at, s.best) for at, s in summaries if s is not None and math.isfinite(s.best)]
    return found.metric, [at for at, _ in finite], [value for _, value in finite]


def varied(found: Comparison, kept: Sequence[int]) -> dict[str, Column]:
    """The keys that have two values or more among these runs; one that is only there or not is not one of them."""
    columns = {path: tuple(values[at] for at in kept) for path, values in found.spec.items()}
    return {path: values for path, values in columns.items() if len({identity(v) for v in values if v is not None}) > 1}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _axis(name: str, values: Sequence[Any]) -> Axis:
    """Numbers at their places, other values at equal distances; what has none at the bottom, below the others."""
    there = [value for value in values if value is not None]
    floor = 0.12 if len(there) < len(values) else 0.0  # room for those that have none
    places = dict(_number_places(there) if all(map(is_number, there)) else _word_places(there))
    heights = [0.0 if value is None else floor + (1 - floor) * places[value] for value in values]
    ticks = [(floor + (1 - floor) * places[value], _written(value)) for value in _thinned(places)]
    return Axis(name, tuple(heights), ((0.0, "-"), *ticks) if floor else tuple(ticks))


def _number_places(values: Sequence[float]) -> Iterator[tuple[Any, float]]:
    scale = math.log if spans_decades(values) or _grows_by_factors(values) else float
    low, high = scale(min(values)), scale(max(values))
    for value in sorted(set(values)):
        yield value, (scale(value) - low) / (high - low) if high > low else 0.5


def _grows_by_factors(values: Sequence[float]) -> bool:
    """16, 32, 64, 128, or 0.001, 0.003, 0.01: a few values that nobody would space evenly."""
    steps = sorted(set(values))
    return 2 < len(steps) <= TICKS and steps[0] > 0 and min(b / a for a, b in pairwise(steps)) >= 1.8


def _word_places(values: Sequence[Any]) -> Iterator[tuple[Any, float]]:
    words = sorted(set(values), key=str)
    for number, word in enumerate(words):
        yield word, number / (len(words) - 1) if len(words) > 1 else 0.5


def _thinned(places: dict[Any, float]) -> list[Any]:
    """The values that are written: all if they are few, else those next to evenly spaced heights, and never one upon
    another."""
    wanted = list(places.values()) if len(places) <= TICKS else [number / (TICKS - 1) for number in range(TICKS)]
    chosen: list[Any] = []
    for height in sorted(wanted, key=lambda height: -abs(height - 0.5)):  # the ends first
        value = min(places, key=lambda value: abs(places[value] - height))
        if all(abs(places[value] - places[other]) >= CLOSEST for other in chosen):
            chosen.append(value)
    return chosen


def _written(value: Any) -> str:
    from service.display import shortened

    return shortened(f"{value:.4g}" if isinstance(value, float) else str(value), 14)


# Importance


def bars(found: Importance) -> Bars:
    title = f"what {found.metric} depends on, over {counted(found.runs, 'run')}"
    return Bars(title, tuple(found.shares), tuple(found.shares.values()))
