"""Use what was trained: weights, predictions, evaluations, what is inside."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from service.client.connection import Connection
from service.errors import InputError
from service.store import blobs, history
from service.store.records import RunRecord
from service.store.tables import Run

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from sqlalchemy.orm import Session

    from service.datasets import Dataset
    from service.evaluation import Evaluation
    from service.inspection import Inside, Layers
    from service.spreads import Gradients, Spread
    from service.weights import Weights


class NotTrained(InputError):
    def __init__(self, run: RunRecord) -> None:
        super().__init__(f"run {run.id} is {run.state} and has no weights; `trainyard runs why {run.id}` says more")


class WeightsRemoved(InputError):
    def __init__(self, run_id: int, who: str, when: datetime) -> None:
        super().__init__(
            f"the weights of run {run_id} were removed by retention, by {who} at {when:%Y-%m-%d %H:%M} UTC; "
            f"`trainyard runs clone {run_id}` trains it again"
        )


class Using(Connection):
    """The part of a client that uses the weights of runs."""

    def weights_file(self, run_id: int, *, last: bool = False) -> bytes:
        """The safetensors file of the best weights (or the last ones); those of its checkpoint while a run rests."""
        from service import resting

        with self.database.read() as session:
            run = history.run(session, run_id)
            row = session.get_one(Run, run_id)
            blob_id = row.last_weights_id if last else row.weights_id
            if blob_id is not None:
                return blobs.load(session, blob_id)
            if row.checkpoint_id is not None and run.state in resting.RESTS:
                return resting.weights_file(session, run, row.checkpoint_id, last=last)
            raise _missing(session, run)

    def weights(self, run_id: int, *, last: bool = False) -> Mapping[str, np.ndarray]:
        """The best weights (or the last ones) as arrays by name, such as `1.dense.weight`."""
        from service.weights import unpack

        return unpack(self.weights_file(run_id, last=last)).parameters.views

    def predict(self, run_id: int, table: str | Path) -> pl.DataFrame:
        """What the run's best weights say of each row of a table: classes with probabilities, or values."""
        from service.prediction import predict
        from service.weights import unpack

        return predict(unpack(self.weights_file(run_id)), Path(table))

    def evaluate(self, run_id: int, *, split: str | None = None, last: bool = False) -> Evaluation:
        """How good the run's best weights (or the last ones) are on a split of its data: every metric that fits.

        `split` is train, validation or test; without one it is test, or validation where no rows were kept for test.
        Raises InputError for a split without rows.
        """
        from service.evaluation import evaluate

        weights, dataset = self._learned(run_id, last=last)
        return evaluate(weights, dataset, split)

    def layers(self, run_id: int) -> Layers:
        """The network of a run as a table of its layers, read from the spec alone where that says it all."""
        from service.datasets import Schema
        from service.inspection import layers, of_network
        from service.spec import Spec
        from service.store.activity import schema_of
        from service.weights import unpack

        with self.database.read() as session:
            run = history.run(session, run_id)
            schema = Schema.from_document(schema_of(session, run.dataset_sha256))
        if schema.missing and run.weights_sha256:  # the width depends on which columns have gaps
            return of_network(unpack(self.weights_file(run_id)).network)
        return layers(Spec.from_document(run.spec, f"run {run_id}"), schema)

    def spreads(self, run_id: int) -> tuple[Spread, ...]:
        """How each array of the run's best weights is spread."""
        from service.spreads import spreads
        from service.weights import unpack

        return spreads(unpack(self.weights_file(run_id)))

    def gradients(self, run_id: int) -> Gradients:
        """How the gradients of the run's loss are spread, at its best weights and on rows of its training split."""
        from service.evaluation import assembly_of
        from service.spreads import gradients

        weights, dataset = self._learned(run_id)
        return gradients(weights, assembly_of(weights, dataset))

    def inside(self, run_id: int) -> Inside:
        """What there is to see in a run's best weights: how they are spread, what the first layer looks for in images,
        how good they are on rows that were kept back, and the images they are wrong about."""
        from service.inspection import inside

        weights, dataset = self._learned(run_id)
        return inside(weights, dataset)

    def _learned(self, run_id: int, *, last: bool = False) -> tuple[Weights, Dataset]:
        """The run's best weights, or the last ones, and the data that they were trained on."""
        from service.datasets import stored
        from service.weights import unpack

        weights = unpack(self.weights_file(run_id, last=last))
        with self.database.read() as session:
            return weights, stored.load(session, history.run(session, run_id).dataset_sha256)


def _missing(session: Session, run: RunRecord) -> InputError:
    """Why there are no weights."""
    from service.store import removal

    gone = removal.given_up(session, run.id, "weights")
    return NotTrained(run) if gone is None else WeightsRemoved(run.id, gone.who, gone.at)
