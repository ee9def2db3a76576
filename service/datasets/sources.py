"""From what a spec calls its data to a dataset: built in, registered by name, or a file."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import numpy as np

from nn import LOSSES
from service.datasets import tables
from service.datasets.arrays import is_idx, read_idx, read_npz
from service.datasets.dataset import Dataset, Schema
from service.datasets.labels import Wanted, classes_of, from_table
from service.datasets.tables import WrongKey
from service.errors import DataError
from service.spec import Spec
from service.spec.errors import did_you_mean, listed

BUILT_IN = ("digits", "iris", "wine", "breast_cancer", "diabetes")
TABLES = (".csv", ".tsv", ".parquet", ".pq")
SUFFIXES = (*TABLES, ".npz")
Finder = Callable[[str], Dataset | None]


def load(spec: Spec, find: Finder | None = None, registered: Collection[str] = ()) -> Dataset:
    """The dataset that `spec.data` names. `find` looks a registered name up; `registered` is for suggestions.

    Raises SpecError, with the place in the spec, where the spec is at fault, and DataError where the file is.
    """
    wanted = _wanted(spec)
    try:
        dataset = _named(spec.data.source, find)
        if dataset is not None:
            return _fitting(dataset, spec)
        file = _file(spec, registered)
        return read(file, spec.data.target, spec.data.features, wanted)
    except WrongKey as error:
        raise spec.error(("data", error.key), str(error)) from None


def built_in(name: str) -> Dataset:
    """One of the datasets that come with Trainyard; see bundled/SOURCES.md."""
    packed = (Path(__file__).parent / "bundled" / f"{name}.csv.gz").read_bytes()
    header, *rows = csv.reader(io.StringIO(gzip.decompress(packed).decode(), newline=""))
    features = np.array([row[:-1] for row in rows]).astype(np.float32)
    last = np.array([row[-1] for row in rows])
    labels, classes = (last.astype(np.float32)[:, None], ()) if name == "diabetes" else classes_of(last, name)
    schema = Schema(
        task="classification" if classes else "regression",
        rows=len(rows),
        width=features.shape[1],
        dtype="float32",
        features=() if name == "digits" else tuple(header[:-1]),
        image_shape=(8, 8) if name == "digits" else (),
        targets=(header[-1],),
        classes=classes,
    )
    return Dataset(features, labels, schema)


def read(
    file: Path, target: Sequence[str] | None, features: Sequence[str] | None = None, wanted: Wanted | None = None
) -> Dataset:
    """The dataset in a file or folder. Raises DataError; WrongKey if the named columns do not fit the file."""
    wanted = wanted or Wanted()
    if is_idx(file):
        return read_idx(file, wanted)
    if file.suffix.lower() == ".npz":
        return read_npz(file, wanted)
    if file.suffix.lower() not in TABLES:
        kinds = f"{', '.join(SUFFIXES)} or idx"
        raise WrongKey("source", f"{file.name}: a {file.suffix or 'file without an ending'} is no data; known: {kinds}")
    table = tables.read(file)
    if target is None:
        columns = listed(table.columns[:20]) + (" …" if len(table.columns) > 20 else "")
        raise WrongKey("source", f"{file.name} needs data.target, the column of the labels (its columns: {columns})")
    return _from_table(table, target, features, wanted)


def _from_table(table: tables.Table, target: Sequence[str], features: Sequence[str] | None, wanted: Wanted) -> Dataset:
    labels, classes = from_table(table, target, wanted)
    names = list(features) if features else [column for column in table.columns if column not in target]
    if both := [name for name in names if name in target]:
        raise WrongKey("features", f"'{both[0]}' is the target and cannot be learned from as well")
    if not names:
        raise WrongKey("target", f"{table.name} has no column besides the target; there is nothing to learn from")
    values = np.empty((len(table), len(names)), np.float32)
    for index, name in enumerate(names):
        values[:, index] = tables.numbers(table, name, "features")
    schema = Schema(
        task="classification" if classes else "regression",
        rows=len(table),
        width=len(names),
        dtype="float32",
        features=tuple(names),
        targets=tuple(target),
        classes=classes,
    )
    return Dataset(values, labels, schema)


def _wanted(spec: Spec) -> Wanted:
    if spec.loss is None:
        return Wanted(spec.data.task)
    return Wanted(spec.data.task, spec.loss.name, tuple(sorted(LOSSES[spec.loss.name].tasks)))


def _named(source: str, find: Finder | None) -> Dataset | None:
    return built_in(source) if source in BUILT_IN else find(source) if find else None


def _fitting(dataset: Dataset, spec: Spec) -> Dataset:
    """A dataset that exists already: the spec may name its target and choose among its columns."""
    schema, name = dataset.schema, spec.data.source
    if spec.data.target is not None and tuple(spec.data.target) != schema.targets:
        raise WrongKey("target", f"the target of {name} is {listed(schema.targets)}; leave 'target' out")
    if spec.data.task is not None and spec.data.task != schema.task:
        raise WrongKey("task", f"{name} is for {schema.task}")
    return dataset if spec.data.features is None else _selected(dataset, spec.data.features, name)


def _selected(dataset: Dataset, features: Sequence[str], name: str) -> Dataset:
    schema = dataset.schema
    for feature in features:
        if feature not in schema.features:
            known = f"its columns: {listed(schema.features)}" if schema.features else "its columns have no names"
            raise WrongKey(
                "features", f"{name} has no column '{feature}'{did_you_mean(feature, schema.features)} ({known})"
            )
    chosen = [schema.features.index(feature) for feature in features]
    values = dataset.features[:, chosen]
    document = {**schema.document(), "features": list(features), "width": len(features)}
    return Dataset(values, dataset.labels, Schema.from_document(document))


def _file(spec: Spec, registered: Collection[str]) -> Path:
    """The file that `data.source` names. Raises WrongKey with what there is instead."""
    file, source = spec.source_file, spec.data.source
    try:
        if file.exists():
            return file
        beside = sorted(entry.name for entry in file.parent.iterdir() if entry.suffix.lower() in SUFFIXES)
    except OSError:
        beside = []
    if file.suffix or "/" in source or "\\" in source:
        near = did_you_mean(file.name, beside) or (f" (in that folder: {listed(beside[:10])})" if beside else "")
        raise WrongKey("source", f"there is no file '{file}'{near}")
    known = (*BUILT_IN, *registered)
    near = did_you_mean(source, (*known, *beside))
    raise WrongKey("source", f"no dataset is called '{source}'{near} (known: {', '.join(known)}; or name a file)")


__all__ = ["BUILT_IN", "DataError", "built_in", "load", "read"]
