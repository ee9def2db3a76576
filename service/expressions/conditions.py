"""From the tree to SQL over `runs`. No text of a person reaches SQL but as a bound value.

Nothing made here is ever NULL, so that NOT is the opposite.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Double,
    Select,
    String,
    and_,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    type_coerce,
)

from service.expressions.elements import Like, Looked, Ordered
from service.expressions.parser import parse
from service.expressions.tree import (
    And,
    Column,
    Comparison,
    Expression,
    Field,
    Key,
    Kind,
    Layers,
    Metric,
    Missing,
    Not,
    Or,
    Tag,
    Value,
)  # fmt: skip
from service.store.clock import Timestamp, now
from service.store.spec_keys import LONGEST_TEXT, length_of, name_of, path_id, written
from service.store.tables import Metric as MetricRow
from service.store.tables import Run, SpecKey, State, Summary
from service.store.tables import Tag as TagRow

COLUMNS: dict[str, Any] = {
    **{name: getattr(Run, name) for name in ("id", "name", "state", "queue", "priority", "worker", "epoch", "epochs")},
    **{name: getattr(Run, name) for name in ("created", "started", "finished", "error")},
    "attempts": Run.attempt,
    **{name: getattr(Run, name) for name in ("note", "cloned_from", "fine_tuned_from", "replay_of", "imported_from")},
    "dataset": Run.dataset_sha256,
    "weights": Run.weights_sha256,
    "duration": type_coerce(func.coalesce(Run.finished, now()), Double) - type_coerce(Run.started, Double),
}
_MAY_BE_NULL = {
    "note", "cloned_from", "fine_tuned_from", "replay_of", "imported_from", "worker", "started", "finished", "error",
    "weights", "duration",
}  # fmt: skip
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def condition(text: str) -> ColumnElement[bool]:
    """What `select(Run).where(…)` takes; a statement that does not name Run needs `select_from(Run)`.

    Raises ExpressionError for a text that is no expression.
    """
    return compiled(parse(text))


def value(field: Field) -> ColumnElement[Any]:
    """The value of a field, such as `best(val_loss)`, `created` or `train.epochs`; NULL where the run has none.

    A key that may be of several kinds counts where it is a text; tags are one text, with blanks between them. The
    parser lets no section through here.
    """
    if isinstance(field, Tag):
        joined = select(func.aggregate_strings(TagRow.tag, " ")).where(TagRow.run_id == Run.id)
        return joined.correlate(Run).scalar_subquery()
    return _value(field, Kind.TEXT if Kind.TEXT in field.kinds else next(iter(field.kinds)))


def compiled(expression: Expression) -> ColumnElement[bool]:
    match expression:
        case And(parts):
            return and_(*map(compiled, parts))
        case Or(parts):
            return or_(*map(compiled, parts))
        case Not(part):
            return not_(compiled(part))
        case Missing(field):
            return _missing(field)
        case Comparison(Tag(), sign, values):
            return _tagged(sign, values)
        case Comparison(field, sign, values):
            return _compared(field, sign, values)


def _missing(field: Field) -> ColumnElement[bool]:
    match field:
        case Tag():
            return not_(_tags().exists())
        case Key():
            return not_(_there(field).exists())
        case Metric():
            return not_(_measured(field).where(Looked(_column(field)).is_not(None)).exists())
    return _value(field, next(iter(field.kinds))).is_(None)


def _tagged(sign: str, values: tuple[Value, ...]) -> ColumnElement[bool]:
    """Whether one of the run's tags fits; for a negative sign, whether none does."""
    positive = {"!=": "="}.get(sign, sign.removeprefix("not "))
    found = _tags().where(_test(TagRow.tag, positive, values)).exists()
    return found if positive == sign else not_(found)


