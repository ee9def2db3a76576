"""The yard as a whole: what waits, what it takes, which data it has."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from service.client import Client
from service.errors import InputError
from service.live import queues_of
from service.roles import Role
from service.urls import without_secrets
from service.web.access import needs
from service.web.api import models
from service.web.problems import answers

Moment = Annotated[
    str,
    Query(
        max_length=40, json_schema_extra={"format": "date-time"}, description="with its zone",
        examples=["2026-11-25T08:30:00Z"],
    ),
]  # fmt: skip


class NoMoment(InputError):
    def __init__(self, text: str) -> None:
        super().__init__(f"'{text}' is no moment with a zone; write it as 2026-11-25T08:30:00Z")


def router(client: Client) -> APIRouter:
    api = APIRouter(tags=["yard"])
    _add_stores(api, client)
    _add_now(api, client)
    _add_notifications(api, client)
    return api


def _add_stores(api: APIRouter, client: Client) -> None:
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


def _add_now(api: APIRouter, client: Client) -> None:
    @api.get("/glance", operation_id="glance", response_model=models.Glance, responses=answers())
    def glance() -> dict[str, Any]:
        """What goes on just now: workers, queues, what trains and how fast, what is next, what ended last."""
        found = client.glance().json()
        return found | {"paces": {str(run): pace for run, pace in found["paces"].items()}}

    @api.get("/paces", operation_id="paces", response_model=models.Paces, responses=answers())
    def paces() -> dict[str, Any]:
        """How fast each run trains that trains just now, and how many seconds it has left."""
        return {"paces": {str(run): pace.json() for run, pace in client.paces().items()}}

    @api.get("/ended", operation_id="ended_since", response_model=models.Ended, responses=answers())
    def ended(since: Moment) -> dict[str, Any]:
        """How many runs have ended since a moment, by how."""
        return {"counts": client.ended_since(_moment(since))}


def _add_notifications(api: APIRouter, client: Client) -> None:
    @api.get("/undelivered", operation_id="undelivered", response_model=models.Undelivered, responses=answers())
    def undelivered() -> dict[str, Any]:
        """The notifications that wait, and those that were given up within the last week."""
        return {"undelivered": [asdict(found) for found in client.undelivered()]}

    @api.post(
        "/notify/test", operation_id="test_notifications", response_model=dict[str, models.Delivery],
        dependencies=[Depends(needs(Role.ADMIN))], responses=answers(413),
    )  # fmt: skip
    def notify_test() -> dict[str, Any]:
        """Send an example of a notification, now, to each subscriber that is set up where the yard serves this."""
        return {subscriber: asdict(answer) for subscriber, answer in client.notify_test().items()}


def _moment(text: str) -> datetime:
    """Raises NoMoment."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise NoMoment(text)
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):  # the year 1 in the east began before all time
        raise NoMoment(text) from None
