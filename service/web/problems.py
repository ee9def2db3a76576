"""Errors as problem documents (RFC 9457), with the same sentences as the command line has."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.client.using import NotTrained, WeightsRemoved
from service.cloning import OtherRows
from service.errors import InputError, TrainyardError, Unreachable, printable
from service.replaying import NoReplay
from service.spec.errors import SpecError
from service.store.access import KeyTaken, NoSuchToken, TokenNameTaken
from service.store.database import SchemaMismatch
from service.store.removal import Needed, NotEnded, ParentGone
from service.store.suspicion import NotSetAside, UnknownWorker
from service.store.transitions import BeingRemoved, NoSuchRun, WrongState
from service.store.workers import NoSuchWorker
from service.web.faults import Fault, faults_of
from service.wording import dotted, kebab

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
STATUSES: dict[type[TrainyardError], int] = {  # by the first that it is one of
    NoSuchRun: 404,
    NoSuchWorker: 404,
    UnknownWorker: 404,
    NoSuchToken: 404,
    TokenNameTaken: 409,
    KeyTaken: 409,
    WrongState: 409,
    BeingRemoved: 409,
    NotEnded: 409,
    Needed: 409,
    ParentGone: 409,
    NotSetAside: 409,
    OtherRows: 409,
    NotTrained: 409,
    WeightsRemoved: 409,
    NoReplay: 409,
    SchemaMismatch: 503,
    Unreachable: 503,
    InputError: 400,
}
TITLES = {400: "The request is wrong", 409: "That cannot be done now", 503: "The yard cannot answer"}


class Problem(BaseModel):
    """What went wrong (RFC 9457). `detail` is the sentence that the command line would print."""

    type: str = Field(description="the kind of problem, for programs", examples=["urn:trainyard:no-such-run"])
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["there is no run 7; `trainyard runs list` shows those there are"])
    faults: list[Fault] | None = Field(None, description="each thing to correct, where there may be several")


def status_of(error: TrainyardError) -> int:
    if (status := getattr(error, "status", None)) is not None:
        return int(status)
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def problem(
    status: int,
    detail: str,
    kind: str | None = None,
    *,
    faults: list[Fault] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer that tells of a problem of this kind."""
    title = TITLES.get(status) or HTTPStatus(status).phrase
    document = Problem(type=kind or "about:blank", title=title, status=status, detail=detail, faults=faults)
    return JSONResponse(
        document.model_dump(exclude_none=True), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def of_error(error: TrainyardError) -> JSONResponse:
    faults = None
    if isinstance(error, SpecError):
        faults = [
            Fault(
                place=printable(found.place), path=printable(dotted(found.path)), sentence=printable(found.sentence),
                line=found.line, column=found.column,
            )
            for found in error.problems
        ]  # fmt: skip
    if (field := getattr(error, "field", None)) is not None:
        faults = [Fault(place="body", path=field, sentence=printable(str(error)))]
    status = status_of(error)
    seconds = getattr(error, "retry_seconds", 1 if status == 503 else None)
    headers = {} if seconds is None else {"Retry-After": str(seconds)}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="trainyard"'
    return problem(status, str(error), type_of(error), faults=faults, headers=headers)


def type_of(error: TrainyardError) -> str:
    """The kind of an error, as programs know it."""
    return _type(kebab(type(error).__name__))


def _type(name: str) -> str:
    return f"urn:trainyard:{name}"


def add_handlers(app: FastAPI) -> None:
    """Whatever is raised becomes a problem document; nobody sees a traceback but the log."""

    @app.exception_handler(TrainyardError)
    def told(request: Request, error: TrainyardError) -> JSONResponse:
        return of_error(error)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        faults = faults_of(request, error)
        detail = "; ".join(f"{fault.path}: {fault.sentence}" if fault.path else fault.sentence for fault in faults[:3])
        return problem(422, printable(detail), _type("invalid-request"), faults=faults)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> JSONResponse:
        detail, headers = DETAILS.get(error.status_code) or str(error.detail), dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(request)) or headers.get("Allow", "")
        return problem(error.status_code, detail, headers=headers)

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return problem(500, "an error that should not happen; the yard's log says more", _type("unexpected"))


def _methods(request: Request) -> list[str]:
    """Those that are described for an address: each operation alone knows of no other."""
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    described: dict[str, Any] = request.app.openapi()["paths"]
    if path in described:
        return sorted(method.upper() for method in described[path])
    fitting = [known for known in described if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(known)), path)]
    return sorted(method.upper() for known in fitting for method in described[known])


DETAILS = {
    404: "there is nothing at this address; /api/v1/openapi.json describes what there is",
    405: "this address does not answer that method; /api/v1/openapi.json describes those that it does",
}


REASONS = {
    400: "Something in the request is wrong; the sentence says what, and what to do.",
    401: "A token is needed, or the one that came is not valid.",
    403: "The token's role does not allow that, or the request comes from another site.",
    404: "There is no such thing.",
    409: "The state of things does not allow that now.",
    413: "The request is too long.",
    422: "A part of the request is missing, unknown or not of its type.",
    429: "Too many requests; `Retry-After` says for how many seconds to wait.",
    503: "The database, or another service that is needed, does not answer.",
}
ALWAYS = (400, 401, 403, 422, 429, 503)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What an operation may answer beside its result, for the API's description."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": REASONS[status], "content": content} for status in sorted({*ALWAYS, *statuses})}
