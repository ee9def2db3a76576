"""The yard as a whole: what waits, what it takes, which data it has."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter

from service.client import Client
from service.live import queues_of
from service.urls import without_secrets
from service.web.api import models
from service.web.problems import answers


def router(client: Client) -> APIRouter:
    api = APIRouter(tags=["yard"])

    @api.get("/status", operation_id="status", response_model=models.Status, responses=answers())
    def status() -> dict[str, Any]:
        """Where the yard is, what waits, who trains."""
        settings, workers = client.settings, client.workers()
        broker = f"embedded, {settings.broker_socket}" if settings.embedded_broker else settings.broker
        return queues_of(client, workers) | {
            "version": version("trainyard"),
            "database": without_secrets(settings.database),
            "broker": without_secrets(broker),
            "workers": [worker.json() for worker in workers if worker.state != "stopped"],
        }

    @api.get("/queues", operation_id="list_queues", response_model=models.Queues, responses=answers())
    def queues() -> dict[str, Any]:
        """Each queue that is served or that something waits in, and the runs by state."""
        return queues_of(client, client.workers())

    @api.get("/space", operation_id="space", response_model=models.Space, responses=answers())
    def space() -> dict[str, Any]:
        """What the history takes on its disk, and what of it could go."""
        return client.space().json()

    @api.get("/datasets", operation_id="list_datasets", response_model=models.Datasets, responses=answers())
    def datasets() -> dict[str, Any]:
        """The datasets that come with Trainyard, and those that the store has, the newest first."""
        from service.datasets import BUILT_IN

        return {"built_in": list(BUILT_IN), "datasets": [dataset.json() for dataset in client.datasets()]}

    return api
