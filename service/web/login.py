"""Logging a browser in with a token, and out again."""

from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.templating import Jinja2Templates
from starlette.concurrency import run_in_threadpool

from service.errors import TrainyardError
from service.web.access import COOKIE, Access, set_cookie
from service.web.problems import status_of


def add_login(app: FastAPI, access: Access, templates: Jinja2Templates) -> None:
    @app.get("/login", response_class=HTMLResponse)
    def form(request: Request) -> Response:
        return templates.TemplateResponse(request, "login.html", {"wrong": None})

    @app.post("/login")
    async def log_in(request: Request) -> Response:
        fields = parse_qs((await request.body()).decode("latin-1"), max_num_fields=10)
        secret = fields.get("token", [""])[0].strip()
        address = request.client.host if request.client else "?"
        try:
            login = await run_in_threadpool(access.log_in, secret, address)
        except TrainyardError as error:
            page = templates.TemplateResponse(request, "login.html", {"wrong": str(error)}, status_of(error))
            if (seconds := getattr(error, "retry_seconds", None)) is not None:
                page.headers["Retry-After"] = str(seconds)
            return page
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303)
        set_cookie(response, request, login)
        return response

    @app.post("/logout")
    async def log_out(request: Request) -> Response:
        if login := request.cookies.get(COOKIE):
            await run_in_threadpool(access.log_out, login)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/login", 303)
        response.delete_cookie(COOKIE, path=request.scope.get("root_path") or "/")
        return response
