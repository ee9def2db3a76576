"""Points of steps for display: a million of them thinned by the database to as many as a plot can show.

The steps are cut into stretches of the same length. Of each the lowest and the highest point are kept, so that a spike
of a single step is seen; the first and the last point are kept too. What is stored is never thinned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Integer, Select, literal, select, union
from sqlalchemy.orm import Session

from service.store.tables import StepMetric

FEWEST = 4  # points to which a curve can be thinned: the first, the last, and two of one stretch


def names(session: Session, run_id: int) -> list[str]:
    """Of which metrics a run has points of steps. Goes from name to name, and does not read the points between."""
    found: list[str] = []
    following = select(StepMetric.name).where(StepMetric.run_id == run_id).order_by(StepMetric.name).limit(1)
    while name := session.scalar(following.where(StepMetric.name > found[-1]) if found else following):
        found.append(name)
    return found


def curve(session: Session, run_id: int, name: str, points: int | None) -> Sequence[Any]:
    """Steps and values in order, at most so many points; None: all there are."""
    own = select(StepMetric.step, StepMetric.value).where(StepMetric.run_id == run_id, StepMetric.name == name)
    in_order = own.order_by(StepMetric.step)
    if points is None:
        return session.execute(in_order).all()
    points = max(points, FEWEST)
    found = session.execute(in_order.limit(points + 1)).all()
    if len(found) <= points:
        return found
    first = found[0].step
    last = session.execute(own.order_by(StepMetric.step.desc()).limit(1)).one().step
    ends = (select(literal(first, Integer)), select(literal(last, Integer)))
    kept = union(*_extremes(run_id, name, first, last, (points - 2) // 2), *ends)
    return session.execute(in_order.where(StepMetric.step.in_(kept))).all()


def _extremes(run_id: int, name: str, first: int, last: int, stretches: int) -> Iterator[Any]:
    """The steps of the lowest and of the highest point of each stretch.

    A look into the index for each stretch: sorting or grouping the million takes several times as long.
    """
    length = -(-(last - first + 1) // stretches)
    starts = select(literal(first, Integer).label("start")).cte("stretches", recursive=True)
    starts = starts.union_all(select(starts.c.start + length).where(starts.c.start + length <= last))
    inside: Select[Any] = select(StepMetric.step).where(
        StepMetric.run_id == run_id, StepMetric.name == name, StepMetric.value.is_not(None),
        StepMetric.step >= starts.c.start, StepMetric.step < starts.c.start + length,
    )  # fmt: skip
    for order in (StepMetric.value, StepMetric.value.desc()):
        extreme = inside.order_by(order, StepMetric.step).limit(1).correlate(starts).scalar_subquery()
        yield select(extreme).select_from(starts)
