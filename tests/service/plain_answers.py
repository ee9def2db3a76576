"""What an expression says of a run, in plain Python: the meaning that both databases are held to."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

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
)

SIGNS = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
POSITIVE = {"!=": "=", "not in": "in", "not like": "like"}


@dataclass(frozen=True)
class PlainRun:
    """A run as a person would write it down. Times are datetimes, a metric has a value for some epochs."""

    columns: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)
    tags: frozenset[str] = frozenset()
    last: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    curves: dict[tuple[str, int], float] = field(default_factory=dict)


def fits(expression: Expression, run: PlainRun, now: datetime) -> bool:
    match expression:
        case And(parts):
            return all(fits(part, run, now) for part in parts)
        case Or(parts):
            return any(fits(part, run, now) for part in parts)
        case Not(part):
            return not fits(part, run, now)
        case Missing(Tag()):
            return not run.tags
        case Missing(asked):
            return found(asked, run, now) is None
        case Comparison(Tag(), sign, values):
            some = any(compares(tag, POSITIVE.get(sign, sign), values) for tag in run.tags)
            return some != (sign in POSITIVE)
        case Comparison(asked, sign, values):
            return compares(of_the_part(asked, found(asked, run, now)), sign, values)
    raise AssertionError(expression)


def found(asked: Field, run: PlainRun, now: datetime) -> Any:
    match asked:
        case Column("duration"):
            started, finished = run.columns.get("started"), run.columns.get("finished") or now
            return None if started is None else finished.timestamp() - started.timestamp()
        case Column(name):
            return run.columns.get(name)
        case Metric(name, of):
            value = (
                {"last": run.last, "best": run.best}[of].get(name)
                if isinstance(of, str)
                else run.curves.get((name, of))
            )
            return None if value is None or math.isnan(value) else value
        case Layers():
            layers = run.spec.get("network")
            return len(layers) if isinstance(layers, list) else None
        case Key(path):
            value = inside(run.spec, path)
            return float(value) if kind(value) is Kind.NUMBER else value  # numbers in JSON are doubles
    raise AssertionError(asked)


def inside(value: Any, path: tuple[str | int, ...]) -> Any:
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def of_the_part(asked: Field, value: Any) -> Any:
    """A part such as {"adam": {…}} is compared by its name."""
    if isinstance(asked, Key) and asked.named:
        return next(iter(value), None) if isinstance(value, dict) else None
    return value


def compares(value: Any, sign: str, values: tuple[Any, ...]) -> bool:
    """A value that is not there, or of another kind, compares with nothing."""
    alike = [wanted for wanted in values if kind(wanted) is kind(value)]
    if not alike:
        return False
    if sign in ("in", "not in"):
        return (value in alike) is (sign == "in")
    if sign in ("like", "not like"):
        return matches(alike[0], value) is (sign == "like")
    return bool(SIGNS[sign](value, alike[0]))


def kind(value: Any) -> Kind | None:
    match value:
        case bool():
            return Kind.TRUTH
        case int() | float():
            return Kind.NUMBER
        case str():
            return Kind.TEXT
        case datetime():
            return Kind.TIME
    return None


def matches(pattern: str, text: str) -> bool:
    """Letter by letter: which places of the pattern can be reached."""
    pieces: list[tuple[str, bool]] = []  # a character, and whether it is a wildcard
    rest = list(pattern)
    while rest:
        letter = rest.pop(0)
        if letter == "\\" and rest and rest[0] in "%_\\":
            pieces.append((rest.pop(0), False))
        else:
            pieces.append((letter, letter in "%_"))
    places = reachable({0}, pieces)
    for letter in text:
        stay = {place for place in places if place < len(pieces) and pieces[place] == ("%", True)}
        step = {p + 1 for p in places if p < len(pieces) and pieces[p] in ((letter, False), ("_", True))}
        places = reachable(stay | step, pieces)
    return len(pieces) in places


def reachable(places: set[int], pieces: list[tuple[str, bool]]) -> set[int]:
    """With those that lie behind a % of nothing."""
    for place in range(len(pieces)):
        if place in places and pieces[place] == ("%", True):
            places = places | {place + 1}
    return places
