"""Whether a run that was trained again, from the same spec on the same rows, ended with the same bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from service.environments import differences
from service.errors import InputError
from service.spec import Spec
from service.store import history
from service.store.records import Record, RunRecord
from service.store.tables import State
from service.store.transitions import WrongState


class NoReplay(InputError):
    def __init__(self, run_id: int, other_id: int, what: str) -> None:
        super().__init__(f"run {other_id} is no replay of run {run_id}: {what}; `trainyard runs replay` makes one")


@dataclass(frozen=True)
class Difference(Record):
    """The first epoch at which two runs do not say the same: what each has there, and None where it has nothing."""

    epoch: int
    metrics: dict[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Replay(Record):
    """A run, its replay, and what is different. `step` is the first one that differs, where both have kept steps.

    `environment` says what of the machines may be why, for the last attempts of both.
    """

    run: int
    replay: int
    state: State  # of the replay
    same: bool
    weights_sha256: tuple[str | None, str | None]
    difference: Difference | None
    step: int | None
    environment: list[str]


def compare(session: Session, run_id: int, replay_id: int) -> Replay:
    """Compare what two runs have stored, to the last bit: the weights' hashes, then the metrics of each epoch.

    Raises WrongState when they have not ended so that they can be compared, and NoReplay for runs of different specs.
    """
    run, replay = history.run(session, run_id), history.run(session, replay_id)
    _check(run, replay)
    hashes = run.weights_sha256, replay.weights_sha256
    return Replay(
        run_id,
        replay_id,
        replay.state,
        replay.state is State.COMPLETED and hashes[0] == hashes[1],
        hashes,
        _difference(session, run_id, replay_id),
        history.first_different_step(session, run_id, replay_id),
        _environments(session, run_id, replay_id),
    )


def _check(run: RunRecord, replay: RunRecord) -> None:
    if run.state is not State.COMPLETED:
        raise WrongState(run.id, run.state, "compared with a replay", "completed")
    if not replay.state.ended:
        raise WrongState(replay.id, replay.state, "compared", "completed, failed or cancelled")
    if run.dataset_sha256 != replay.dataset_sha256:
        raise NoReplay(run.id, replay.id, "it was trained on other data")
    if _spec(run) != _spec(replay):
        raise NoReplay(run.id, replay.id, "it was trained from another spec")


def _spec(run: RunRecord) -> dict[str, Any]:
    """All that decides the training; keys that are younger than the run have their defaults."""
    return Spec.from_document(run.spec).document() | {"name": None}


def _difference(session: Session, run_id: int, replay_id: int) -> Difference | None:
    epoch = history.first_different_epoch(session, run_id, replay_id)
    if epoch is None:
        return None
    here, there = (history.metrics_at(session, number, epoch) for number in (run_id, replay_id))
    names = [name for name in {**here, **there} if name not in here or name not in there or _differ(here, there, name)]
    return Difference(epoch, {name: (here.get(name), there.get(name)) for name in names})


def _differ(here: dict[str, float], there: dict[str, float], name: str) -> bool:
    """NaN is the same as NaN."""
    one, other = here[name], there[name]
    return one != other and (one == one or other == other)


def _environments(session: Session, run_id: int, replay_id: int) -> list[str]:
    attempts: list[Any] = [history.attempts(session, number)[-1:] for number in (run_id, replay_id)]
    before, after = ([attempt.environment for attempt in found] for found in attempts)
    return differences(before[0], after[0]) if before and after else []
