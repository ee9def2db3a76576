"""What a part can be told, and the lists of parts by name.

A part (layer, loss, optimizer …) is a frozen dataclass whose fields are made by `setting`. The facts in a field's
metadata are the only place where a limit is written: the checks here, the job file's schema, the documentation and the
error messages are all made from them.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Collection
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar

Part = TypeVar("Part")
Registered = TypeVar("Registered")


class Registry(dict[str, Part]):
    """Parts of one kind by the name they have in a job file, in the order in which they were written."""

    def __init__(self, noun: str) -> None:
        super().__init__()
        self.noun = noun

    def register(self, name: str) -> Callable[[Registered], Registered]:
        """A decorator that lists a class or function under this name and writes the name on it as `kind`."""

        def add(part: Registered) -> Registered:
            if name in self:
                raise ValueError(f"there is already a {self.noun} called {name!r}")
            self[name] = typing.cast(Part, part)
            part.kind = name  # type: ignore[attr-defined]
            return part

        return add

    def __missing__(self, name: str) -> Part:
        raise KeyError(f"there is no {self.noun} called {name!r}; there are {', '.join(self)}")


def setting(
    default: Any = dataclasses.MISSING,
    *,
    above: float | None = None,
    least: float | None = None,
    below: float | None = None,
    most: float | None = None,
    choices: Collection[str] | None = None,
    doc: str = "",
) -> Any:
    """A dataclass field with its limits: `above` < value, `least` <= value, value < `below`, value <= `most`."""
    facts = {"above": above, "least": least, "below": below, "most": most, "choices": choices, "doc": doc}
    return dataclasses.field(default=default, metadata=facts)


class Settings:
    """The base of everything that is made of settings: they are checked once, when the part is made."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        check_settings(self)


def check_settings(part: Any) -> None:
    """Raise ValueError with one sentence if a field made by `setting` holds what it must not."""
    owner: type = type(part)
    for name, types, facts in _limited(owner):
        if fault := _fault(getattr(part, name), types, facts):
            label = getattr(part, "kind", "") or owner.__name__
            raise ValueError(f"{label}: {name} {fault}, got {getattr(part, name)!r}")


@cache
def _limited(part: type) -> list[tuple[str, tuple[Any, ...], typing.Mapping[str, Any]]]:
    """The fields made by `setting`, with their types and facts."""
    fields = (field for field in dataclasses.fields(part) if "choices" in field.metadata)
    return [(field.name, field_types(part)[field.name], field.metadata) for field in fields]


@cache
def field_types(part: type) -> dict[str, tuple[Any, ...]]:
    """The types each field may have: `str | None` is (str, NoneType), `tuple[int, ...]` is one type."""
    hints = typing.get_type_hints(part)
    return {field.name: _alternatives(hints[field.name]) for field in dataclasses.fields(part)}


def _alternatives(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def item_type(kind: Any) -> Any:
    """int for `tuple[int, ...]`, a list in a job file; None for what is not a list."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else None


def _fault(value: Any, types: tuple[Any, ...], facts: typing.Mapping[str, Any]) -> str:
    """Why the value is wrong, as the end of a sentence, or nothing. Limits are for numbers, choices for names."""
    if value is None and NoneType in types:
        return ""
    if isinstance(value, tuple):
        return _fault_of_list(value, types, facts)
    if not _has_type(value, types):
        return f"must be {_named(types)}"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if not isinstance(value, str):
        return "" if isinstance(value, bool) else _outside(value, facts)
    if facts["choices"] is not None and value not in facts["choices"]:
        words = [*facts["choices"], *(_named((kind,)) for kind in types if kind not in (str, NoneType))]
        return f"must be one of {', '.join(words)}"
    return ""


def _fault_of_list(value: tuple[Any, ...], types: tuple[Any, ...], facts: typing.Mapping[str, Any]) -> str:
    items = tuple(item_type(kind) for kind in types if item_type(kind) is not None)
    if not items:
        return f"must be {_named(types)}"
    if not value:
        return "must not be empty"
    return next((f"{fault} in each place" for fault in (_fault(item, items, facts) for item in value) if fault), "")


def _outside(value: Any, facts: typing.Mapping[str, Any]) -> str:
    if facts["above"] is not None and not value > facts["above"]:
        return f"must be above {facts['above']}"
    if facts["least"] is not None and not value >= facts["least"]:
        return f"must be at least {facts['least']}"
    if facts["below"] is not None and not value < facts["below"]:
        return f"must be below {facts['below']}"
    if facts["most"] is not None and not value <= facts["most"]:
        return f"must be at most {facts['most']}"
    return ""


def _has_type(value: Any, types: tuple[Any, ...]) -> bool:
    if isinstance(value, bool):  # bool is an int to Python, but `units: true` is a mistake
        return bool in types
    return isinstance(value, _no_lists(types)) or (isinstance(value, int) and float in types)


@cache
def _no_lists(types: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(kind for kind in types if item_type(kind) is None)


def _named(types: tuple[Any, ...]) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a name", NoneType: "empty"}
    lists = {int: "a list of whole numbers", float: "a list of numbers", str: "a list of names"}
    items = [(kind, item_type(kind)) for kind in types]
    return " or ".join(
        words.get(kind, f"a {kind.__name__.lower()}")
        if item is None
        else lists.get(item, f"a list of {item.__name__.lower()}s")
        for kind, item in items
    )
