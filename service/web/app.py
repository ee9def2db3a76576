"""What the yard serves over HTTP: pages for people, the API, metrics and targets for Prometheus, a health check."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import FastAPI, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import Receive, Scope, Send

from service.client import Client
from service.metrics import registry
from service.web.access import Access
from service.web.answers import Answers
from service.web.api import PREFIX, api_app
from service.web.api.events import Hub
from service.web.heavy import Judges
from service.web.login import add_login
from service.web.pages import add_pages
from service.web.problems import add_handlers

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without any, a browser sends forms as from nowhere, and they are refused
}


@dataclass(frozen=True)
class Web:
    """What a server serves: everything, behind the gate. `events` are to be closed before the server can end."""

    serve: Access
    events: Hub

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.serve(scope, receive, send)


def web_app(client: Client) -> Web:
    app = FastAPI(title="Trainyard", docs_url=None, redoc_url=None, openapi_url=None)
    metrics = registry(client)

    add_handlers(app)

    judges = Judges(client)
    pages = add_pages(app, client, judges)

    @app.get("/metrics")
    def scrape() -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    @app.get("/targets")
    def targets() -> list[dict[str, object]]:
        """Where each live worker serves its metrics, as Prometheus' HTTP service discovery wants it."""
        return [
            {"targets": [urlsplit(worker.metrics_url).netloc], "labels": {"worker": worker.name}}
            for worker in client.workers()
            if worker.metrics_url and worker.live
        ]

    @app.get("/healthz")
    def health() -> dict[str, str]:
        client.counts()
        return {"status": "ok"}

    answers = Answers(app)
    access = Access(answers, client, HEADERS)
    add_login(app, access, pages.templates)
    api = api_app(client, judges, access.welcome, answers.forget)
    app.mount(PREFIX, api)
    return Web(access, api.state.events)
