"""Runs beside each other: curves over each other, what differs, parallel coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.client import Client
from service.comparison import Comparison
from service.display import number
from service.errors import InputError
from service.figures import curves, parallel
from service.store.database import SchemaMismatch
from service.web.pages.charts import Chart, Drawn, Threads, chart, threads
from service.web.pages.runs import MOST_SELECTED, shown_value


def values(client: Client, run_ids: Sequence[int], where: str, metric: str) -> dict[str, Any]:
    """`where` is asked if no runs are named."""
    page: dict[str, Any] = {
        "where": where.strip(), "metric": metric.strip(), "ids": list(dict.fromkeys(run_ids)), "error": None,
        "found": None, "chart": None, "threads": None, "metrics": [], "names": [], "differences": [], "more": False,
    }  # fmt: skip
    try:
        if not run_ids and page["where"]:
            fitting = [run.id for run in client.runs(page["where"], limit=MOST_SELECTED + 1)]
            page |= {"ids": sorted(fitting[:MOST_SELECTED]), "more": len(fitting) > MOST_SELECTED}
        if len(page["ids"]) < 2:
            return page
        found = client.compare(page["ids"], page["metric"] or None)
    except SchemaMismatch:
        raise  # which is no fault of the expression
    except InputError as error:
        return page | {"error": str(error)}
    return page | {
        "found": found, "names": found.metrics, "metrics": _metrics(found), "differences": _differences(found),
        "chart": _chart(found), "threads": _threads(found),
    }  # fmt: skip


def _chart(found: Comparison) -> Chart | None:
    try:
        drawn = curves(found)
    except InputError:
        return None  # no run has a point yet, which the page says
    lines = [Drawn(line.name, line.points, line.colour, line.dashed) for line in drawn.lines]
    lines.sort(key=lambda line: line.colour is not None)  # grey ones lie below
    return chart(drawn.metric, lines, logarithmic=drawn.logarithmic)


def _threads(found: Comparison) -> Threads | None:
    try:
        return threads(parallel(found))
    except InputError:
        return None  # one run, or no key that differs


def _metrics(found: Comparison) -> list[tuple[str, list[tuple[str, bool]]]]:
    """For each metric each run's best value, and whether none is better."""
    rows = []
    for name in found.metrics:
        best = found.best(name)
        cells = [number(summary.best if summary else None) for summary in found.summaries(name)]
        rows.append((name, [(cell, at == best) for at, cell in enumerate(cells)]))
    return rows


def _differences(found: Comparison) -> list[tuple[str, list[tuple[str, list[tuple[str, bool]]]]]]:
    groups = (("Spec", found.spec), ("Around it", found.facts))
    return [
        (title, [(path, [shown_value(value) for value in cells]) for path, cells in columns.items()])
        for title, columns in groups
        if columns
    ]
