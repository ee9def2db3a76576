"""Logging a browser in with a token, and out again."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from starlette.concurrency import run_in_threadpool

from service.errors import TrainyardError
from service.web.access import CALLER, COOKIE, Access, Caller, set_cookie
from service.web.problems import status_of


def add_login(app: FastAPI, access: Access, templates: Jinja2Templates) -> None:
    @app.get("/login", response_class=HTMLResponse)
    def form(request: Request, next: str = "/") -> Response:
        caller: Caller | None = request.scope.get(CALLER)
        if caller is not None and caller.name is not None:
            return _on(request, next)
        return templates.TemplateResponse(request, "login.html", {"wrong": None, "next": next})

    @app.post("/login")
    async def log_in(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10)
        secret, next = fields.get("token", [""])[0].strip(), fields.get("next", ["/"])[0]
        address = request.client.host if request.client else "?"
        try:
            login = await run_in_threadpool(access.log_in, secret, address)
        except TrainyardError as error:
            told = {"wrong": str(error), "next": next}
            page = templates.TemplateResponse(request, "login.html", told, status_of(error))
            if (seconds := getattr(error, "retry_seconds", None)) is not None:
                page.headers["Retry-After"] = str(seconds)
            return page
        response = _on(request, next)
        set_cookie(response, request, login)
        return response

    @app.post("/logout")
    async def log_out(request: Request) -> Response:
        if login := request.cookies.get(COOKIE):
            await run_in_threadpool(access.log_out, login)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/login", 303)
        response.delete_cookie(COOKIE, path=request.scope.get("root_path") or "/")
        return response


def _on(request: Request, wanted: str) -> RedirectResponse:
    """To the page that somebody wanted before the login; to no other site."""
    ours = wanted.startswith("/") and wanted[1:2] not in ("/", "\\") and wanted.isprintable()
    return RedirectResponse(f"{request.scope.get('root_path', '')}{wanted if ours else '/'}", 303)
