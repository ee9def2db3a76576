"""What an expression can name, read off the schema of the spec and the registries of `nn`, and written to known.json.

`make docs` writes that file, and a test says when it is stale: to ask the history, nobody waits for NumPy and the
schema to be imported.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Any

from pydantic import BaseModel

from nn import METRICS, direction
from service.expressions.tree import Kind
from service.spec import Spec
from service.spec.parts import Choice

Place = dict[str, Any]
_KINDS = {bool: Kind.TRUTH, int: Kind.NUMBER, float: Kind.NUMBER, str: Kind.TEXT}


def document() -> str:
    """The file's text: which way each metric is better, and what may stand at each key of each section."""
    metrics = {"loss": direction("loss")} | {name: part.direction for name, part in METRICS.items()}
    sections: dict[str, dict[str, Place]] = {}
    _add(sections, Spec)
    written = {name: _object(places, 2) for name, places in sections.items()}
    return f'{{"metrics": {json.dumps(metrics)},\n"sections": {_object(written, 0)}}}\n'


def _object(items: dict[str, Any], indent: int) -> str:
    """A mapping with an item in each line; texts are JSON already."""
    texts = ((name, item if isinstance(item, str) else json.dumps(item)) for name, item in items.items())
    return "{\n" + ",\n".join(f"{' ' * indent}{json.dumps(name)}: {text}" for name, text in texts) + "}"


def _add(sections: dict[str, dict[str, Place]], model: type[BaseModel]) -> None:
    """Add a model's keys and all that is inside of them; a model may hold itself, as a residual layer holds layers."""
    if model.__name__ in sections:
        assert list(sections[model.__name__]) == list(model.model_fields), f"two sections are called {model.__name__}"
        return
    sections[model.__name__] = {key: {} for key in model.model_fields}
    inside: list[type[BaseModel]] = []
    for name, info in model.model_fields.items():
        sections[model.__name__][name] = _place(info.annotation, inside)
    for inner in inside:
        _add(sections, inner)


def _place(annotation: Any, inside: list[type[BaseModel]]) -> Place:
    """What a type of the schema allows. Of a union's types at most one is a mapping or a list."""
    kinds = list(_alternatives(annotation))
    places = [_plain(kind, inside) for kind in kinds]
    nested = next((one for one in places if {"section", "items", "free"} & one.keys()), {})
    texts = [one for one in places if Kind.TEXT in one.get("kinds", ())]
    choices = [name for one in texts for name in one["choices"]] if all("choices" in one for one in texts) else []
    found = {name: nested[name] for name in ("named", "section", "items", "free") if name in nested}
    allowed = _once(kind for one in places for kind in one.get("kinds", ()))
    facts = {"kinds": allowed, "choices": choices, "whole": int in kinds and float not in kinds}
    return {name: fact for name, fact in facts.items() if fact} | found


def _alternatives(annotation: Any) -> Iterator[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        yield from _alternatives(arguments[0])
    elif origin in (typing.Union, UnionType):
        for argument in arguments:
            yield from _alternatives(argument)
    else:
        yield annotation


def _plain(kind: Any, inside: list[type[BaseModel]]) -> Place:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return {"kinds": [Kind.TEXT], "choices": list(map(str, arguments))}
    if origin is list:
        return {"items": _place(arguments[0], inside)}
    if origin is dict:
        return {"free": _place(arguments[1], inside)}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inside.append(kind)
        if issubclass(kind, Choice):
            return {"kinds": [Kind.TEXT], "choices": list(kind.model_fields), "named": True, "section": kind.__name__}
        return {"section": kind.__name__}
    return {"kinds": [_KINDS[kind]]} if kind in _KINDS else {}


def _once(kinds: Iterable[Kind]) -> list[Kind]:
    return list(dict.fromkeys(kinds))
