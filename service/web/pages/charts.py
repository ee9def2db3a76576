"""Curves as SVG: places and words, worked out here so that a page shows them without a script and without a library.

The frame is always the same, so that nothing moves while a run trains.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.comparison import Points
from service.display import number
from service.figures import Axis, Parallel, spans_decades

WIDTH, HEIGHT = 460, 230  # units of the view box, about a pixel each
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 24
POINTS = 300  # of a line; more than a screen can show
TICKS = 5


@dataclass(frozen=True)
class Line:
    """A line of a chart; `colour` counts from 0, None is grey. A single point is a dot at `dot`."""

    name: str
    path: str
    colour: int | None
    dashed: bool
    dot: tuple[float, float] | None
    last: str


@dataclass(frozen=True)
class Tick:
    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """`data` is JSON for the script that reads values off: the frame, the range in x, and the points of each line."""

    title: str
    x_name: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    logarithmic: bool
    data: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM

    @property
    def words(self) -> str:
        """What a screen reader says of it."""
        scale = ", logarithmic" if self.logarithmic else ""
        return f"{self.title} by {self.x_name}{scale}: " + "; ".join(f"{line.name} {line.last}" for line in self.lines)


@dataclass(frozen=True)
class Drawn:
    """What is to be drawn as a line."""

    name: str
    points: Points
    colour: int | None = 0
    dashed: bool = False


def chart(
    title: str,
    lines: Sequence[Drawn],
    *,
    x_name: str = "epoch",
    last_x: float | None = None,
    logarithmic: bool | None = None,
) -> Chart | None:
    """None if no point can be drawn. `last_x` is how far the axis goes at least: to the epoch a run will end with."""
    ys = [y for line in lines for _, y in line.points if math.isfinite(y)]
    if not ys:
        return None
    if logarithmic is None:
        logarithmic = spans_decades(ys)
    across, down = _across(lines, last_x), _down(ys, logarithmic)
    scale = math.log10 if logarithmic else float

    def place(x: float, y: float) -> tuple[float, float] | None:
        return (round(across(x), 1), round(down(scale(y)), 1)) if math.isfinite(y) else None

    drawn = [(line, thinned(line.points)) for line in lines]
    y_ticks = (log_ticks if logarithmic else even_ticks)(down.low, down.high)
    return Chart(
        title,
        x_name,
        tuple(_line(line, [place(x, y) for x, y in points]) for line, points in drawn),
        tuple(Tick(round(across(value), 1), f"{value:g}") for value in whole_ticks(across.low, across.high)),
        tuple(Tick(round(down(value), 1), text) for value, text in y_ticks),
        logarithmic,
        _data(across, drawn),
    )


def _across(lines: Sequence[Drawn], last_x: float | None) -> Span:
    xs = [x for line in lines for x, _ in line.points]
    first, last = min(xs), max(*xs, last_x or 0, min(xs) + 1)
    return Span(first, last, LEFT, WIDTH - RIGHT)


def _down(ys: Sequence[float], logarithmic: bool) -> Span:
    """Values, or their logarithms, with some room above and below."""
    scale = math.log10 if logarithmic else float
    low, high = scale(min(ys)), scale(max(ys))
    room = 0.04 * (high - low) or 0.1 * abs(high) or 1.0
    return Span(low - room, high + room, HEIGHT - BOTTOM, TOP)


def _data(across: Span, drawn: Sequence[tuple[Drawn, Points]]) -> str:
    lines = [[line.name, [[x, y if math.isfinite(y) else None] for x, y in points]] for line, points in drawn]
    frame = [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM]
    return json.dumps({"x": [across.low, across.high], "frame": frame, "lines": lines}, separators=(",", ":"))


@dataclass(frozen=True)
class Span:
    """Numbers from `low` to `high` as places from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (self.end - self.start) * (value - self.low) / (self.high - self.low)


