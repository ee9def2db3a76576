"""What the history says of many runs at once: a value by group, and the front of two values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Double, Select, Subquery, and_, func, or_, select, type_coerce
from sqlalchemy.orm import Session

from service.store.pages import Order
from service.store.tables import Run


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
    spread = _Spread(_values(measured, fits).subquery(), [_values(order).subquery() for order in by])
    best = func.max if measured.descending else func.min
    # Squares keep their digits beside the mean of their own group, which may lie far from the other values.
    near = spread.ask(*spread.keys, spread.value, spread.mean.label("mean")).subquery()
    *keys, value, mean = near.c
    off = type_coerce(value, Double) - mean
    rows = session.execute(
        select(*keys, func.count(), func.max(mean), func.avg(off * off), best(value)).group_by(*keys)
    )
    found = sorted(rows, key=lambda row: float(row[-1]), reverse=measured.descending)[:limit]
    return [
        Group(tuple(key), count, mean, _deviation(count, square), top, spread.holder(session, key, top))
        for *key, count, mean, square, top in found
    ]


class _Spread:
    """A value of runs, with each key where they have it."""

    def __init__(self, values: Subquery, keys: Sequence[Subquery]) -> None:
        self._values, self._keys = values, keys
        self.value, self.keys = values.c.value, [key.c.value for key in keys]

    @property
    def mean(self) -> ColumnElement[float]:
        """Of the group that a value is in."""
        return func.avg(type_coerce(self.value, Double)).over(partition_by=self.keys)

    def ask(self, *columns: Any) -> Select[Any]:
        query = select(*columns).select_from(self._values)
        for key in self._keys:
            query = query.outerjoin(key, key.c.run_id == self._values.c.run_id)
        return query

    def holder(self, session: Session, key: Sequence[Any], best: Any) -> int:
        """The oldest run of a group that has this value."""
        alike = [
            column.is_(None) if wanted is None else column == wanted
            for column, wanted in zip(self.keys, key, strict=True)
        ]
        query = self.ask(func.min(self._values.c.run_id)).where(self.value == best, *alike)
        return int(session.scalars(query).one())


def _deviation(count: int, square: float) -> float | None:
    return math.sqrt(square * count / (count - 1)) if count > 1 else None


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
