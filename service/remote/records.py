"""Records out of the JSON that they were written as: the other way of `Record.json`."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def made(kind: type[T], value: Any) -> T:
    """A value of this type. What a newer yard tells beside what is known here is left out."""
    return _made(kind, value)  # type: ignore[no-any-return]


def _made(kind: Any, value: Any) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        (inner,) = (part for part in parts if part is not NoneType)
        return None if value is None else _made(inner, value)
    if origin is tuple:
        kinds = [parts[0]] * len(value) if parts[-1] is Ellipsis else parts
        return tuple(_made(part, item) for part, item in zip(kinds, value, strict=True))
    if origin is list:
        return [_made(parts[0], item) for item in value]
    if origin is dict:
        return {_made(parts[0], key): _made(parts[1], item) for key, item in value.items()}
    if kind is float:
        return math.nan if value is None else value  # JSON has no word for what is no number
    if kind is datetime:
        return datetime.fromisoformat(value)
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: _made(hint, value[name]) for name, hint in _hints(kind).items() if name in value})
    if isinstance(kind, type) and issubclass(kind, Enum | int):
        return kind(value)
    return value


@lru_cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}
