"""A dataset: features, labels and what they mean, immutable and known by the hash of its content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from service.datasets import tensors
from service.errors import DataError

Task = Literal["classification", "regression", "multilabel"]

_OPTIONAL = ("categories", "missing")  # keys of a schema that are left out where they say nothing
_EXTRAS = {"weights": "float32", "groups": "int64", "parts": "int64"}  # arrays beside features and labels


@dataclass(frozen=True)
class Schema:
    """What the columns of a dataset mean; equal schemas can be predicted with the same network."""

    task: Task
    rows: int
    width: int  # features of a row
    dtype: Literal["float32", "uint8"]
    features: tuple[str, ...] = ()  # names of a table's columns; empty for images and bare arrays
    image_shape: tuple[int, ...] = ()  # the features of a row are an image of this shape, row by row
    targets: tuple[str, ...] = ()  # names of the label columns
    classes: tuple[str, ...] = ()  # names in the order of the labels 0, 1, …; empty for other tasks
    categories: tuple[tuple[str, ...], ...] = ()  # for each feature the names of its codes 0, 1, …, () for numbers
    missing: bool = False  # whether features may be NaN, an empty cell

    @property
    def outputs(self) -> int:
        """How many numbers a network must give for a row: one for each class, or for each target."""
        return len(self.classes) if self.task == "classification" else len(self.targets)

    @property
    def label_kind(self) -> str:
        """What the labels are, in words."""
        words = {"classification": "classes", "regression": "numbers, not classes"}
        return words.get(self.task, "several, each a yes or a no")

    @property
    def category_counts(self) -> tuple[int, ...]:
        """How many categories each feature has, 0 for numbers; () if there are numbers alone."""
        return tuple(len(names) for names in self.categories)

    def document(self) -> dict[str, Any]:
        """Plain values. What a schema of an earlier version did not have is left out if empty: equal hashes stay."""
        values = {name: value for name, value in asdict(self).items() if value or name not in _OPTIONAL}
        document: dict[str, Any] = _lists(values)
        return document

    @classmethod
    def from_document(cls, document: Any) -> Schema:
        """The schema of a stored document. Raises DataError if a key is missing, unknown or of another type."""
        known = {field.name for field in fields(cls)}
        if not isinstance(document, dict) or not known - set(_OPTIONAL) <= set(document) <= known:
            raise DataError("the dataset's schema is damaged: its keys are not those of a schema")
        schema = cls(**{name: _tuples(value) for name, value in document.items()})
        schema._distrust()
        return schema

    def _distrust(self) -> None:
        counts = (self.rows, self.width, *_whole(self.image_shape))
        names = [*_texts(self.features), *_texts(self.targets), *_texts(self.classes)]
        fits = (
            self.task in get_args(Task)
            and self.dtype in ("float32", "uint8")
            and all(type(count) is int and count > 0 for count in counts)
            and all(names)
            and type(self.missing) is bool
            and (self.dtype == "float32" or not (self.missing or self.categories))
            and self._trusted_categories()
            and len(self.features) in (0, self.width)
            and (not self.image_shape or math.prod(self.image_shape) == self.width)
            and bool(self.classes) == (self.task == "classification")
            and len(self.targets) >= 1
            and all(len(set(group)) == len(group) for group in (self.features, self.targets, self.classes))
        )
        if not fits:
            raise DataError("the dataset's schema is damaged: its values do not fit together")

    def _trusted_categories(self) -> bool:
        columns = self.categories
        fits = isinstance(columns, tuple) and len(columns) in (0, self.width)
        return fits and all(all(_texts(names)) and len(set(_texts(names))) == len(names) for names in columns)


def _lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lists(item) for name, item in value.items()}
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _whole(values: Any) -> tuple[int, ...]:
    return values if isinstance(values, tuple) and all(type(value) is int for value in values) else (0,)


def _texts(values: Any) -> tuple[str, ...]:
    return values if isinstance(values, tuple) and all(isinstance(value, str) for value in values) else ("",)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features (rows, width) float32 or uint8; labels (rows,) int64 classes, or (rows, targets) float32 values.

    What else is known of the rows, each (rows,) or None: `weights` float32, how much a row counts; `groups` int64, rows
    that belong together; `parts` int64, what the data says of its split: 0 training, 1 validation, 2 test.

    The arrays are made read-only. Raises DataError if they do not fit the schema or hold a number that is not finite;
    an empty cell of the features is NaN where the schema says that some are missing.
    """

    features: np.ndarray
    labels: np.ndarray
    schema: Schema
    weights: np.ndarray | None = None
    groups: np.ndarray | None = None
    parts: np.ndarray | None = None

    def __post_init__(self) -> None:
        for name, given in self._arrays.items():
            array = np.ascontiguousarray(given).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check_features()
        self._check_categories()
        self._check_labels()
        self._check_extras()

    def __len__(self) -> int:
        return self.schema.rows

    @cached_property
    def sha256(self) -> str:
        """The hash of `to_bytes()`: the same for the same content, whatever file or format it came from."""
        digest = hashlib.sha256()
        for chunk in tensors.chunks(self._arrays, self.schema.document()):
            digest.update(chunk)
        return digest.hexdigest()

    @property
    def nbytes(self) -> int:
        return sum(int(array.nbytes) for array in self._arrays.values())

    def to_bytes(self) -> bytes:
        """A safetensors file with the schema in its metadata."""
        return tensors.pack(self._arrays, self.schema.document())

    @classmethod
    def from_bytes(cls, data: bytes, sha256: str | None = None) -> Dataset:
        """The dataset in `data`. Raises DataError on a hash other than `sha256` and on anything that does not fit."""
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(f"the stored dataset {sha256[:12]} is damaged: its content has another hash")
        arrays, document = tensors.unpack(data, "the stored dataset")
        if not {"features", "labels"} <= set(arrays) <= {"features", "labels", *_EXTRAS}:
            raise DataError("the stored dataset is damaged: its arrays are not those of a dataset")
        return cls(schema=Schema.from_document(document), **arrays)

    @property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        found = {name: getattr(self, name) for name in ("features", "labels", *_EXTRAS)}
        return {name: array for name, array in found.items() if array is not None}

    def _check_features(self) -> None:
        schema, features = self.schema, self.features
        if features.dtype.name != schema.dtype or features.shape != (schema.rows, schema.width):
            expected = f"{schema.dtype} of shape ({schema.rows}, {schema.width})"
            raise DataError(f"the features are {features.dtype} of shape {features.shape}; the schema says {expected}")
        if schema.dtype == "float32" and not np.isfinite(features).all():
            wrong = np.isinf(features) if schema.missing else ~np.isfinite(features)
            for row, column in np.argwhere(wrong)[:1].tolist():
                name = f"'{schema.features[column]}'" if schema.features else str(column + 1)
                value = features[row, column]
                advice = "; data.missing says what to do about empty cells" if np.isnan(value) else ""
                raise DataError(f"row {row + 1}, column {name} of the features is {value}, not a number{advice}")

    def _check_categories(self) -> None:
        for column, names in enumerate(self.schema.categories):
            codes = self.features[:, column]
            known = codes[~np.isnan(codes)]
            if names and len(known) and not (known.min() >= 0 and known.max() < len(names) and (known % 1 == 0).all()):
                raise DataError(f"column {column + 1} of the features holds a code outside its {len(names)} categories")

    def _check_labels(self) -> None:
        schema, labels = self.schema, self.labels
        classes = schema.task == "classification"
        shape = (schema.rows,) if classes else (schema.rows, len(schema.targets))
        dtype = "int64" if classes else "float32"
        if labels.dtype.name != dtype or labels.shape != shape:
            raise DataError(f"the labels are {labels.dtype} of shape {labels.shape}; they must be {dtype} of {shape}")
        if classes and (int(labels.min()) < 0 or int(labels.max()) >= len(schema.classes)):
            raise DataError(f"a label lies outside the {len(schema.classes)} classes of the schema")
        if schema.task == "multilabel" and not np.isin(labels, (0, 1)).all():
            raise DataError("the labels of a multilabel dataset must be 0 or 1")
        if not classes and not np.isfinite(labels).all():
            raise DataError(f"the label of row {int(np.argwhere(~np.isfinite(labels))[0][0]) + 1} is not finite")

    def _check_extras(self) -> None:
        for name, dtype in _EXTRAS.items():
            array = getattr(self, name)
            if array is not None and (array.dtype.name != dtype or array.shape != (self.schema.rows,)):
                raise DataError(
                    f"the {name} are {array.dtype} of {array.shape}; they must be {dtype}, one for each row"
                )
        if self.weights is not None and not (np.isfinite(self.weights).all() and self.weights.min() >= 0):
            raise DataError("the weights of the rows must be finite and not below 0")
        if self.weights is not None and not self.weights.any():
            raise DataError("the weights of the rows are all 0")
        if self.parts is not None and not np.isin(self.parts, range(3)).all():
            raise DataError("the parts must be 0, 1 or 2")
