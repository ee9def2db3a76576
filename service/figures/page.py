"""Figures as HTML pages, by plotly: one file with everything in it, which asks the network for nothing."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

from service.figures import Bars, Curves, Figure, Matrix, Parallel

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
GREY = "rgba(140, 140, 140, 0.5)"
NUMBERED = 30  # classes at most whose counts are written into the cells
HOVERED = 100  # classes at most that have a sentence for each cell: of more, they would be most of the file
CONFIG = {"displaylogo": False, "responsive": True, "showSendToCloud": False}  # no button that would upload the numbers


def page(figure: Figure) -> bytes:
    """The figure as the bytes of an HTML file, about 5 MB: plotly's own script is the most of it."""
    import plotly.io

    match figure:
        case Curves():
            drawn = _curves(figure)
        case Matrix():
            drawn = _matrix(figure)
        case Parallel():
            drawn = _parallel(figure)
        case Bars():
            drawn = _bars(figure)
    drawn.update_layout(title=_text(figure.title), template="plotly_white")
    text = plotly.io.to_html(drawn, include_plotlyjs=True, full_html=True, config=CONFIG)
    head = f"<head><title>{html.escape(figure.title)}</title>"
    return str(text).replace("<head>", head, 1).encode()


def _text(name: str) -> str:
    """Names come from people, and plotly reads some HTML."""
    return html.escape(name, quote=False)


def _curves(figure: Curves) -> go.Figure:
    import plotly.graph_objects as go

    drawn = go.Figure()
    others = [line for line in figure.lines if line.colour is None]
    if others:  # one trace of all of them, with gaps between: a browser draws hundreds of those slowly
        drawn.add_scatter(
            x=[x for line in others for x in (*(epoch for epoch, _ in line.points), None)],
            y=[y for line in others for y in (*(_shown(value, figure) for _, value in line.points), None)],
            text=[_text(line.name) for line in others for _ in range(len(line.points) + 1)],
            mode="lines", line={"color": GREY, "width": 1}, name=f"{len(others):,} others",
            hovertemplate="%{text}, epoch %{x}: %{y:.4g}<extra></extra>",
        )  # fmt: skip
    for line in figure.lines:
        if line.colour is None:
            continue
        drawn.add_scatter(
            x=[epoch for epoch, _ in line.points], y=[_shown(value, figure) for _, value in line.points],
            mode="markers" if line.single else "lines", name=_text(line.name),
            opacity=0.6 if line.dashed else 1.0, hovertemplate="epoch %{x}: %{y:.4g}",
            line={"color": COLOURS[line.colour], "width": 2, "dash": "dash" if line.dashed else "solid"},
        )  # fmt: skip
    drawn.update_xaxes(title="epoch")
    drawn.update_yaxes(title=_text(figure.metric), type="log" if figure.logarithmic else "linear")
    return drawn.update_layout(showlegend=True)


def _shown(value: float, figure: Curves) -> float | None:
    """A gap where there is nothing to draw."""
    return value if math.isfinite(value) and (value > 0 or not figure.logarithmic) else None


def _matrix(figure: Matrix) -> go.Figure:
    import plotly.graph_objects as go

    names = [_text(name) for name in figure.classes]
    places = list(range(len(names)))  # names may be the same once they are shortened, or look like numbers
    shares = [[count / max(1, sum(row)) for count in row] for row in figure.counts]
    told = [
        [f"true {names[true]}, told {names[place]}: {count:,}" for place, count in enumerate(row)]
        for true, row in enumerate(figure.counts if len(names) <= HOVERED else ())
    ]
    drawn = go.Figure(
        go.Heatmap(
            x=places, y=places, z=shares, zmin=0.0, zmax=1.0, colorscale="Blues", hovertext=told or None,
            hoverinfo="text" if told else "x+y+z", text=[[f"{count:,}" for count in row] for row in figure.counts],
            texttemplate="%{text}" if len(names) <= NUMBERED else None,
            colorbar={"title": "share of the<br>true class"},
        )
    )  # fmt: skip
    drawn.update_xaxes(title="told", tickvals=places, ticktext=names, constrain="domain")
    drawn.update_yaxes(title="true", tickvals=places, ticktext=names, autorange="reversed", scaleanchor="x")
    return drawn


def _parallel(figure: Parallel) -> go.Figure:
    import plotly.graph_objects as go

    bar = {
        "title": f"{_text(figure.metric)},<br>by rank", "tickvals": [1 - rank for rank, _ in figure.marks],
        "ticktext": [_text(text) for _, text in figure.marks],
    }  # fmt: skip
    dimensions = [
        {
            "label": _text(axis.name), "values": list(reversed(axis.heights)), "range": [0.0, 1.0],
            "tickvals": [height for height, _ in axis.ticks], "ticktext": [_text(text) for _, text in axis.ticks],
        }
        for axis in figure.axes
    ]  # fmt: skip
    ranks = [1 - rank for rank in reversed(figure.ranks)]  # the best stands on top of the bar, and is drawn last
    line = {"color": ranks, "colorscale": "Viridis", "reversescale": True, "showscale": True, "colorbar": bar}
    drawn = go.Figure(go.Parcoords(dimensions=dimensions, line=line, labelangle=-15, labelside="bottom"))
    return drawn.update_layout(margin={"l": 90, "r": 60, "t": 90, "b": 110})


def _bars(figure: Bars) -> go.Figure:
    import plotly.graph_objects as go

    text = [f"{share:.0%}" for share in figure.shares]
    names = [_text(name) for name in figure.names]
    bars = go.Bar(x=list(figure.shares), y=names, orientation="h", text=text, marker={"color": COLOURS[0]})
    drawn = go.Figure(bars)
    drawn.update_xaxes(title="share of the importance (PED-ANOVA)", tickformat=".0%")
    drawn.update_yaxes(autorange="reversed", automargin=True, type="category")
    return drawn
