"""How runs are sorted: `best(val_loss)`, `created desc`, `optimizer.adam.learning_rate`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double, type_coerce

from service.errors import InputError
from service.expressions.conditions import COLUMNS
from service.expressions.elements import Ordered
from service.expressions.fields import is_better_higher
from service.expressions.parser import parse_fields, parse_order
from service.expressions.tree import Column, Field, Key, Kind, Layers, Metric, Tag
from service.store.pages import Order
from service.store.spec_keys import length_of, name_of, path_id, written
from service.store.tables import Metric as MetricRow
from service.store.tables import Run, SpecKey, Summary
from service.wording import listed


def order(text: str) -> Order:
    """What `history.page` sorts by: a field, and `asc` or `desc` if need be.

    Unless told, metrics begin with the best, all else with the smallest. A key that may be of several kinds counts
    where it is a text. Raises InputError for a text that names no single value.
    """
    field, descending = parse_order(text)
    if descending is None:
        descending = isinstance(field, Metric) and is_better_higher(field.name)
    return Order(*_rows(field), descending)


def measure(text: str) -> Order:
    """A field that is a number, and which end of it is the better one."""
    field, _ = parse_order(text)
    if not field.kinds & {Kind.NUMBER, Kind.DURATION}:
        raise InputError(f"{field} is {listed(sorted(field.kinds), 'or')} and cannot be measured; take a number")
    return order(text)


def keys(text: str) -> list[Order]:
    """Fields by which runs are alike."""
    return [Order(*_rows(field), False) for field in parse_fields(text).values()]


def _rows(field: Field) -> tuple[Any, Any, tuple[Any, ...]]:
    """The value, the run that has it, and which rows of its table count."""
    match field:
        case Column(name):
            return _comparable(COLUMNS[name], field.kind), Run.id, ()
        case Metric(name, "last" | "best" as of):
            return getattr(Summary, of), Summary.run_id, (Summary.name == name,)
        case Metric(name, epoch):
            return MetricRow.value, MetricRow.run_id, (MetricRow.name == name, MetricRow.epoch == epoch)
        case Layers():
            return SpecKey.number, SpecKey.run_id, (SpecKey.path_id == path_id(length_of("network")),)
        case Key(path):
            place = written(path)
            if Kind.TEXT in field.kinds:
                place = name_of(place) if field.named else place
                return Ordered(SpecKey.text), SpecKey.run_id, (SpecKey.path_id == path_id(place),)
            value = SpecKey.truth if field.kinds == {Kind.TRUTH} else SpecKey.number
            return value, SpecKey.run_id, (SpecKey.path_id == path_id(place),)
        case Tag():
            raise AssertionError("the parser refuses it")


def _comparable(column: Any, kind: Kind) -> Any:
    """A text character by character, a time as the number that it is: a datetime would lose what is below 1 µs."""
    return {Kind.TEXT: Ordered(column), Kind.TIME: type_coerce(column, Double)}.get(kind, column)
