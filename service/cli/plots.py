"""Curves in the terminal, at most 80 columns wide."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

WIDTH, HEIGHT = 64, 14  # of the frame's inside; the labels of the axis stand beside it


def curve(x: Sequence[float], y: Sequence[float], title: str, *, logarithmic: bool = False) -> str:
    """y over x as a framed plot of block characters; `logarithmic` is about x."""
    from uniplot import plot_to_string

    lines = plot_to_string(
        list(y), list(x), width=WIDTH, height=HEIGHT, title=title, lines=True, x_as_log=logarithmic, color=False
    )
    return "\n".join(line.rstrip() for line in lines.splitlines())


MARKS = "abcdefghij"


def curves(named: Sequence[tuple[str, Sequence[tuple[int, float]]]], title: str, *, logarithmic: bool = False) -> str:
    """Up to ten curves, each (x, y) points, over each other, told apart by letters and in a terminal by colours too.

    `logarithmic` is about y. Points that are no numbers are left out.
    """
    from uniplot import plot_to_string

    finite = [(name, [(x, y) for x, y in points if math.isfinite(y)]) for name, points in named]
    drawn = [(name, points) for name, points in finite if points][: len(MARKS)]
    if not drawn:
        return f"{title}: no finite value"
    marks, names = list(MARKS[: len(drawn)]), [name for name, _ in drawn]
    lines = plot_to_string(
        [[y for _, y in points] for _, points in drawn], [[x for x, _ in points] for _, points in drawn],
        width=WIDTH, height=HEIGHT, title=title, lines=True, y_as_log=logarithmic, color=sys.stdout.isatty(),
        character_set="ascii", force_ascii_characters=marks, legend_labels=names,
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in lines.splitlines())
