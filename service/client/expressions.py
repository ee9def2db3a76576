"""What the words of a caller mean: conditions, orders, runs by number or expression."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import TYPE_CHECKING

from service.errors import InputError
from service.store import history, pages
from service.store.transitions import NoSuchRun

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session


def numbers_of(session: Session, runs: str | Iterable[int]) -> list[int]:
    """Of runs that are named by their numbers, or by an expression that they fit; then the oldest first.

    Raises NoSuchRun, InputError.
    """
    if isinstance(runs, str):
        return sorted(pages.page(session, condition_of(runs)))
    run_ids = run_numbers(runs)
    there = history.states(session, run_ids)
    for run_id in run_ids:
        if run_id not in there:
            raise NoSuchRun(run_id)
    return run_ids


def run_numbers(run_ids: Iterable[int]) -> list[int]:
    """The numbers, each once; those of NumPy count. Raises InputError for what is no list of numbers."""
    wanted = "runs are told by a list of their numbers, such as [1, 2]"
    if isinstance(run_ids, str) or not isinstance(run_ids, Iterable):
        raise InputError(f"{wanted}, and not by {run_ids!r}")
    found: dict[int, None] = {}
    for run_id in run_ids:
        if not hasattr(run_id, "__index__"):
            raise InputError(f"{wanted}; {run_id!r} is no number of a run")
        found[index(run_id)] = None
    return list(found)


def fields_of(by: str | Iterable[str]) -> str:
    """The fields of a text or a list, as a text."""
    if isinstance(by, str) or not isinstance(by, Iterable):
        return by
    from service.expressions.tokens import check_text

    fields = list(by)
    for field in fields:
        check_text(field)
    return ", ".join(fields)


def check_limit(limit: int | None) -> None:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise InputError(f"limit is a whole number that is not negative, or None for all there are, and not {limit!r}")


def condition_of(where: str | None) -> ColumnElement[bool] | None:
    if where is None:
        return None
    from service.expressions import condition

    return condition(where)


def best_of(metric: str) -> str:
    from service.expressions import parse_fields
    from service.expressions.tree import Metric

    found = parse_fields(metric)
    if found != {metric: Metric(metric)}:
        match list(found.values()):
            case [Metric(name, "best")]:
                raise InputError(f"'{metric}': leave out best(), for the best value is meant anyway; write {name}")
        raise InputError(f"'{metric}' is not the name of a metric, such as val_accuracy")
    return f"best({metric})"


def order_of(sort: str | None) -> pages.Order:
    if sort is None:
        return pages.NEWEST
    from service.expressions import order

    return order(sort)
