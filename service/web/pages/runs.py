"""The table of runs: asked as on the command line, sorted by its heads, page after page, all of it in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from service.client import Client
from service.display import age, measured_by, number
from service.errors import InputError
from service.store.database import SchemaMismatch
from service.store.records import RunRecord
from service.web.pages.rows import rows

PAGE = 50
MOST_SELECTED = 100


@dataclass(frozen=True)
class Head:
    """A column's head. `order` is where a click leads; `sorted` is ascending, descending or empty."""

    text: str
    order: str | None
    link: str
    sorted: str = ""
    number: bool = False


def values(
    client: Client,
    where: str,
    sort: str,
    columns: str,
    after: int | None = None,
    before: int | None = None,
    select: str = "",
) -> dict[str, Any]:
    asked = {"where": where.strip(), "sort": sort.strip(), "columns": columns.strip()}
    selected = _numbers(select)
    page: dict[str, Any] = {
        **asked, "selected": selected, "error": None, "rows": [], "cells": None, "heads": [], "next": None,
        "previous": None, "first": address(asked | {"select": select}) if {after, before} != {None} else None,
    }  # fmt: skip
    try:
        shown, earlier, later = _page(client, asked, after, before)
        cells = client.values([run.id for run in shown], asked["columns"]) if asked["columns"] else None
    except SchemaMismatch:
        raise  # which is no fault of the expression
    except InputError as error:
        return page | {"error": str(error)}
    metric = next((name for run in shown if (name := measured_by(run))), None)
    page["heads"] = _plain_heads(asked, metric) if cells is None else _chosen_heads(asked, cells)
    page["rows"] = rows(client, shown)
    page["cells"] = None if cells is None else [[shown_value(value) for value in row.values()] for row in cells]
    if shown and earlier:
        page["previous"] = address(asked | {"before": shown[0].id, "select": select})
    if shown and later:
        page["next"] = address(asked | {"after": shown[-1].id, "select": select})
    return page


def _page(
    client: Client, asked: Mapping[str, str], after: int | None, before: int | None
) -> tuple[list[RunRecord], bool, bool]:
    """The runs of the page, and whether there may be some before them and some behind."""
    where, sort = asked["where"] or None, asked["sort"] or None
    if before is not None:
        found = client.runs(where, sort=sort, before=before, limit=PAGE + 1)
        if len(found) >= PAGE:
            return found[-PAGE:], len(found) > PAGE, True
        after = None  # the first page, made whole
    found = client.runs(where, sort=sort, after=after, limit=PAGE + 1)
    return found[:PAGE], after is not None, len(found) > PAGE


def address(parameters: Mapping[str, Any]) -> str:
    """The query of a link; what says nothing is left out."""
    said = {name: value for name, value in parameters.items() if value not in ("", None)}
    return f"?{urlencode(said)}" if said else "?"


def _plain_heads(asked: Mapping[str, str], metric: str | None) -> list[Head]:
    best = f"best({metric})" if metric else None
    heads = [("Run", "id", True), ("Name", "name", False), ("State", "state", False), ("Epoch", "epoch", False),
             ("Best", best, False), ("Time", "duration", True), ("Queued", "created", True),
             ("Worker", "worker", False)]  # fmt: skip
    return [_head(text, order, asked, is_number) for text, order, is_number in heads]


def _chosen_heads(asked: Mapping[str, str], cells: Sequence[Mapping[str, Any]]) -> list[Head]:
    names = list(cells[0]) if cells else []
    return [_head(name, name, asked, any(_is_number(row[name]) for row in cells)) for name in names]


def _head(text: str, order: str | None, asked: Mapping[str, str], is_number: bool) -> Head:
    """Clicked first it sorts its own way, then the other way round, then the newest come first again."""
    if order is None:
        return Head(text, None, "", number=is_number)
    now = asked["sort"] or "id desc"
    upwards = "desc" if text in ("Queued", "Run") or (order.startswith("best(") and "loss" not in order) else "asc"
    first = f"{order} {upwards}"
    second = f"{order} {'asc' if upwards == 'desc' else 'desc'}"
    after = second if now == first else "" if now == second else first
    direction = {first: upwards, second: "asc" if upwards == "desc" else "desc"}.get(now, "")
    link = address({**asked, "sort": "" if after == "id desc" else after})
    return Head(text, order, link, {"asc": "ascending", "desc": "descending"}.get(direction, ""), is_number)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown_value(value: Any) -> tuple[str, bool]:
    """A value in words, and whether it is a number."""
    match value:
        case None:
            return "-", False
        case bool():
            return str(value).lower(), False
        case datetime():
            return age(value), False
        case int():
            return str(value), True
        case float():
            return number(value), True
        case list():
            return " ".join(map(str, value)) or "-", False
    return " ".join(str(value).split()), False


def _numbers(text: str) -> list[int]:
    """The numbers in a list of them; what is none is left out."""
    found = [int(part) for part in text.split(",") if part.strip().isdecimal() and len(part) < 11]
    return list(dict.fromkeys(found))[:MOST_SELECTED]