def _line(line: Drawn, places: Sequence[tuple[float, float] | None]) -> Line:
    """A gap where a value is no number."""
    parts, gap = [], True
    for place in places:
        if place is not None:
            parts.append(f"{'M' if gap else 'L'}{place[0]:g} {place[1]:g}")
        gap = place is None
    there = [place for place in places if place is not None]
    values = [value for _, value in line.points if math.isfinite(value)]
    dot = there[0] if len(there) == 1 else None
    return Line(line.name, "".join(parts), line.colour, line.dashed, dot, number(values[-1] if values else None))


def thinned(points: Points) -> Points:
    """At most so many points: of each part of a long line its lowest and its highest, so that spikes stay."""
    if len(points) <= POINTS:
        return points
    parts = POINTS // 2 - 1
    kept = {0, len(points) - 1}
    for part in range(parts):
        span = range(part * len(points) // parts, (part + 1) * len(points) // parts)
        finite = [at for at in span if math.isfinite(points[at][1])] or [span[0]]
        kept |= {min(finite, key=lambda at: points[at][1]), max(finite, key=lambda at: points[at][1])}
    return tuple(points[at] for at in sorted(kept))


# Ticks


def step(low: float, high: float, most: int = TICKS) -> float:
    """1, 2 or 5 times a power of ten, so that at most so many fit."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def multiples(low: float, high: float, by: float) -> Iterator[float]:
    for count in range(math.ceil(low / by - 1e-9), math.floor(high / by + 1e-9) + 1):
        yield count * by


def even_ticks(low: float, high: float) -> list[tuple[float, str]]:
    by = step(low, high)
    digits = max(0, -math.floor(math.log10(by) + 1e-9))
    return [
        (value, f"{value:.{digits}f}" if digits <= 5 and abs(value) < 1e6 else f"{value:.3g}")
        for value in multiples(low, high, by)
    ]


def whole_ticks(low: float, high: float) -> list[float]:
    return list(multiples(low, high, max(1.0, step(low, high, 6))))


def log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    """`low` and `high` are logarithms."""
    factors: Iterable[int] = (1, 2, 5) if high - low < 2 else (1,)
    found = [
        (math.log10(factor) + power, f"{factor * 10.0**power:g}")
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in factors
    ]
    inside = [(value, text) for value, text in found if low <= value <= high]
    return inside[:: 1 + len(inside) // (2 * TICKS)]


# Parallel coordinates

PARALLEL_HEIGHT = 300
PARALLEL_WIDTH = 560  # of few axes
AXIS_ROOM = 96  # between two axes at least
SHADES = 8  # from the best run's colour to the last one's


@dataclass(frozen=True)
class Thread:
    """A run's way over the axes; `shade` is 0 for the best."""

    name: str
    path: str
    shade: int


@dataclass(frozen=True)
class Threads:
    title: str
    width: int
    height: int
    threads: tuple[Thread, ...]
    axes: tuple[tuple[float, str, tuple[Tick, ...]], ...]


def threads(found: Parallel) -> Threads:
    """Parallel coordinates; the best run is drawn last, above the others."""
    top, bottom, side = 30, PARALLEL_HEIGHT - 12, 48
    room = max(AXIS_ROOM, (PARALLEL_WIDTH - 2 * side - 40) // (len(found.axes) - 1))
    width = 2 * side + 40 + room * (len(found.axes) - 1)

    def height(axis: Axis, run: int) -> float:
        return round(bottom - (bottom - top) * axis.heights[run], 1)

    places = [side + room * number for number in range(len(found.axes))]
    drawn = [
        Thread(
            name,
            "M" + "L".join(f"{x} {height(axis, run):g}" for x, axis in zip(places, found.axes, strict=True)),
            min(SHADES - 1, int(found.ranks[run] * SHADES)),
        )
        for run, name in enumerate(found.runs)
    ]
    axes = tuple(
        (x, axis.name, tuple(Tick(round(bottom - (bottom - top) * at, 1), text) for at, text in axis.ticks))
        for x, axis in zip(places, found.axes, strict=True)
    )
    return Threads(found.title, width, PARALLEL_HEIGHT, tuple(reversed(drawn)), axes)
