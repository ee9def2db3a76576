"""The keys of a spec and the metrics, as known.json tells them, so that a misspelt one is told and a new one known."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path as File
from typing import Any

from service.expressions.tree import Key, Kind, Path

KNOWN = File(__file__).with_name("known.json")  # made by known.py
LARGEST_INDEX = 10_000  # no spec has so many layers


@dataclass(frozen=True)
class Place:
    """What may stand somewhere in a spec: plain values of some kinds, and what is inside."""

    kinds: frozenset[Kind] = frozenset()
    choices: tuple[str, ...] = ()
    named: bool = False  # a part such as an optimizer; it can be compared by its name
    whole: bool = False  # its numbers are whole ones
    keys: Mapping[str, Any] = field(default_factory=dict)  # what known.json says of each
    items: Any = None  # of what a list holds
    free: Any = None  # of what stands under keys of the person's own

    @property
    def nested(self) -> bool:
        return bool(self.keys) or self.items is not None or self.free is not None

    def inside(self, step: str) -> tuple[str | int, Place] | None:
        """The step as it is stored, and the place it leads to; None: there is no such key."""
        if step in self.keys:
            return step, place(self.keys[step])
        if self.items is not None and step.isdigit():
            return int(step), place(self.items)
        return None if self.free is None else (step, place(self.free))


@cache
def known() -> Mapping[str, Any]:
    found: dict[str, Any] = json.loads(KNOWN.read_bytes())
    return found


def metrics() -> Mapping[str, str]:
    """Which way each metric is better, `top_k` standing for all of its numbers."""
    found: dict[str, str] = known()["metrics"]
    return found


def top() -> Place:
    """A whole spec."""
    return place({"section": "Spec"})


def place(facts: Mapping[str, Any]) -> Place:
    """What known.json says of a place."""
    told = {name: facts[name] for name in ("named", "whole", "items", "free") if name in facts}
    kinds = frozenset(map(Kind, facts.get("kinds", ())))
    return Place(kinds, tuple(facts.get("choices", ())), keys=known()["sections"].get(facts.get("section"), {}), **told)


def key(path: Path, here: Place) -> Key:
    return Key(path, here.kinds, here.choices, here.named)


@cache
def known_keys() -> tuple[Key, ...]:
    """Every key that can be compared, in the order of the schema; what is inside of lists is left out."""
    return tuple(_below((), top()))


def _below(path: Path, here: Place) -> Iterator[Key]:
    if here.kinds:
        yield key(path, here)
    for name, inner in here.keys.items():
        yield from _below((*path, name), place(inner))


def is_whole(path: Path) -> bool:
    """Whether what stands at this path of a spec is a whole number, if it is a number."""
    here = top()
    for step in path:
        found = here.inside(str(step))
        assert found is not None, "the path of a key leads somewhere"
        here = found[1]
    return here.whole
