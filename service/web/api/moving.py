"""Runs in files: out of this yard, and into it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from threading import BoundedSemaphore
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Depends, File, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field

from service.client import Client
from service.errors import InputError, Unreachable
from service.roles import Role
from service.web.access import needs
from service.web.api.acting import RunNumber, Which
from service.web.api.models import Model
from service.web.problems import answers

MOST_EXPORTED = 100_000
EXPORTS = 2  # written at once: each takes room on the disk
PATIENCE_SECONDS = 10.0
PART = 2**20  # bytes


class Busy(Unreachable):
    def __init__(self) -> None:
        super().__init__("the yard exports other runs just now; ask again in a moment")


class NoRoom(Unreachable):
    def __init__(self, error: OSError) -> None:
        super().__init__(f"the file cannot be written on the yard's machine: {error.strerror or error}")


class TooManyRuns(InputError):
    def __init__(self, number: int) -> None:
        super().__init__(f"these are {number:,} runs; one request exports at most {MOST_EXPORTED:,}")


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
    free = BoundedSemaphore(EXPORTS)

    @api.post(
        "/export", operation_id="export_runs", response_class=StreamingResponse,
        responses=answers(404, 409, 413) | {200: {"description": "A zip file.", "content": ZIP}},
    )  # fmt: skip
    def export(asked: Exporting) -> StreamingResponse:
        """Runs that have ended in one file, which another yard imports: specs, metrics, weights, data."""
        which = asked.chosen()
        run_ids = client.ended(which) if isinstance(which, str) else which
        if len(run_ids) > MOST_EXPORTED:
            raise TooManyRuns(len(run_ids))
        if not free.acquire(timeout=PATIENCE_SECONDS):
            raise Busy
        try:
            file = _archive(client, run_ids, asked.with_data)
        finally:
            free.release()
        headers = {"Content-Disposition": 'attachment; filename="runs.zip"', "Content-Length": str(file.seek(0, 2))}
        file.seek(0)
        return StreamingResponse(_parts(file), media_type="application/zip", headers=headers)

    @api.post(
        "/import", operation_id="import_runs", response_model=Imports, dependencies=[Depends(needs(Role.SUBMITTER))],
        responses=answers(413),
    )  # fmt: skip
    def bring(file: Annotated[UploadFile, File(description="what `export_runs` answered")]) -> dict[str, Any]:
        """Store the runs of such a file under new numbers; one that is here already stays as it is."""
        return {"runs": [run.json() for run in client.import_runs(file.file, name=file.filename)]}

    return api


def _archive(client: Client, run_ids: Sequence[int], with_data: bool) -> BinaryIO:
    """A file without a name: it is gone when it is closed or the process ends, however that does. Raises NoRoom."""
    file = cast(BinaryIO, tempfile.TemporaryFile(prefix="trainyard-"))  # noqa: SIM115 - whoever sends it closes it
    try:
        client.export_runs(file, run_ids, with_data=with_data)
        file.flush()
    except OSError as error:
        file.close()
        raise NoRoom(error) from None
    except BaseException:
        file.close()
        raise
    return file


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(PART):
            yield part


ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
