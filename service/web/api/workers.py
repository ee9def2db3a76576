"""The pool."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query

from service.client import Client
from service.web.api import models
from service.web.api.problems import answers


def router(client: Client) -> APIRouter:
    api = APIRouter(prefix="/workers", tags=["workers"])

    @api.get("", operation_id="list_workers", response_model=models.Workers, responses=answers())
    def list_workers(
        all: Annotated[bool, Query(description="those that have stopped, too")] = False,
    ) -> dict[str, Any]:
        """Every worker: slots, what they serve, when they were last heard of."""
        return {"workers": [worker.json() for worker in client.workers() if all or worker.state != "stopped"]}

    return api
