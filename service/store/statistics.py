"""What the history says of many runs at once: a value by group, and the front of two values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, Subquery, and_, func, or_, select, type_coerce
from sqlalchemy.orm import Session

from service.store.clock import now, stopped
from service.store.pages import Order, page
from service.store.tables import Run

LOST = 1e-6  # a variance that is less of the mean square has lost too many of its digits


@dataclass(frozen=True)
class Group:
    """The runs that are alike in some fields, and how a value is spread over them."""

    key: tuple[Any, ...]
    count: int  # of runs that have the value
    mean: float
    deviation: float | None  # of a sample; None for a single run
    best: float
    run_id: int  # the oldest that has it


def groups(
    session: Session, fits: ColumnElement[bool] | None, measured: Order, by: Sequence[Order], limit: int
) -> list[Group]:
    """The groups with the best values, the best first; runs without the value are left out."""
    moment = session.scalars(select(now())).one()  # the duration of a run that trains grows from statement to statement
    fits = None if fits is None else stopped(fits, moment)
    measured, *by = (replace(order, value=stopped(order.value, moment)) for order in (measured, *by))
    first = page(session, fits, measured, limit=1)
    centre = session.scalar(select(measured.value).where(*measured.there, measured.run_id.in_(first)))
    if centre is None:
        return []
    spread = _Spread(_values(measured, fits).subquery(), [_values(order).subquery() for order in by])
    best = (func.max if measured.descending else func.min)(spread.value)
    off = type_coerce(spread.value, Double) - centre  # small numbers, whose squares keep their digits
    rows = session.execute(
        spread.ask(*spread.keys, func.count(), func.avg(off), func.avg(off * off), best).group_by(*spread.keys)
    )
    found = sorted(rows, key=lambda row: float(row[-1]), reverse=measured.descending)[:limit]
    told = []
    for *key, count, mean, square, top in found:
        middle, variance = centre + mean, square - mean * mean
        if count > 1 and variance < LOST * square:
            variance = spread.variance(session, key, middle)
        deviation = math.sqrt(variance * count / (count - 1)) if count > 1 else None
        told.append(Group(tuple(key), count, middle, deviation, top, spread.holder(session, key, top)))
    return told


class _Spread:
    """A value of runs, with each key where they have it."""

    def __init__(self, values: Subquery, keys: Sequence[Subquery]) -> None:
        self._values, self._keys = values, keys
        self.value, self.keys = values.c.value, [key.c.value for key in keys]

    def ask(self, *columns: Any) -> Select[Any]:
        query = select(*columns).select_from(self._values)
        for key in self._keys:
            query = query.outerjoin(key, key.c.run_id == self._values.c.run_id)
        return query

    def holder(self, session: Session, key: Sequence[Any], best: Any) -> int:
        """The oldest run of a group that has this value."""
        query = self.ask(func.min(self._values.c.run_id)).where(self.value == best, *self._alike(key))
        return int(session.scalars(query).one())

    def variance(self, session: Session, key: Sequence[Any], mean: float) -> float:
        """That of a group's values around their mean, to all its digits."""
        off = type_coerce(self.value, Double) - mean
        return float(session.scalars(self.ask(func.avg(off * off)).where(*self._alike(key))).one())

    def _alike(self, key: Sequence[Any]) -> list[ColumnElement[bool]]:
        return [
            column.is_(None) if wanted is None else column == wanted
            for column, wanted in zip(self.keys, key, strict=True)
        ]


def _values(order: Order, fits: ColumnElement[bool] | None = None) -> Select[Any]:
    """The value of each run that has one, and fits."""
    query = select(order.run_id.label("run_id"), order.value.label("value")).where(*order.there)
    return query if fits is None else query.where(order.run_id.in_(select(Run.id).where(fits)))


def front(session: Session, fits: ColumnElement[bool] | None, first: Order, second: Order) -> list[int]:
    """The runs of which no other is better in one of two values and at least as good in the other (Pareto's front).

    They come in the order of the first value; of runs with equal values all are there.
    """
    one, two = _values(first, fits).subquery(), _values(second).subquery()
    query = select(one.c.run_id.label("run_id"), one.c.value.label("a"), two.c.value.label("b"))
    both = query.join(two, two.c.run_id == one.c.run_id).subquery()
    a = both.c.a.desc() if first.descending else both.c.a
    best = func.max if second.descending else func.min
    # The best second value of those with a better first one, and of those with the same first one.
    before = best(both.c.b).over(order_by=a, groups=(None, -1))
    equal = best(both.c.b).over(partition_by=both.c.a)
    ranked = select(both, before.label("before"), equal.label("equal")).subquery()
    better = ranked.c.b > ranked.c.before if second.descending else ranked.c.b < ranked.c.before
    stands = and_(ranked.c.b == ranked.c.equal, or_(ranked.c.before.is_(None), better))
    rank = ranked.c.a.desc() if first.descending else ranked.c.a
    return list(session.scalars(select(ranked.c.run_id).where(stands).order_by(rank, ranked.c.run_id)))
