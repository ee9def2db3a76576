"""Curves in the terminal, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH, HEIGHT = 64, 14  # of the frame's inside; the labels of the axis stand beside it


def curve(x: Sequence[float], y: Sequence[float], title: str, *, logarithmic: bool = False) -> str:
    """y over x as a framed plot of block characters; `logarithmic` is about x."""
    from uniplot import plot_to_string

    lines = plot_to_string(
        list(y), list(x), width=WIDTH, height=HEIGHT, title=title, lines=True, x_as_log=logarithmic, color=False
    )
    return "\n".join(line.rstrip() for line in lines.splitlines())
