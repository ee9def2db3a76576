"""The keys of a spec, read off its schema, so that a misspelt one is told and a new one is known."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import Any

from pydantic import BaseModel

from service.expressions.tree import Key, Kind, Path
from service.spec import Spec
from service.spec.parts import Choice


@dataclass(frozen=True)
class Place:
    """What may stand somewhere in a spec: plain values of some kinds, and what is inside."""

    kinds: frozenset[Kind] = frozenset()
    choices: tuple[str, ...] = ()
    named: bool = False  # a part such as an optimizer; it can be compared by its name
    keys: Mapping[str, Any] = field(default_factory=dict)  # the type of each
    items: Any = None  # the type of what a list holds
    free: Any = None  # the type of what stands under keys of the person's own

    @property
    def nested(self) -> bool:
        return bool(self.keys) or self.items is not None or self.free is not None

    def inside(self, step: str) -> tuple[str | int, Any] | None:
        """The step as it is stored, and the type of what is there; None: there is no such key."""
        if step in self.keys:
            return step, self.keys[step]
        if self.items is not None and step.isdigit():
            return int(step), self.items
        return None if self.free is None else (step, self.free)


TOP = {name: info.annotation for name, info in Spec.model_fields.items()}
LARGEST_INDEX = 10_000  # no spec has so many layers


def place(annotation: Any) -> Place:
    """What a type of the schema allows."""
    return _joined([_plain(kind) for kind in _alternatives(annotation)])


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(arguments[0])
    elif origin in (typing.Union, UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    else:
        yield annotation


def _plain(kind: Any) -> Place:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return Place(frozenset({Kind.TEXT}), choices=tuple(map(str, arguments)))
    if origin is list:
        return Place(items=arguments[0])
    if origin is dict:
        return Place(free=arguments[1])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        keys = {name: info.annotation for name, info in kind.model_fields.items()}
        if issubclass(kind, Choice):
            return Place(frozenset({Kind.TEXT}), choices=tuple(keys), named=True, keys=keys)
        return Place(keys=keys)
    known = {bool: Kind.TRUTH, int: Kind.NUMBER, float: Kind.NUMBER, str: Kind.TEXT}
    return Place(frozenset({known[kind]} if kind in known else ()))


def _joined(places: list[Place]) -> Place:
    """What a union of types allows; of those there are, at most one is a mapping or a list."""
    nested = next((one for one in places if one.nested), Place())
    kinds = frozenset(kind for one in places for kind in one.kinds)
    texts = [one for one in places if Kind.TEXT in one.kinds]
    choices = tuple(name for one in texts for name in one.choices) if all(one.choices for one in texts) else ()
    return Place(kinds, choices, nested.named, nested.keys, nested.items, nested.free)


def key(path: Path, annotation: Any) -> Key:
    here = place(annotation)
    return Key(path, here.kinds, here.choices, here.named)


@cache
def known_keys() -> tuple[Key, ...]:
    """Every key that can be compared, in the order of the schema; what is inside of lists is left out."""
    return tuple(found for name, annotation in TOP.items() for found in _below((name,), annotation))


def _below(path: Path, annotation: Any) -> Iterator[Key]:
    found = key(path, annotation)
    if found.kinds:
        yield found
    for name, inner in place(annotation).keys.items():
        yield from _below((*path, name), inner)


def is_whole(path: Path) -> bool:
    """Whether what stands at this path of a spec is a whole number, if it is a number."""
    annotation: Any = None
    keys = Place(keys=TOP)
    for step in path:
        found = keys.inside(str(step))
        assert found is not None, "the path of a key leads somewhere"
        annotation = found[1]
        keys = place(annotation)
    kinds = set(_alternatives(annotation))
    return int in kinds and float not in kinds
