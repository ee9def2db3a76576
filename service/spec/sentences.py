"""Pydantic's findings as sentences for a person who has never heard of it."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from service.spec.document import Document
from service.spec.errors import Path, Problem
from service.wording import did_you_mean, dotted, listed, nearest, shown, unknown

_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
}
_EXAMPLES: dict[Path, str] = {
    ("version",): "version: 1",
    ("data",): "data: {source: digits}",
    ("data", "source"): "source: digits",
    ("network",): "network: [dense: {units: 64, activation: relu}]",
}


def problems(error: ValidationError, document: Document, model: type[BaseModel]) -> list[Problem]:
    """A problem for each finding, in the order of the file."""
    details = error.errors(include_url=False)
    misspelt = {
        (*detail["loc"][:-1], near)
        for detail in details
        if detail["type"] == "extra_forbidden"
        and (near := nearest(str(detail["loc"][-1]), known_keys(model, detail["loc"][:-1])))
    }
    found = [
        _problem(detail, document, model)
        for detail in details
        if detail["type"] != "missing" or detail["loc"] not in misspelt  # one mistake, one sentence
    ]
    return sorted(found, key=lambda problem: (problem.line is not None, problem.line or 0, problem.column or 0))


def _problem(detail: Any, document: Document, model: type[BaseModel]) -> Problem:
    path: Path = tuple(detail["loc"])
    context: Mapping[str, Any] = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            return _unknown_key(path, document, list(known_keys(model, path[:-1])), _section(model, path))
        case "missing":
            return document.problem(path[:-1], _missing(path, model))
        case "sentence" if "key" in context:
            problem = document.problem((*path, context["key"]), detail["msg"], at_key=True)
            return Problem(problem.place, path, problem.sentence, problem.line, problem.column)
    return document.problem(path, _sentence(detail["type"], detail["msg"], context, detail["input"]))


def _section(model: type[BaseModel], path: Path) -> str:
    """Where a key of the top level belongs: `train.epochs` for `epochs`, or nothing."""
    word = str(path[-1])
    sections = [name for name in ("train", "data") if word in known_keys(model, (name,))] if len(path) == 1 else []
    return f"{sections[0]}.{word}" if sections else ""


def _unknown_key(path: Path, document: Document, known: list[str], section: str) -> Problem:
    """Told at the key. For an override the whole path is told, since that is what was typed."""
    problem = document.problem(path, "", at_key=True)
    if section:
        sentence = f"unknown key '{path[-1]}'; it belongs below '{section.partition('.')[0]}' ({section})"
        return Problem(problem.place, (), sentence, problem.line, problem.column)
    if problem.line is not None:
        sentence = unknown("key", str(path[-1]), known)
        return Problem(problem.place, path[:-1], sentence, problem.line, problem.column)
    if near := nearest(str(path[-1]), known):
        sentence = f"unknown key '{dotted(path)}'; did you mean '{dotted((*path[:-1], near))}'?"
        return Problem(problem.place, (), sentence)
    return Problem(problem.place, (), unknown("key", dotted(path), known))


def _missing(path: Path, model: type[BaseModel]) -> str:
    if path in _EXAMPLES:
        return f"missing key '{path[-1]}'; write '{_EXAMPLES[path]}'"
    meaning = known_keys(model, path[:-1])[str(path[-1])].description
    return f"missing key '{path[-1]}'" + (f" ({meaning})" if meaning else "")


def _sentence(kind: str, message: str, context: Mapping[str, Any], value: Any) -> str:
    got = f", got {shown(value)}"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind]}{got}{_hint(kind, value)}"
    match kind:
        case "greater_than":
            return f"must be greater than {context['gt']:g}{got}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}{got}"
        case "less_than":
            return f"must be less than {context['lt']:g}{got}"
        case "less_than_equal":
            return f"must be at most {_plain(context['le'])}{got}"
        case "literal_error":
            names = re.findall(r"'([^']*)'", context["expected"])
            near = did_you_mean(value, names) if isinstance(value, str) else ""
            return f"must be {listed(names, 'or')}{got}{near}"
        case "too_short":
            return "needs at least one item"
        case "string_too_long":
            return f"is longer than {context['max_length']} characters"
        case "string_pattern_mismatch":
            return f"must have the form {context['pattern']}{got}"
        case "finite_number":
            return f"expected a finite number{got}"
        case "sentence":
            return message
        case "value_error":
            return message.removeprefix("Value error, ")
    return f"cannot be {shown(value)}"


def _hint(kind: str, value: Any) -> str:
    """What the writer probably meant."""
    if isinstance(value, str):
        number = r"[-+]?\d+" if kind == "int_type" else r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?"
        if kind in ("int_type", "float_type") and re.fullmatch(number, value):
            return "; remove the quotes"
        if kind == "bool_type" and value.lower() in ("yes", "no", "on", "off"):
            return f"; write {'true' if value.lower() in ('yes', 'on') else 'false'}"
    if kind == "int_type" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    if kind == "string_type" and isinstance(value, bool | int | float):
        return "; put it in quotes"
    return ""


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else f"{number:g}"


def known_keys(model: type[BaseModel], path: Path) -> Mapping[str, Any]:
    """The keys that a mapping at `path` may have."""
    kind: Any = model
    for part in path:
        kind = _element(kind) if isinstance(part, int) else kind.model_fields[part].annotation
        kind = _bare(kind)
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}


def _element(kind: Any) -> Any:
    return next(iter(typing.get_args(kind)), None)


def _bare(kind: Any) -> Any:
    """Without `| None` and without annotations."""
    if typing.get_origin(kind) is typing.Annotated:
        return _bare(_element(kind))
    kinds = [part for part in typing.get_args(kind) if part is not type(None)]
    return _bare(kinds[0]) if len(kinds) == 1 and typing.get_origin(kind) is not list else kind
