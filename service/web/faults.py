"""What is wrong with a request itself, in sentences for a person who has never heard of Pydantic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from service.errors import printable
from service.spec.sentences import known_keys
from service.wording import dotted, shown, unknown

MOST_SHOWN = 20
HEADER = "the header `Content-Type: application/json`"
NO_OBJECT = ("model_attributes_type", "model_type", "dict_type")


class Fault(BaseModel):
    """One thing to correct."""

    place: str = Field(description="where it stands: a line of the spec, an override, or a part of the request")
    path: str = Field(description="the key, such as network[0].dense.units")
    sentence: str = Field(description="what is wrong there, and what to do")
    line: int | None = Field(None, description="of the spec's text, or of a body that is no JSON, counted from 1")
    column: int | None = None


def faults_of(request: Request, error: RequestValidationError) -> list[Fault]:
    """Each thing that is wrong with the parameters, the headers or the body."""
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field.field_info.annotation if field is not None else None
    return [_fault(found, request, error, model) for found in error.errors()[:MOST_SHOWN]]


def _fault(found: Mapping[str, Any], request: Request, error: RequestValidationError, model: Any) -> Fault:
    if found["type"] == "json_invalid":
        return _no_json(str(error.body), found["loc"][1], found["ctx"]["error"])
    if found["loc"] == ("body",) and found["type"] in ("missing", *NO_OBJECT):
        return Fault(place="body", path="", sentence=_no_object(request, found))
    return fault(found, model)


def fault(found: Mapping[str, Any], model: type[BaseModel]) -> Fault:
    """What Pydantic has found in a part of a request; `model` is that of its body."""
    place, *path = found["loc"]
    sentence = found["msg"].removeprefix("Value error, ")
    if found["type"] == "extra_forbidden":
        word = str(path.pop())
        if place == "query":
            sentence = unknown("parameter", word, found["ctx"]["known"])
        else:
            sentence = unknown("key", word, list(known_keys(model, tuple(path))))
    return Fault(place=printable(str(place)), path=printable(dotted(path)), sentence=printable(sentence))


def _no_json(text: str, position: int, what: str) -> Fault:
    line, column = text.count("\n", 0, position) + 1, position - text.rfind("\n", 0, position)
    sentence = f"the body is no JSON: line {line}, column {column}: {what[:1].lower()}{what[1:]}"
    return Fault(place="body", path="", sentence=printable(sentence), line=line, column=column)


def _no_object(request: Request, found: Mapping[str, Any]) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if found["type"] == "missing" or found["input"] is None:
        return f"the request has no body; send a JSON object, with {HEADER}"
    if kind != "application/json" and not kind.endswith("+json"):
        return f"the body was not read as JSON; send it with {HEADER}"
    return f"expected a JSON object as the body, got {shown(found['input'])}"


def only_known_parameters(request: Request) -> None:
    """Raise RequestValidationError for a parameter that the operation does not have: it would change nothing."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    if dependant is None or not request.query_params:
        return
    known = _parameters(dependant)
    found = [
        {"type": "extra_forbidden", "loc": ("query", name), "msg": "", "input": None, "ctx": {"known": known}}
        for name in request.query_params
        if name not in known
    ]
    if found:
        raise RequestValidationError(found)


def _parameters(dependant: Dependant) -> list[str]:
    """Those of the operation, and those of what it depends on."""
    own = [field.alias for field in dependant.query_params]
    return [*own, *(name for inner in dependant.dependencies for name in _parameters(inner))]
