"""Submitting a run once more, with some keys changed: its spec and its rows are in the store, its files may be gone."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy.orm import Session

from service.datasets import Dataset, stored
from service.errors import InputError
from service.spec import Spec, parse
from service.store import history

READ_BY = ("source", "target", "features", "task", "one_hot", "weights")  # keys of data that decide which rows are read
DIVIDED_BY = ("group", "column")


class OtherRows(InputError):
    def __init__(self, run_id: int, key: str) -> None:
        super().__init__(
            f"a clone trains on the rows that run {run_id} was submitted with, so {key} cannot be changed; "
            "submit the spec's file again with --set instead"
        )


def clone(session: Session, run_id: int, overrides: Sequence[str]) -> tuple[Spec, Dataset]:
    """The spec of the run with the overrides laid over it, and the run's dataset. Raises SpecError, OtherRows."""
    run = history.run(session, run_id)
    spec = parse(json.dumps(run.spec), f"the spec of run {run_id}", overrides)
    before = Spec.from_document(run.spec)
    for part, names, old, new in (
        ("data", READ_BY, before.data, spec.data),
        ("data.split", DIVIDED_BY, before.data.split, spec.data.split),
    ):
        for name in names:
            if getattr(old, name) != getattr(new, name):
                raise OtherRows(run_id, f"{part}.{name}")
    return spec, stored.load(session, run.dataset_sha256)
