"""Pages of runs: those that fit, in an order, beginning after one that was on the page before.

Runs that have no value to sort by come last, the newest first. The page before a run is the same in the order turned
round, where they come first, and the oldest of them first. A page is looked for in two ways, for no database knows
beforehand which is the short one:

- along the index of the order, from the last one's place on, so that the hundredth page costs what the first does;
- where few fit, that walk would be a long one. After some steps all that fit are gathered, and then sorted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, exists, not_, or_, select, true, tuple_
from sqlalchemy.orm import Session

from service.store.tables import Run
from service.store.transitions import NoSuchRun

STEPS = 1_000  # of the walk; a step costs some microseconds


@dataclass(frozen=True)
class Order:
    """`value` of those rows of its table that fit `rows`, one for each run at most; `run_id` says whose it is."""

    value: Any
    run_id: Any
    rows: tuple[ColumnElement[bool], ...]
    descending: bool
    backwards: bool = False  # so that runs without a value come first

    @property
    def turned(self) -> Order:
        return replace(self, descending=not self.descending, backwards=not self.backwards)

    @property
    def there(self) -> tuple[ColumnElement[bool], ...]:
        return (*self.rows, self.value.is_not(None))

    @property
    def in_runs(self) -> bool:
        """Whether the value stands in the run's own row."""
        return self.run_id is Run.id


NEWEST = Order(Run.id, Run.id, (), descending=True)


def page(
    session: Session,
    fits: ColumnElement[bool] | None,
    order: Order = NEWEST,
    after: int | None = None,
    limit: int | None = None,
) -> list[int]:
    """The numbers of the runs that fit, in this order, from the one behind `after` on.

    Raises NoSuchRun when there is no run `after`.
    """
    place = None if after is None else _place(session, order, after)
    found: list[int] = []
    if limit is not None and _along_the_index(order, place):
        steps = _along(order, place) if fits is None else _walk(order, place, fits)
        found = list(session.scalars(steps.limit(limit)))
        if order.backwards and fits is None:  # those without a value lie behind
            return found
    if len(found) == limit:
        return found
    return list(session.scalars(_gather(order, place, true() if fits is None else fits).limit(limit)))


def page_before(session: Session, fits: ColumnElement[bool] | None, order: Order, before: int, limit: int) -> list[int]:
    """The numbers of the last runs that come before this one and fit, in this order.

    Raises NoSuchRun when there is no run `before`.
    """
    return page(session, fits, order.turned, before, limit)[::-1]


def _along_the_index(order: Order, place: Place | None) -> bool:
    """Whether the index has the next ones: not those that have no value."""
    if place is None:
        return not order.backwards
    return place.value is not None


@dataclass(frozen=True)
class Place:
    """Where a run stands in an order: by its value, if it has one, then by its number."""

    value: Any | None
    run_id: int


def _place(session: Session, order: Order, run_id: int) -> Place:
    if session.scalar(select(Run.id).where(Run.id == run_id)) is None:
        raise NoSuchRun(run_id)
    return Place(session.scalar(select(order.value).where(*order.there, order.run_id == run_id)), run_id)


def _along(order: Order, place: Place | None) -> Select[Any]:
    """The runs that have a value, as the index has them."""
    query = select(order.run_id.label("run_id"), order.value.label("value")).where(*order.there)
    if place is not None:
        query = query.where(_behind(order, place, order.value, order.run_id))
    return _sorted(query, order, order.value, order.run_id)


def _behind(order: Order, place: Place, value: Any, run_id: Any) -> ColumnElement[bool]:
    here, there = tuple_(value, run_id), tuple_(place.value, place.run_id)
    return here < there if order.descending else here > there


def _sorted(query: Select[Any], order: Order, value: Any, run_id: Any) -> Select[Any]:
    return query.order_by(*((value.desc(), run_id.desc()) if order.descending else (value, run_id)))


def _walk(order: Order, place: Place | None, fits: ColumnElement[bool]) -> Select[Any]:
    """Those that fit among the next ones."""
    steps = _along(order, place).limit(STEPS).subquery()
    query = select(steps.c.run_id).where(exists().where(Run.id == steps.c.run_id, fits).correlate(steps))
    return _sorted(query, order, steps.c.value, steps.c.run_id)


def _gather(order: Order, place: Place | None, fits: ColumnElement[bool]) -> Select[Any]:
    """All that fit, sorted; MATERIALIZED keeps the databases from walking along the order after all."""
    found = order.value
    if not order.in_runs:
        found = select(found).where(*order.rows, order.run_id == Run.id).correlate(Run).scalar_subquery()
    fitting = select(Run.id.label("run_id"), found.label("value")).where(fits).cte("fitting")
    fitting = fitting.prefix_with("MATERIALIZED")
    run_id, value = fitting.c.run_id, fitting.c.value
    without = value.is_(None)
    query = select(run_id).order_by(without.desc() if order.backwards else without)
    if place is not None:
        query = query.where(_after(order, place, value, run_id))
    # Of runs without a value the newest comes first, or backwards the oldest, whatever the order.
    other_way = order.descending == order.backwards
    return _sorted(query, order, value, case((without, -run_id), else_=run_id) if other_way else run_id)


def _after(order: Order, place: Place, value: Any, run_id: Any) -> ColumnElement[bool]:
    """What comes behind a place, of those with a value and of those without."""
    without: ColumnElement[bool] = value.is_(None)
    if place.value is None and order.backwards:
        return or_(and_(without, run_id > place.run_id), not_(without))
    if place.value is None:
        return and_(without, run_id < place.run_id)
    behind = _behind(order, place, value, run_id)
    return behind if order.backwards else or_(without, behind)
