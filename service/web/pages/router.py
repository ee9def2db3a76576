"""Which address shows which page. A page is whole without a script; the scripts bring it up to date and act."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from pydantic import BeforeValidator
from starlette.exceptions import HTTPException

from service.client import Client
from service.display import age, duration, number, size
from service.errors import TrainyardError, printable
from service.roles import Role
from service.store.transitions import NoSuchRun
from service.web.access import CALLER, Caller
from service.web.heavy import Judges
from service.web.pages import compare, datasets, inside, overview, run, runs, workers

STATIC = Path(__file__).parents[1] / "static"
FILES = {"style.css": "text/css", "icon.svg": "image/svg+xml", "theme.js": "text/javascript"} | {
    f"{name}.js": "text/javascript"
    for name in ("page", "live", "morph", "charts", "actions", "editing", "selection", "later", "send")
}
MOST_RUNS = 2**31 - 1
LONGEST = 2000  # characters of an expression
Text = Annotated[str, Query(max_length=LONGEST)]


def _run_number(run_id: str) -> int:
    """Raises NoSuchRun for what is no number of a run: whoever types an address is told so, and nothing of types."""
    if not re.fullmatch("[0-9]{1,10}", run_id) or int(run_id) > MOST_RUNS:
        raise NoSuchRun(printable(run_id))
    return int(run_id)


RunNumber = Annotated[int, BeforeValidator(_run_number)]
Numbers = Annotated[list[RunNumber], Query(max_length=runs.MOST_SELECTED)]


class Pages:
    """The templates, and what every page has."""

    def __init__(self) -> None:
        environment = Environment(
            loader=PackageLoader("service.web"), autoescape=select_autoescape(), undefined=StrictUndefined,
            trim_blocks=True, lstrip_blocks=True,
        )  # fmt: skip
        environment.filters |= {"age": age, "duration": duration, "number": number, "size": size}
        self.templates = Jinja2Templates(env=environment, context_processors=[_shared])

    def show(self, request: Request, template: str, values: dict[str, Any], status: int = 200) -> Response:
        return self.templates.TemplateResponse(request, template, values, status)


def _shared(request: Request) -> dict[str, Any]:
    """What every page has: where the yard's addresses begin, who looks at it, and what that person may do."""
    caller: Caller | None = request.scope.get(CALLER)
    return {
        "root": request.scope.get("root_path", "").rstrip("/"),
        "caller": caller,
        "may_act": caller is not None and caller.role.includes(Role.SUBMITTER),
        "may_rule": caller is not None and caller.role.includes(Role.ADMIN),
    }


def add_pages(app: FastAPI, client: Client, judges: Judges) -> Pages:
    pages = Pages()

    _tell_as_pages(app, pages)

    @app.get("/static/{name}", include_in_schema=False)
    def static(name: str) -> Response:
        if name not in FILES:
            return Response("there is no such file", 404, media_type="text/plain")
        return FileResponse(STATIC / name, media_type=FILES[name], headers={"Cache-Control": "no-cache"})

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    def show_overview(request: Request) -> Response:
        return pages.show(request, "overview.html", overview.values(client))

    @app.get("/runs", response_class=HTMLResponse, include_in_schema=False)
    def show_runs(
        request: Request,
        where: Text = "",
        sort: Text = "",
        columns: Text = "",
        after: RunNumber | None = None,
        before: RunNumber | None = None,
        select: Annotated[str, Query(max_length=LONGEST)] = "",
    ) -> Response:
        return pages.show(request, "runs.html", runs.values(client, where, sort, columns, after, before, select))

    @app.get("/runs/{run_id}", response_class=HTMLResponse, include_in_schema=False)
    def show_run(request: Request, run_id: RunNumber) -> Response:
        return pages.show(request, "run.html", run.values(client, run_id))

    @app.get("/runs/{run_id}/log", response_class=PlainTextResponse, include_in_schema=False)
    def show_log(run_id: RunNumber) -> Response:
        return PlainTextResponse(run.log_text(client, run_id), headers={"Cache-Control": "no-cache"})

    @app.get("/runs/{run_id}/inside", response_class=HTMLResponse, include_in_schema=False)
    def show_inside(request: Request, run_id: RunNumber) -> Response:
        return pages.show(request, "inside.html", inside.values(client, judges, run_id))

    @app.get("/compare", response_class=HTMLResponse, include_in_schema=False)
    def show_compare(request: Request, run: Numbers = [], where: Text = "", metric: Text = "") -> Response:
        return pages.show(request, "compare.html", compare.values(client, run, where, metric))

    @app.get("/workers", response_class=HTMLResponse, include_in_schema=False)
    def show_workers(request: Request) -> Response:
        return pages.show(request, "workers.html", workers.values(client))

    @app.get("/datasets", response_class=HTMLResponse, include_in_schema=False)
    def show_datasets(request: Request) -> Response:
        return pages.show(request, "datasets.html", datasets.values(client))

    return pages


def _tell_as_pages(app: FastAPI, pages: Pages) -> None:
    """Whatever goes wrong is told to people as a page, with the sentence and the status that programs get."""
    for kind in (TrainyardError, RequestValidationError, HTTPException, Exception):
        told: Any = app.exception_handlers[kind]
        app.exception_handlers[kind] = _teller(told, pages)


def _teller(told: Callable[..., Response], pages: Pages) -> Callable[..., Response]:
    def tell(request: Request, error: Exception) -> Response:
        answer = told(request, error)
        if "text/html" not in request.headers.get("accept", ""):
            return answer
        page = pages.show(
            request, "wrong.html", {"sentence": json.loads(bytes(answer.body))["detail"]}, answer.status_code
        )
        for name in ("Allow", "Retry-After"):
            if name in answer.headers:
                page.headers[name] = answer.headers[name]
        return page

    return tell
