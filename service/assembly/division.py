"""Which rows of a dataset are for training, which for validation and which for the test, as a spec asks."""

from __future__ import annotations

import numpy as np

from nn import Array, fold_indices, given_indices, grouped_indices, split_indices
from service.datasets import Dataset
from service.spec import Spec
from service.spec.errors import Path


def with_stratify(spec: Spec, dataset: Dataset) -> Spec:
    """The spec that says whether to stratify. Raises SpecError if it asks for what cannot be done."""
    split, schema = spec.data.split, dataset.schema
    place = ("data", "split", "stratify")
    stratify = False
    if schema.task != "classification":
        if split.stratify:
            raise spec.error(
                place, f"only classes can be stratified, and the labels are {schema.label_kind}; remove it"
            )
    elif split.column is None and split.group is None:
        parts = (split.folds or 1 + (split.validation > 0)) + (split.test > 0)
        counts = np.bincount(dataset.labels, minlength=len(schema.classes))
        rare = int(counts.argmin())
        stratify = bool(counts[rare] >= parts) if split.stratify is None else split.stratify
        if split.stratify and counts[rare] < parts:
            rows = f"{counts[rare]} row{'' if counts[rare] == 1 else 's'}"
            sentence = f"class '{schema.classes[rare]}' has {rows}, too few to stand in each of {parts} parts"
            raise spec.error(place, f"{sentence}; add rows, or set stratify: false")
    data = spec.data.model_copy(update={"split": split.model_copy(update={"stratify": stratify})})
    return spec.model_copy(update={"data": data})


def split(spec: Spec, dataset: Dataset) -> tuple[Array, Array, Array]:
    """The rows for training, validation and test. Raises SpecError if there are too few, or no such columns."""
    asked = spec.data.split
    try:
        if asked.column is not None:
            return given_indices(told(spec, dataset.parts, ("data", "split", "column")))
        groups = None if asked.group is None else told(spec, dataset.groups, ("data", "split", "group"))
        if asked.folds is not None:
            stratify = bool(asked.stratify)
            return fold_indices(dataset.labels, asked.folds, asked.fold, asked.test, stratify, spec.seed, groups)
        if groups is not None:
            return grouped_indices(groups, asked.validation, asked.test, spec.seed)
        return split_indices(dataset.labels, asked.validation, asked.test, bool(asked.stratify), spec.seed)
    except ValueError as error:
        raise spec.error(("data", "split"), str(error)) from None


def told(spec: Spec, array: Array | None, place: Path) -> Array:
    """What the dataset says of its rows. Raises SpecError if it does not."""
    if array is None:
        raise spec.error(place, f"{spec.data.source} was stored without this column; name its file instead")
    return array
