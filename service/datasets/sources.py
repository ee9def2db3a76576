"""From what a spec calls its data to a dataset: built in, registered by name, or a file."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np

from nn import LOSSES
from service.datasets import columns, tables
from service.datasets import roles as roles_of
from service.datasets.arrays import idx_files, is_idx, read_idx, read_npz
from service.datasets.dataset import Dataset, Schema, Task
from service.datasets.labels import Wanted, classes_of, from_table
from service.datasets.roles import Roles
from service.datasets.tables import WrongKey
from service.errors import DataError
from service.spec import Spec
from service.wording import did_you_mean, listed

BUILT_IN = ("digits", "iris", "wine", "breast_cancer", "diabetes")
TABLES = (".csv", ".tsv", ".parquet", ".pq")
SUFFIXES = (*TABLES, ".npz")
Finder = Callable[[str], Dataset | None]


def load(spec: Spec, find: Finder | None = None, registered: Collection[str] = ()) -> Dataset:
    """The dataset that `spec.data` names. `find` looks a registered name up; `registered` is for suggestions.

    Raises SpecError, with the place in the spec, where the spec is at fault, and DataError where the file is.
    """
    try:
        dataset = _named(spec.data.source, find)
        if dataset is not None:
            return _fitting(dataset, spec)
        return read(_file(spec, registered), _asked(spec))
    except WrongKey as error:
        raise spec.error(("data", *error.key.split(".")), str(error)) from None


def reading(spec: Spec) -> str:
    """All of a spec that `load` looks at: of two with the same, one dataset needs to be loaded."""
    return repr((str(spec.source_file), spec.data.source, _asked(spec)))


@dataclass(frozen=True)
class Asked:
    """What a spec asks of a file: its columns, by what they are for, and what may be in them."""

    target: Sequence[str] | None = None
    features: Sequence[str] | None = None
    wanted: Wanted = field(default_factory=Wanted)
    one_hot: Sequence[str] = ()
    gaps: bool = False
    roles: Roles = field(default_factory=Roles)


@cache
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


def read(file: Path, asked: Asked) -> Dataset:
    """The dataset in a file or folder. Raises DataError; WrongKey if the named columns do not fit the file."""
    table = file.suffix.lower() in TABLES and not is_idx(file)
    if asked.one_hot and not table:
        raise WrongKey("one_hot", f"{file.name} has no columns with names; one_hot is for tables")
    if is_idx(file):
        return read_idx(file, asked.wanted, asked.roles)
    if file.suffix.lower() == ".npz":
        return read_npz(file, asked.wanted, asked.roles, asked.gaps)
    if not table:
        kinds = f"{', '.join(SUFFIXES)} or idx"
        raise WrongKey("source", f"{file.name}: a {file.suffix or 'file without an ending'} is no data; known: {kinds}")
    return _from_table(tables.read(file), asked)


def files(source: Path) -> list[Path]:
    """The files that `read` reads of a file or folder, the one that stands for all of them first."""
    return idx_files(source) if is_idx(source) else [source]


def _from_table(table: tables.Table, asked: Asked) -> Dataset:
    if asked.target is None:
        known = listed(table.columns[:20]) + (" …" if len(table.columns) > 20 else "")
        raise WrongKey("source", f"{table.name} needs data.target, the column of the labels (its columns: {known})")
    labels = from_table(table, asked.target, asked.wanted)
    names = _feature_names(table, asked.target, asked)
    values, categories = np.empty((len(table), len(names)), np.float32), []
    for index, name in enumerate(names):
        values[:, index], found = columns.feature(table, name, name in asked.one_hot, asked.gaps)
        categories.append(found)
    schema = Schema(
        task=labels.task,
        rows=len(table),
        width=len(names),
        dtype="float32",
        features=tuple(names),
        targets=tuple(asked.target),
        classes=labels.classes,
        categories=tuple(categories) if any(categories) else (),
        missing=bool(np.isnan(values).any()),
    )
    return Dataset(values, labels.values, schema, **roles_of.from_table(table, asked.roles))


def _feature_names(table: tables.Table, target: Sequence[str], asked: Asked) -> list[str]:
    """The columns to learn from: those the spec lists, or all that have no other use."""
    used = {*target, *asked.roles.columns}
    names = list(asked.features) if asked.features else [name for name in table.columns if name not in used]
    if both := [name for name in names if name in target]:
        raise WrongKey("features", f"'{both[0]}' is the target and cannot be learned from as well")
    if not names:
        raise WrongKey("target", f"{table.name} has no column besides the target; there is nothing to learn from")
    for name in asked.one_hot:
        if name not in names:
            raise WrongKey("one_hot", f"'{name}' is not among the features{did_you_mean(name, names)}")
    return names


def _asked(spec: Spec) -> Asked:
    data = spec.data
    return Asked(data.target, data.features, _wanted(spec), data.one_hot or (), _gaps(spec), Roles.of(spec))


def _gaps(spec: Spec) -> bool:
    """Whether features may have empty cells, since the spec says what is done about them."""
    return bool(spec.data.missing.build().fill != "error")


def _wanted(spec: Spec) -> Wanted:
    if spec.loss is None:
        return Wanted(spec.data.task)
    able = LOSSES[spec.loss.name].tasks
    return Wanted(spec.data.task, spec.loss.name, tuple(task for task in get_args(Task) if task in able))


def _named(source: str, find: Finder | None) -> Dataset | None:
    return built_in(source) if source in BUILT_IN else find(source) if find else None


def _fitting(dataset: Dataset, spec: Spec) -> Dataset:
    """A dataset that exists already: the spec may name its target and choose among its columns."""
    schema, name = dataset.schema, spec.data.source
    if spec.data.target is not None and tuple(spec.data.target) != schema.targets:
        raise WrongKey("target", f"the target of {name} is {listed(schema.targets)}; leave 'target' out")
    if spec.data.task is not None and spec.data.task != schema.task:
        raise WrongKey("task", f"{name} is for {schema.task}")
    if spec.data.one_hot is not None:
        raise WrongKey("one_hot", f"{name} has been read already; one_hot is for tables read from a file")
    given = {"weights": dataset.weights, "split.group": dataset.groups, "split.column": dataset.parts}
    for column, key in Roles.of(spec):
        if given[key] is None:
            raise WrongKey(key, f"{name} has no column '{column}' that says so")
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
    categories = tuple(schema.categories[index] for index in chosen) if schema.categories else ()
    narrow = replace(
        schema,
        features=tuple(features),
        width=len(features),
        categories=categories if any(categories) else (),
        missing=bool(np.isnan(values).any()),
    )
    return replace(dataset, features=values, schema=narrow)


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


__all__ = ["BUILT_IN", "DataError", "built_in", "files", "load", "read"]
