"""Figures as PNG files, by matplotlib: its Agg renderer, without a display and without pyplot's global figures."""

from __future__ import annotations

import io
import math
import warnings
from typing import TYPE_CHECKING

from service.display import shortened
from service.figures import Bars, Curves, Figure, Matrix, Parallel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 120
NAME = 24  # characters of a class or a key at most
NUMBERED = 20  # classes at most whose counts are written into the cells
NAMED = 40  # classes at most that are all named; of more, every second, third …
BARS = 30  # at most
GREY = "#b8b8b8"


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    width, height = _inches(figure)
    buffer = io.BytesIO()
    # Names come from people: a dollar in one is no formula, and a letter that the font lacks is no reason to fail.
    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas = Canvas(figsize=(width, height), dpi=DPI, layout="constrained")
        axes = canvas.subplots()
        axes.set_title(figure.title, fontsize=11)
        match figure:
            case Curves():
                _curves(axes, figure)
            case Matrix():
                _matrix(axes, figure)
            case Parallel():
                _parallel(axes, figure)
            case Bars():
                _bars(axes, figure)
        canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _inches(figure: Figure) -> tuple[float, float]:
    match figure:
        case Curves():
            return 9.0, 5.0
        case Matrix():
            side = min(14.0, max(4.5, 2.5 + 0.45 * len(figure.classes)))
            return side + 1.0, side
        case Parallel():
            return min(18.0, max(7.0, 2.0 + 1.4 * len(figure.axes))), 5.0
        case Bars():
            return 8.0, 1.4 + 0.28 * min(len(figure.names), BARS)


def _curves(axes: Axes, figure: Curves) -> None:
    from matplotlib.ticker import MaxNLocator

    for line in sorted(figure.lines, key=lambda line: line.colour is not None):
        colour, front = GREY if line.colour is None else f"C{line.colour}", line.colour is not None
        axes.plot(
            [epoch for epoch, _ in line.points], [value for _, value in line.points], color=colour,
            linestyle="--" if line.dashed else "-", linewidth=1.6 if front else 0.7, marker="o" if line.single else "",
            alpha=0.6 if line.dashed or not front else 1.0, zorder=3 if front else 2, label=line.name if front else "_",
        )  # fmt: skip
    others = len({line.name for line in figure.lines if line.colour is None})
    if others:
        axes.plot([], [], color=GREY, linewidth=0.7, label=f"{others:,} others")
    axes.set_xlabel("epoch")
    axes.set_ylabel(figure.metric)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if figure.logarithmic:
        _logarithmic(axes)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0.0, frameon=False, fontsize=9)


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter

    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    plain = FuncFormatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(plain)
    axes.yaxis.set_minor_formatter(plain if high / low < 30 else NullFormatter())


def _matrix(axes: Axes, figure: Matrix) -> None:
    """Colours are shares of the true class, so that a rare class is seen as well as a frequent one."""
    shares = [[count / max(1, sum(row)) for count in row] for row in figure.counts]
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    number = len(figure.classes)
    if number <= NUMBERED:
        for true, row in enumerate(figure.counts):
            for told, count in enumerate(row):
                colour = "white" if shares[true][told] > 0.5 else "black" if count else GREY
                axes.text(told, true, f"{count:,}", ha="center", va="center", color=colour, fontsize=8)
    places = range(0, number, math.ceil(number / NAMED))
    names = [shortened(figure.classes[place], NAME) for place in places]
    flat = max(map(len, names)) <= 3
    axes.set_xticks(list(places), names, rotation=0 if flat else 45, ha="center" if flat else "right", fontsize=8)
    axes.set_yticks(list(places), names, fontsize=8)
    if not flat:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")
    axes.set_xlabel("told")
    axes.set_ylabel("true")
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)


def _parallel(axes: Axes, figure: Parallel) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize

    places, number = list(range(len(figure.axes))), len(figure.runs)
    lines = [list(zip(places, heights, strict=True)) for heights in zip(*(a.heights for a in figure.axes), strict=True)]
    colours = ScalarMappable(Normalize(0.0, 1.0), "viridis")
    widths = [2.6] + [1.2 if number <= 50 else 0.6] * (number - 1)  # the best stands out
    order = list(reversed(range(number)))  # and is drawn last
    axes.add_collection(
        LineCollection(
            [lines[at] for at in order], colors=[colours.cmap(figure.ranks[at]) for at in order],
            linewidths=[widths[at] for at in order], alpha=0.9 if number <= 50 else 0.5, zorder=2,
        )
    )  # fmt: skip
    for place, axis in zip(places, figure.axes, strict=True):
        axes.axvline(place, color="#606060", linewidth=0.8, zorder=1)
        for height, text in axis.ticks:
            axes.text(
                place - 0.03, height, text, ha="right", va="center", fontsize=8, zorder=3,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.8},
            )  # fmt: skip
    axes.set_xlim(-0.45, len(places) - 0.8)
    axes.set_ylim(-0.06, 1.06)
    names = [shortened(axis.name, NAME) for axis in figure.axes]
    flat = max(map(len, names)) <= 14
    axes.set_xticks(places, names, rotation=0 if flat else 20, ha="center" if flat else "right", fontsize=9)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    assert axes.figure is not None
    bar = axes.figure.colorbar(colours, ax=axes, label=f"{figure.metric}, by rank; thick: {figure.runs[0]}, the best")
    bar.set_ticks([rank for rank, _ in figure.marks], labels=[text for _, text in figure.marks])
    bar.ax.invert_yaxis()


def _bars(axes: Axes, figure: Bars) -> None:
    names, shares = figure.names[:BARS], figure.shares[:BARS]
    bars = axes.barh([shortened(name, 2 * NAME) for name in names], shares, color="C0", height=0.7)
    axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=3, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, max(shares) * 1.1)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("share of the importance (PED-ANOVA)")
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
