"""The data of a spec that came over HTTP: built in, or a file that came with it. Nothing of this machine is read."""

from __future__ import annotations

from collections.abc import Collection

from service.datasets.dataset import Dataset
from service.datasets.sources import BUILT_IN, load
from service.spec import Spec
from service.wording import did_you_mean, listed, shown


def load_sent(spec: Spec, files: Collection[str] = ()) -> Dataset:
    """The dataset that the spec names; `files` are the names of those that came, all in the spec's folder.

    Raises SpecError and DataError, as `load`.
    """
    source = spec.data.source
    if source in BUILT_IN or source in files:
        return load(spec)
    if files:
        sentence = f"{shown(source)} did not come with the spec{did_you_mean(source, files)} (came: {listed(files)})"
    else:
        sentence = (
            f"{shown(source)} is not built in ({', '.join(BUILT_IN)}), and a yard reads no file of its own for others: "
            "send the file with the spec, to /api/v1/runs/with-data"
        )
    raise spec.error(("data", "source"), sentence)
