"""Curves in the terminal, at most 80 columns wide."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

WIDTH, HEIGHT = 64, 14  # of the frame's inside; the labels of the axis stand beside it
MARKS = "abcdefghij"


@dataclass(frozen=True)
class Axis:
    """From `low` to `high` in `cells` of the terminal; of logarithms, if it is `logarithmic`."""

    low: float
    high: float
    cells: int
    logarithmic: bool = False

    @classmethod
    def of(cls, values: Iterable[float], cells: int, logarithmic: bool) -> Axis:
        found = [*values]
        low, high = min(found), max(found)
        room = 0.02 * (high - low) or max(1.0, 0.02 * abs(high))
        return cls(low - room, high + room, cells, logarithmic)

    def labels(self, most: int) -> dict[int, str]:
        """So many at most: the cell where each round number lies, and the number.

        uniplot's own are cut to as few digits as tell them apart: 1, 0.5 and 0 become 1, 0 and 0, whatever is there.
        """
        step = 10.0 ** math.floor(math.log10((self.high - self.low) / most))
        step *= next(times for times in (1, 2, 2.5, 5, 10) if (self.high - self.low) / (times * step) <= most)
        if self.logarithmic and self.high - self.low > 2:
            step = math.ceil(step)  # powers of ten
        ticks = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return {self._cell(tick * step): self._label(tick * step) for tick in ticks}

    def _cell(self, value: float) -> int:
        return min(int((value - self.low) / (self.high - self.low) * self.cells), self.cells - 1)

    def _label(self, value: float) -> str:
        return f"{10.0**value:.6g}" if self.logarithmic else f"{value:.10g}"


def curve(x: Sequence[float], y: Sequence[float], title: str, *, logarithmic: bool = False) -> str:
    """y over x as a framed plot of block characters; `logarithmic` is about x."""
    finite = [(one, other) for one, other in zip(x, y, strict=True) if math.isfinite(other)]
    return _framed([finite], title, logarithmic, False, color=False) if finite else f"{title}: no finite value"


def curves(named: Sequence[tuple[str, Sequence[tuple[int, float]]]], title: str, *, logarithmic: bool = False) -> str:
    """Up to ten curves, each (x, y) points, over each other, told apart by letters and in a terminal by colours too.

    `logarithmic` is about y. Points that are no numbers, or have no logarithm, are left out.
    """
    least = 0.0 if logarithmic else -math.inf
    finite = [(name, [(x, y) for x, y in points if least < y < math.inf]) for name, points in named]
    drawn = [(name, points) for name, points in finite if points][: len(MARKS)]
    if not drawn:
        return f"{title}: no finite value"
    return _framed(
        [points for _, points in drawn], title, False, logarithmic, color=sys.stdout.isatty(), character_set="ascii",
        force_ascii_characters=[*MARKS[: len(drawn)]], legend_labels=[name for name, _ in drawn],
    )  # fmt: skip


def _framed(
    series: Sequence[Sequence[tuple[float, float]]], title: str, x_log: bool, y_log: bool, **options: Any
) -> str:
    from uniplot import plot_to_string

    xs, ys = (
        [[_scaled(point[axis], log) for point in points] for points in series]
        for axis, log in enumerate((x_log, y_log))
    )
    across, up = Axis.of(chain(*xs), WIDTH, x_log), Axis.of(chain(*ys), HEIGHT, y_log)
    drawn = plot_to_string(
        ys, xs, width=WIDTH, height=HEIGHT, title=title, lines=True, x_labels=False, y_labels=False,
        x_gridlines=[], y_gridlines=[] if y_log else [0.0],
        x_min=across.low, x_max=across.high, y_min=up.low, y_max=up.high, **options,
    )  # fmt: skip
    lines = [line.rstrip() for line in drawn.splitlines()]
    for cell, label in up.labels(4).items():
        lines[1 + HEIGHT - cell] += f" {label}"
    lines.insert(3 + HEIGHT, _below(across.labels(5)))
    return "\n".join(lines)


def _scaled(value: float, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value


def _below(labels: Mapping[int, str]) -> str:
    """The labels of the lower axis, each with its middle under its place."""
    line = ""
    for cell, label in labels.items():
        start = 1 + cell - len(label) // 2
        if start > len(line) or not line:
            line = line.ljust(max(0, start)) + label
    return line
