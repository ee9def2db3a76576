"""Runs in files: out of this yard, and into it."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from threading import BoundedSemaphore
from typing import Annotated, Any, BinaryIO, cast

from fastapi import APIRouter, Depends, File, UploadFile
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.types import Receive, Scope, Send

from service.client import Client
from service.errors import InputError, Unreachable
from service.roles import Role
from service.web.access import needs
from service.web.api.acting import RunNumber, Which
from service.web.api.models import Model
from service.web.heavy import Busy, Few
from service.web.problems import answers

MOST_EXPORTED = 100_000
EXPORTS = 2  # written at once
UNSENT = 8  # files at once: they take room on the disk until they are sent
PART = 2**20  # bytes


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
    few, unsent = Few(EXPORTS, "exports other runs"), BoundedSemaphore(UNSENT)

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
        with few.turn():
            room = Room(unsent)
            room.write(client, run_ids, asked.with_data)
        file = room.file
        headers = {"Content-Disposition": 'attachment; filename="runs.zip"', "Content-Length": str(file.seek(0, 2))}
        file.seek(0)
        return Sent(room, headers)

    @api.post(
        "/import", operation_id="import_runs", response_model=Imports, dependencies=[Depends(needs(Role.SUBMITTER))],
        responses=answers(413),
    )  # fmt: skip
    def bring(file: Annotated[UploadFile, File(description="what `export_runs` answered")]) -> dict[str, Any]:
        """Store the runs of such a file under new numbers; one that is here already stays as it is."""
        return {"runs": [run.json() for run in client.import_runs(file.file, name=file.filename)]}

    return api


class Room:
    """One of so many files without a name, which are gone when they are closed or the process ends, however that does.
    Raises Busy."""

    def __init__(self, unsent: BoundedSemaphore) -> None:
        if not unsent.acquire(blocking=False):
            raise Busy("sends other exports")
        self._given_back = weakref.finalize(self, unsent.release)  # also if no file is made, or none is sent
        self.file = cast(BinaryIO, tempfile.TemporaryFile(prefix="trainyard-"))  # noqa: SIM115 - `close` closes it

    def write(self, client: Client, run_ids: Sequence[int], with_data: bool) -> None:
        """Raises NoRoom."""
        try:
            client.export_runs(self.file, run_ids, with_data=with_data)
            self.file.flush()
        except BaseException as error:
            self.close()
            if isinstance(error, OSError):
                raise NoRoom(error) from None
            raise

    def close(self) -> None:
        self.file.close()
        self._given_back()


class Sent(StreamingResponse):
    """Such a file, closed when all of it is sent or nobody hears it any more."""

    def __init__(self, room: Room, headers: Mapping[str, str]) -> None:
        super().__init__(_parts(room.file), media_type="application/zip", headers=headers)
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._room):
            await super().__call__(scope, receive, send)


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(PART):
            yield part


ZIP = {"application/zip": {"schema": {"type": "string", "format": "binary"}}}
