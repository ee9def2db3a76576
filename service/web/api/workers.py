"""The pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from service.client import Client
from service.roles import Role
from service.web.access import needs
from service.web.api import models
from service.web.problems import answers

T = TypeVar("T", bound=Callable[..., Any])
MOST_SLOTS = 512
WorkerPath = Annotated[str, Path(max_length=64, description="the worker's name")]


class Scaling(BaseModel):
    slots: int = Field(strict=True, ge=1, le=MOST_SLOTS, examples=[4])


def router(client: Client) -> APIRouter:
    api = APIRouter(prefix="/workers", tags=["workers"])

    @api.get("", operation_id="list_workers", response_model=models.Workers, responses=answers())
    def list_workers(
        all: Annotated[bool, Query(description="those that have stopped, too")] = False,
    ) -> dict[str, Any]:
        """Every worker: slots, what they serve, when they were last heard of."""
        return {"workers": [worker.json() for worker in client.workers() if all or worker.state != "stopped"]}

    _add_wishes(api, client)
    return api


def _add_wishes(api: APIRouter, client: Client) -> None:
    def post(name: str, words: str) -> Callable[[T], T]:
        return api.post(
            f"/{{worker}}/{name}", operation_id=f"{name}_worker", description=words, status_code=202,
            response_model=models.Sentence, dependencies=[Depends(needs(Role.ADMIN))], responses=answers(404, 409, 413),
        )  # fmt: skip

    @post("scale", "Ask a worker for another number of slots; a slot that trains ends its run first.")
    def scale(worker: WorkerPath, asked: Scaling) -> dict[str, str]:
        client.scale(worker, asked.slots)
        return {"sentence": f"worker {worker} was asked for {asked.slots} {'slot' if asked.slots == 1 else 'slots'}"}

    @post("drain", "Let a worker finish what it trains, take nothing new, and end.")
    def drain(worker: WorkerPath) -> dict[str, str]:
        client.drain(worker)
        return {"sentence": f"worker {worker} finishes what it trains and ends"}

    @post("stop", "Let a worker save what it trains, hand it over to other workers, and end.")
    def stop(worker: WorkerPath) -> dict[str, str]:
        client.stop(worker)
        return {"sentence": f"worker {worker} saves what it trains, hands it over and ends"}

    @post("trust", "Give runs again to a worker that was set aside for losing runs that others completed.")
    def trust(worker: WorkerPath) -> dict[str, str]:
        client.trust(worker)
        return {"sentence": f"worker {worker} gets runs again; what it lost so far no longer counts"}
