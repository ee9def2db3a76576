"""What is asked of runs, by their numbers or by an expression that they fit."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from service.client import Client
from service.client.acting import LONGEST_NOTE, VERBS, Verb
from service.errors import InputError
from service.roles import Role
from service.store.edits import PARENTS
from service.store.tables import State
from service.web.access import needs
from service.web.api.models import Model
from service.web.api.shared import LONGEST_SENT, MOST_AT_ONCE, MOST_RUNS
from service.web.problems import answers, type_of

LONGEST_WAIT = 30.0  # seconds for runs that train to obey
MOST_TOLD = 100_000  # runs
LONGEST_AGE = 1e10  # seconds: three centuries
RunNumber = Annotated[int, Field(strict=True, ge=0, le=MOST_RUNS)]
Name = Annotated[str, Field(max_length=200)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=LONGEST_AGE, allow_inf_nan=False)]
WORDS = {
    "cancel": "Cancel runs, waiting or training; one that trains keeps its weights and its checkpoint.",
    "pause": "Put runs to rest until they are resumed; one that trains saves its work and gives its slot to others.",
    "resume": "Queue paused runs again; they go on from where they were.",
    "retry": "Queue failed or cancelled runs again; they go on from their last checkpoints.",
}


class Which(BaseModel):
    """`runs` or `where`, not both."""

    model_config = ConfigDict(extra="forbid")

    runs: list[RunNumber] | None = Field(None, min_length=1, max_length=MOST_AT_ONCE, examples=[[1, 2]])
    where: Annotated[str, Field(max_length=LONGEST_SENT, examples=["state = queued"])] | None = None

    def chosen(self) -> str | list[int]:
        if (self.runs is None) == (self.where is None):
            raise InputError("say which runs: their numbers as `runs`, or an expression as `where`, not both")
        return self.runs if self.where is None else self.where  # type: ignore[return-value]


class Asking(Which):
    wait: float = Field(10.0, strict=True, ge=0, le=LONGEST_WAIT, description="seconds for runs that train to obey")


class Asked(Model):
    id: int
    state: State | None = Field(description="what it is in now; null where there is no such run, or it was not asked")
    error: str | None = Field(description="why it could not be asked")
    type: str | None = Field(description="the kind of that problem", examples=["urn:trainyard:no-such-run"])


class AllAsked(Model):
    runs: list[Asked] = Field(description=f"what became of each, of the first {MOST_TOLD:,}")
    counts: dict[str, int] = Field(description="how many of those that were asked are in each state now")
    notes: list[str]


class Editing(Which):
    name: Name | None = None
    note: Annotated[str, Field(max_length=LONGEST_NOTE)] | None = Field(None, description="an empty one removes it")
    tag: list[Name] = Field(default=[], max_length=100, description="tags to add")
    untag: list[Name] = Field(default=[], max_length=100, description="tags to take away")
    parents: dict[str, RunNumber | None] = Field(
        default={}, max_length=len(PARENTS), description=f"{', '.join(PARENTS)}: a run's number or null"
    )


class Changed(Model):
    runs: list[int] = Field(description="those of which anything changed")


class Removing(Which):
    dry_run: bool = Field(False, strict=True, description="only say what would go")


class Removed(Model):
    runs: int
    points: int
    bytes: int
    left: int = Field(description="how many fitted and may not go")


class Pruning(BaseModel):
    """What a yard keeps; without `weights_after` and `keep_best` all weights, without `checkpoints_after` all
    checkpoints."""

    model_config = ConfigDict(extra="forbid")

    keep_best: int | None = Field(None, strict=True, ge=0, le=MOST_RUNS, description="weights of each name")
    by: Name | None = Field(None, description="the metric that says what is best", examples=["val_accuracy"])
    weights_after: Seconds | None = Field(None, description="seconds after a run's end for which its weights stay")
    checkpoints_after: Seconds | None = Field(None, description="the same for its checkpoint")
    where: Annotated[str, Field(max_length=LONGEST_SENT)] | None = Field(None, description="only runs that fit")
    dry_run: bool = Field(False, strict=True, description="only say what would go, and what stays")


class Decision(Model):
    run: int | None = Field(description="null for a dataset and for leftovers")
    name: str
    what: str = Field(description="weights, checkpoint, dataset or leftovers")
    goes: bool
    bytes: int = Field(description="that it takes, or that go with it")
    why: str


class Pruned(Model):
    decisions: list[Decision]
    bytes: int = Field(description="that are free with it")


def router(client: Client) -> APIRouter:
    api = APIRouter(prefix="/runs", tags=["acting"])
    submitter, admin = [Depends(needs(Role.SUBMITTER))], [Depends(needs(Role.ADMIN))]
    for verb in VERBS:
        api.post(
            f"/{verb}", operation_id=f"{verb}_runs", description=WORDS[verb], response_model=AllAsked,
            dependencies=submitter, responses=answers(413),
        )(_asker(client, verb))  # fmt: skip

    @api.patch(
        "", operation_id="edit_runs", response_model=Changed, dependencies=submitter, responses=answers(404, 413)
    )
    def edit(asked: Editing) -> dict[str, Any]:
        """Change what people have noted of runs; who changed what, and when, is kept."""
        changes = asked.model_dump(exclude={"runs", "where"})
        return {"runs": client.edit(asked.chosen(), **changes)}

    @api.post(
        "/remove", operation_id="remove_runs", response_model=Removed, dependencies=admin,
        responses=answers(404, 409, 413),
    )  # fmt: skip
    def remove(asked: Removing) -> Any:
        """Remove runs that have ended, with all that is theirs; for ever."""
        which = asked.chosen()
        if isinstance(which, str):
            return vars(client.remove_all(which, dry_run=asked.dry_run))
        return vars(client.remove(which, dry_run=asked.dry_run))

    @api.post("/prune", operation_id="prune_runs", response_model=Pruned, dependencies=admin, responses=answers(413))
    def prune(asked: Pruning) -> dict[str, Any]:
        """Give up weights and checkpoints that a policy does not keep, and data that no run needs. Histories stay."""
        return asdict(client.prune(**asked.model_dump()))

    return api


def _asker(client: Client, verb: Verb) -> Any:
    def ask(asked: Asking) -> dict[str, Any]:
        which = asked.chosen()
        noting, notes = client.noting()
        if isinstance(which, str):
            timeout = {"timeout": asked.wait} if verb in ("cancel", "pause") else {}
            found: dict[int, Any] = getattr(noting, f"{verb}_all")(which, **timeout)
        else:
            found = noting.ask_each(verb, which, asked.wait)
        counts = Counter(str(state) for state in found.values() if isinstance(state, State))
        rows = [
            {"id": run_id, "state": None, "error": str(state), "type": type_of(state)}
            if isinstance(state, InputError)
            else {"id": run_id, "state": state, "error": None, "type": None}
            for run_id, state in list(found.items())[:MOST_TOLD]
        ]
        return {"runs": rows, "counts": counts, "notes": notes}

    return ask