def _compared(field: Field, sign: str, values: tuple[Value, ...]) -> ColumnElement[bool]:
    if isinstance(field, Metric):
        return _measured(field).where(_test(Looked(_column(field)), sign, values)).exists()
    if isinstance(field, Column):
        test = _test(COLUMNS[field.name], sign, values, _literal_state if field.name == "state" else None)
        return func.coalesce(test, false()) if field.name in _MAY_BE_NULL else test
    assert not isinstance(field, Tag)
    by_kind: dict[Kind, list[Value]] = {}
    for one in values:
        by_kind.setdefault(_kind(one), []).append(one[:LONGEST_TEXT] if isinstance(one, str) else one)
    return or_(
        *(
            _there(field, kind).where(_test(Looked(_KEY[kind]), sign, tuple(alike))).exists()
            for kind, alike in by_kind.items()
        )
    )


def _kind(value: Value) -> Kind:
    return Kind.TRUTH if isinstance(value, bool) else Kind.TEXT if isinstance(value, str) else Kind.NUMBER


def _test(
    element: Any, sign: str, values: tuple[Value, ...], bind: Callable[[Value], ColumnElement[Any]] | None = None
) -> ColumnElement[bool]:
    """The comparison itself; NULL where there is nothing to compare."""
    if sign in ("like", "not like"):
        fits = Like(element, str(values[0]))
        return fits if sign == "like" else not_(fits)
    bound = list(map(bind or _bound, values))
    if sign in ("in", "not in"):
        return cast(ColumnElement[bool], element.in_(bound) if sign == "in" else element.not_in(bound))
    if isinstance(values[0], str) and sign not in ("=", "!="):
        element = Ordered(element)
    return cast(ColumnElement[bool], _SIGNS[sign](element, bound[0]))


def _bound(value: Value) -> ColumnElement[Any]:
    kinds: dict[type, Any] = {
        bool: Boolean(), int: BigInteger(), float: Double(), str: String(), datetime: Timestamp()
    }  # fmt: skip
    return literal(value, kinds[type(value)])


def _literal_state(state: Value) -> ColumnElement[Any]:
    """A state as a literal, so that the partial indexes serve. Nothing but a state becomes one."""
    return literal_column(f"'{State(str(state))}'", String)


# What a field is in SQL

_KEY: dict[Kind, Any] = {Kind.NUMBER: SpecKey.number, Kind.TEXT: SpecKey.text, Kind.TRUTH: SpecKey.truth}


def _value(field: Field, kind: Kind) -> ColumnElement[Any]:
    """The field as a single value of this kind, NULL where there is none."""
    match field:
        case Column(name):
            element: ColumnElement[Any] = COLUMNS[name]
            return element
        case Metric():
            return _measured(field).scalar_subquery()
        case Layers() | Key():
            return _there(field, kind).with_only_columns(_KEY[kind]).scalar_subquery()
    raise AssertionError(f"{field} is no single value")


def _there(field: Layers | Key, kind: Kind | None = None) -> Select[Any]:
    """What the run's spec has at this place, by the primary key."""
    if isinstance(field, Layers):
        path = length_of("network")
    else:
        path = written(field.path)
        path = name_of(path) if field.named and kind is Kind.TEXT else path
    return select(SpecKey.run_id).where(SpecKey.path_id == path_id(path), SpecKey.run_id == Run.id).correlate(Run)


def _column(metric: Metric) -> ColumnElement[Any]:
    columns: dict[str | int, Any] = {"last": Summary.last, "best": Summary.best}
    found: ColumnElement[Any] = columns.get(metric.of, MetricRow.value)
    return found


def _measured(metric: Metric) -> Select[Any]:
    """The metric's value; it is found by the primary key."""
    if isinstance(metric.of, str):
        return select(_column(metric)).where(Summary.run_id == Run.id, Summary.name == metric.name).correlate(Run)
    at = (MetricRow.run_id == Run.id, MetricRow.name == metric.name, MetricRow.epoch == metric.of)
    return select(MetricRow.value).where(*at).correlate(Run)


def _tags() -> Select[Any]:
    return select(TagRow.run_id).where(TagRow.run_id == Run.id).correlate(Run)
