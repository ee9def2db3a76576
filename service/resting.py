"""The weights of a run that rests: one that is paused, or ended while no worker held it, has its checkpoint alone."""

from __future__ import annotations

from sqlalchemy.orm import Session

from nn import State as Training
from service import beginning, weights
from service.assembly import assemble
from service.datasets import stored
from service.datasets.tensors import unpack
from service.spec import Spec
from service.store import blobs
from service.store.records import RunRecord
from service.store.tables import State

RESTS = (State.PAUSED, State.FAILED, State.CANCELLED)


def weights_file(session: Session, run: RunRecord, checkpoint_id: int, *, last: bool) -> bytes:
    """The file that a worker would have left of the best weights so far, or the last ones."""
    spec = Spec.from_document(run.spec, f"run {run.id}")
    begin = beginning.load(session, spec) if spec.begin is not None else None
    made = assemble(spec, stored.load(session, run.dataset_sha256), begin)
    state = Training.restore(made.plan, *unpack(blobs.load(session, checkpoint_id), f"the checkpoint of run {run.id}"))
    parameters = state.last_parameters if last else state.best_parameters
    return weights.pack(parameters, made.scaler, made.spec, made.outline.schema)
