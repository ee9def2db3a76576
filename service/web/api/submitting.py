"""New runs: specs that come as text or as JSON, alone or with their data, and runs that are made from others."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Header, Request, Response, UploadFile
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from sqlalchemy.orm import Session

from service.batch import Beside
from service.client import Client
from service.errors import InputError
from service.roles import Role
from service.store import access
from service.store.records import jsonable
from service.web.access import caller_of, needs
from service.web.api import models
from service.web.api.models import Model
from service.web.api.shared import LONGEST_SENT, RunPath
from service.web.faults import fault
from service.web.problems import answers
from service.wording import shown

MOST_RUNS = 10_000  # that one request makes
Override = Annotated[str, Field(max_length=LONGEST_SENT)]
Name = Annotated[str, Field(max_length=200)]
Line = Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Overrides = Annotated[
    list[Override], Field(max_length=1000, description="keys to change", examples=[["train.epochs=5"]])
]
Tags = Annotated[list[Name], Field(max_length=100)]
Priority = Annotated[int, Field(strict=True, ge=-(10**6), le=10**6, description="higher goes first")]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key", min_length=1, max_length=200, pattern="^[!-~]+$",
        description="the same request with the same key, within a day, gets the same answer and submits nothing",
    ),
]  # fmt: skip
EXAMPLE = """\
version: 1
name: digits
data: {source: digits, split: {validation: 0.2}}
network: [dense: {units: 64, activation: relu}]
optimizer: {adam: 0.001}
train: {epochs: 5}
"""


def _text_or_object(spec: Any) -> Any:
    """Told here, for of a choice of types Pydantic tells what is wrong with each of them."""
    if not isinstance(spec, str | dict):
        raise ValueError(f"expected the text of a spec, or the same as an object, got {shown(spec)}")
    return spec


def _lists_or_texts(grid: Any) -> Any:
    whole = (
        all(isinstance(values, list) for values in grid.values())
        if isinstance(grid, dict)
        else (isinstance(grid, list) and all(isinstance(axis, str) for axis in grid))
    )
    if not whole:
        raise ValueError('expected keys with lists of values, {"seed": [1, 2]}, or a list of texts, ["seed=1..2"]')
    return grid


class Checking(BaseModel):
    model_config = ConfigDict(extra="forbid")

    spec: Annotated[str | dict[str, JsonValue], BeforeValidator(_text_or_object)] = Field(
        description="the spec: its text, YAML or JSON, or the same as an object", examples=[EXAMPLE]
    )
    overrides: Overrides = []


class Origin(BaseModel):
    """Where the specs come from. Who submits them says the token."""

    model_config = ConfigDict(extra="forbid")

    folder: Annotated[Line, Field(max_length=1000)] | None = None
    commit: Annotated[str, Field(pattern="^[0-9a-f]{7,64}$")] | None = None
    branch: Annotated[Line, Field(max_length=255)] | None = None
    dirty: bool | None = Field(None, strict=True, description="whether the folder differs from the commit")
    trainyard: Annotated[Line, Field(max_length=50)] | None = Field(None, description="its version there")
    python: Annotated[Line, Field(max_length=50)] | None = None


class Submission(Checking):
    """One spec, or as a text several, divided by ---."""

    grid: Annotated[dict[Override, list[JsonValue]] | list[Override], BeforeValidator(_lists_or_texts)] = Field(
        default=[],
        description="a run for every combination of these values of keys",
        examples=[{"seed": [1, 2, 3]}, ["seed=1..3"]],
    )
    queue: Name = "default"
    priority: Priority = 0
    tags: Tags = []
    origin: Origin | None = None


class Cloning(BaseModel):
    """What shall be other than in the run; what is left out, or null, is the same."""

    model_config = ConfigDict(extra="forbid")

    overrides: Overrides = []
    queue: Name | None = None
    priority: Priority | None = None
    tags: Tags | None = None


class Replaying(BaseModel):
    model_config = ConfigDict(extra="forbid")

    queue: Name | None = None


class Submitted(Model):
    runs: list[int] = Field(description="the numbers of the new runs")
    notes: list[str] = Field(description="what a person should know, such as that no worker serves the queue")


class TooManyRuns(InputError):
    def __init__(self, number: int) -> None:
        super().__init__(f"these are {number:,} runs; one request submits at most {MOST_RUNS:,}")


def router(client: Client) -> APIRouter:
    submitter = [Depends(needs(Role.SUBMITTER))]
    api = APIRouter(tags=["submitting"], dependencies=submitter)
    _add_submit(api, client)
    _add_again(api, client)
    return api


def _add_submit(api: APIRouter, client: Client) -> None:
    @api.post(
        "/check", operation_id="check_spec", response_model=models.Row,
        responses=answers(413),
    )  # fmt: skip
    def check(asked: Checking) -> dict[str, Any]:
        """What a submit would make of a spec: layers, shapes, parameters, memory."""
        from service.datasets.sent import load_sent
        from service.spec import NO_FILE, parse

        report = client.check(parse(_text(asked.spec), NO_FILE, asked.overrides), data=load_sent)
        return dict(jsonable(report.document()))

    @api.post(
        "/runs", operation_id="submit_runs", response_model=Submitted, status_code=201,
        responses=answers(409, 413),
    )  # fmt: skip
    def submit(asked: Submission, request: Request, response: Response, key: Key = None) -> dict[str, Any]:
        """Queue a run of the spec, or several: all or none."""
        return _once(
            client, request, response, key, [asked.model_dump_json()], lambda beside: _submit(client, asked, beside)
        )

    @api.post(
        "/runs/with-data", operation_id="submit_with_data", response_model=Submitted, status_code=201,
        responses=answers(409, 413),
    )  # fmt: skip
    def submit_with_data(
        request: Request,
        response: Response,
        submission: Annotated[str, Form(description="the submission as JSON, as in `submit_runs`")],
        files: Annotated[list[UploadFile], File(description="the files that the specs name as their source")],
        key: Key = None,
    ) -> dict[str, Any]:
        """Queue runs whose data comes with them: a spec names a file by the name that it is sent with."""
        asked = _submission(submission)
        with tempfile.TemporaryDirectory(prefix="trainyard-") as folder:
            hashes = [_keep(file, Path(folder)) for file in files]
            names = [file.filename or "" for file in files]
            told = [asked.model_dump_json(), *names, *hashes]
            return _once(
                client, request, response, key, told, lambda beside: _submit(client, asked, beside, Path(folder), names)
            )  # fmt: skip


def _add_again(api: APIRouter, client: Client) -> None:
    @api.post(
        "/runs/{run:int}/clone", operation_id="clone_run", response_model=Submitted, status_code=201,
        responses=answers(404, 409, 413),
    )  # fmt: skip
    def clone(run: RunPath, asked: Cloning, request: Request, response: Response, key: Key = None) -> dict[str, Any]:
        """Submit a run's spec once more, with keys changed, on the rows it was submitted with."""

        def work(beside: Beside | None) -> dict[str, Any]:
            noting, notes = client.noting()
            return {"runs": [noting.clone(run, **asked.model_dump(), beside=beside).id], "notes": notes}

        return _once(client, request, response, key, [asked.model_dump_json()], work)

    @api.post(
        "/runs/{run:int}/replay", operation_id="replay_run", response_model=Submitted, status_code=201,
        responses=answers(404, 409, 413),
    )  # fmt: skip
    def replay(run: RunPath, asked: Replaying, request: Request, response: Response, key: Key = None) -> dict[str, Any]:
        """Submit a completed run once more, to see whether it ends with the same bytes."""

        def work(beside: Beside | None) -> dict[str, Any]:
            noting, notes = client.noting()
            return {"runs": [noting.replay(run, queue=asked.queue, beside=beside).id], "notes": notes}

        return _once(client, request, response, key, [asked.model_dump_json()], work)


