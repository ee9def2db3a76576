"""Beginning with another run's parameters: fine-tuning. The spec names the run, its hash makes it reproducible."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service import weights
from service.spec import Spec, SpecError
from service.store import blobs, history, removal
from service.store.tables import Run, State
from service.weights import Weights


def load(session: Session, spec: Spec) -> Weights:
    """The weights that `spec.begin` names. Raises SpecError if the run has none, or others than the spec recorded."""
    begin = spec.begin
    assert begin is not None
    row = session.get(Run, begin.run)
    if row is None:
        raise spec.error(("begin", "run"), f"there is no run {begin.run}; `trainyard runs list` shows those there are")
    blob_id = row.weights_id if begin.weights == "best" else row.last_weights_id
    if blob_id is None:
        state = history.run(session, begin.run).state
        removed = removal.given_up(session, begin.run, "weights") is not None
        raise lacking(spec, state, removed=removed)
    return same(spec, weights.unpack(blobs.load(session, blob_id)))


def lacking(spec: Spec, state: State, *, removed: bool) -> SpecError:
    """The run that the spec begins with is there, its weights are not."""
    assert spec.begin is not None
    why = "its weights were removed by retention" if removed else "has no weights to begin with"
    return spec.error(("begin", "run"), f"run {spec.begin.run} is {state} and {why}")


def same(spec: Spec, found: Weights) -> Weights:
    """These weights, if they are those that the spec recorded. Raises SpecError."""
    begin = spec.begin
    assert begin is not None
    sha256 = weights.sha256(found.parameters)
    if begin.sha256 not in (None, sha256):
        sentence = f"run {begin.run} has other weights now than this spec was made with ({sha256[:12]} instead of"
        raise spec.error(("begin", "sha256"), f"{sentence} {str(begin.sha256)[:12]}); leave sha256 out to take them")
    return found


def pinned(spec: Spec, found: Weights) -> Spec:
    """The spec with the hash of the parameters it begins with."""
    assert spec.begin is not None
    return spec.model_copy(update={"begin": spec.begin.model_copy(update={"sha256": weights.sha256(found.parameters)})})
