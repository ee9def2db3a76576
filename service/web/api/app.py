"""The API as an application of its own, which the web application carries below `/api/v1`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI, Request

from service.client import Client
from service.live import Live
from service.web.access import COOKIE
from service.web.api import acting, events, moving, runs, submitting, tokens, workers, yard
from service.web.faults import Fault, only_known_parameters
from service.web.heavy import Judges
from service.web.problems import Problem, add_handlers

PREFIX = "/api/v1"
DESCRIPTION = """
What `trainyard` and `service.Client` do, over HTTP. Times are UTC; what is no number is null. Whatever goes wrong is
told as a problem document (RFC 9457) with the sentence that the command line would print.

A yard that listens on this machine alone needs no token. Any other asks for `Authorization: Bearer TOKEN`, made by
`trainyard tokens create`. A viewer may ask everything, a submitter may submit runs and act on them, an admin may do
all the rest: remove runs, change the pool, make tokens.
"""

SCHEMES = {
    "token": {"type": "http", "scheme": "bearer", "description": "a token that `trainyard tokens create` made"},
    "login": {"type": "apiKey", "in": "cookie", "name": COOKIE, "description": "a browser that has logged in"},
}


def api_app(
    client: Client,
    judges: Judges,
    welcome: Callable[[Request], Awaitable[bool]],
    before_telling: Callable[[], None] = lambda: None,
) -> FastAPI:
    """`welcome` says of a request that is still being answered whether it would still be let in; `before_telling` is
    called whenever those who follow the events are about to hear of something."""
    app = FastAPI(
        title="Trainyard", version=version("trainyard"), description=DESCRIPTION, docs_url=None, redoc_url=None,
        openapi_url="/openapi.json", dependencies=[Depends(only_known_parameters)],
    )  # fmt: skip
    add_handlers(app)
    app.include_router(runs.router(client, judges))
    for part in (submitting, acting, moving, workers, yard, tokens):
        app.include_router(part.router(client))
    app.state.events = events.Hub(Live(client), before_telling)
    app.include_router(events.router(app.state.events, welcome))
    described = app.openapi

    def openapi() -> dict[str, Any]:
        """As FastAPI makes it, with our own words for errors in place of its."""
        document = described()
        schemas = document["components"]["schemas"]
        for model in (Problem, Fault):
            schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas[model.__name__].pop("$defs", None)
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        document["components"]["securitySchemes"] = SCHEMES
        document["security"] = [*({name: []} for name in SCHEMES), {}]
        document["servers"] = [{"url": PREFIX}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app
