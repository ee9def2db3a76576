"""Runs in files: out of this yard, and into it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, File, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field

from service.client import Client
from service.roles import Role
from service.web.access import needs
from service.web.api.acting import RunNumber, Which
from service.web.api.models import Model
from service.web.problems import answers

MOST_EXPORTED = 100_000
PART = 2**20  # bytes


class Exporting(Which):
    runs: list[RunNumber] | None = Field(None, min_length=1, max_length=MOST_EXPORTED, examples=[[1, 2]])
    with_data: bool = Field(True, strict=True, description="with the datasets that the runs were trained on")


class ImportedRun(Model):
    run: int = Field(description="the number that it has here")
    uid: str
    name: str
    imported_from: str
    new: bool = Field(description="whether it was not here before")


class Imports(Model):
    runs: list[ImportedRun]


def router(client: Client) -> APIRouter:
    api = APIRouter(prefix="/runs", tags=["moving"])

    @api.post(
        "/export", operation_id="export_runs", response_class=StreamingResponse,
        responses=answers(404, 409, 413) | {200: {"description": "A zip file.", "content": ZIP}},
    )  # fmt: skip
    def export(asked: Exporting) -> StreamingResponse:
        """Runs that have ended in one file, which another yard imports: specs, metrics, weights, data."""
        which = asked.chosen()
        run_ids = client.ended(which) if isinstance(which, str) else which
        file = tempfile.TemporaryFile(prefix="trainyard-")  # noqa: SIM115 - it has no name, and goes with the answer
        try:
            client.export_runs(file, run_ids, with_data=asked.with_data)
        except BaseException:
            file.close()
            raise
        headers = {"Content-Disposition": 'attachment; filename="runs.zip"', "Content-Length": str(file.tell())}
        file.seek(0)
        return StreamingResponse(_parts(file), media_type="application/zip", headers=headers)

    @api.post(
        "/import", operation_id="import_runs", response_model=Imports, dependencies=[Depends(needs(Role.SUBMITTER))],
        responses=answers(413),
    )  # fmt: skip
    def bring(file: Annotated[UploadFile, File(description="what `export_runs` answered")]) -> dict[str, Any]:
        """Store the runs of such a file under new numbers; one that is here already stays as it is."""
        return {"runs": [run.json() for run in client.import_runs(file.file)]}

    return api


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(PART):
            yield part


ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