def _text(spec: str | dict[str, JsonValue]) -> str:
    return spec if isinstance(spec, str) else json.dumps(spec)


def _submit(
    client: Client, asked: Submission, beside: Beside | None, folder: Path | None = None, files: Sequence[str] = ()
) -> dict[str, Any]:
    from service.datasets.sent import load_sent
    from service.spec import NO_FILE, Specs

    specs = Specs.of_text(_text(asked.spec), NO_FILE, asked.overrides, asked.grid, folder)
    if len(specs) > MOST_RUNS:
        raise TooManyRuns(len(specs))
    noting, notes = client.noting()
    numbers = noting.submit_many(
        specs, queue=asked.queue, priority=asked.priority, tags=asked.tags, data=lambda spec: load_sent(spec, files),
        beside=beside, origin=None if asked.origin is None else asked.origin.model_dump(exclude_none=True),
    )  # fmt: skip
    return {"runs": numbers, "notes": notes}


def _submission(text: str) -> Submission:
    try:
        return Submission.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        found = fault({**first, "loc": ("submission", *first["loc"])}, Submission)
        raise InputError(f"{'.'.join(filter(None, (found.place, found.path)))}: {found.sentence}") from None


def _keep(file: UploadFile, folder: Path) -> str:
    """Write a file that was sent into the folder, under its name; returns its SHA-256."""
    name = file.filename or ""
    if Path(name).name != name or name in ("", ".", "..") or not name.isprintable() or len(name.encode()) > 200:
        raise InputError(f"'{name}' is no name of a file; send it without its folder")
    digest = hashlib.sha256()
    with (folder / name).open("wb") as out:
        while part := file.file.read(2**20):
            digest.update(part)
            out.write(part)
    return digest.hexdigest()


class AnsweredMeanwhile(Exception):
    """The same request came twice at once, and the other one was quicker; what this one stored is rolled back."""


def _once(
    client: Client, request: Request, response: Response, key: str | None, asked: Sequence[str],
    work: Callable[[Beside | None], dict[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """Do what is asked; with a key that came before, answer as then.

    The answer is stored with the runs that it tells of, so that whenever the yard dies a retry finds both or neither.
    What is known only afterwards (that the broker is away) is added to it.
    """
    if key is None:
        return work(None)
    who = caller_of(request).name or ""
    request_sha256 = hashlib.sha256("\0".join([request.url.path, *asked]).encode()).hexdigest()

    def known() -> dict[str, Any] | None:
        with client.database.read() as session:
            found = access.answered(session, who, key, request_sha256)
        if found is None:
            return None
        response.headers["Idempotent-Replayed"] = "true"
        return dict(found)

    def keep(session: Session, numbers: list[int]) -> None:
        if not access.answer(session, who, key, request_sha256, {"runs": numbers, "notes": []}):
            raise AnsweredMeanwhile

    if (before := known()) is not None:
        return before
    try:
        answer = work(keep)
    except AnsweredMeanwhile:
        found = known()
        assert found is not None
        return found
    if answer["notes"]:
        with client.database.write() as session:
            access.reword(session, who, key, answer)
    return answer
