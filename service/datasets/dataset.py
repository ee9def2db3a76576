"""A dataset: features, labels and what they mean, immutable and known by the hash of its content."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np

from service.datasets import tensors
from service.errors import DataError

Task = Literal["classification", "regression"]


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
    classes: tuple[str, ...] = ()  # names in the order of the labels 0, 1, …; empty for regression

    @property
    def outputs(self) -> int:
        """How many numbers a network must give for a row: one for each class, or for each target."""
        return len(self.classes) if self.task == "classification" else len(self.targets)

    def document(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_document(cls, document: Any) -> Schema:
        """The schema of a stored document. Raises DataError if a key is missing, unknown or of another type."""
        if not isinstance(document, dict) or set(document) != {field.name for field in fields(cls)}:
            raise DataError("the dataset's schema is damaged: its keys are not those of a schema")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in document.items()
        }
        schema = cls(**values)
        schema._distrust()
        return schema

    def _distrust(self) -> None:
        counts = (self.rows, self.width, *_whole(self.image_shape))
        names = [*_texts(self.features), *_texts(self.targets), *_texts(self.classes)]
        fits = (
            self.task in ("classification", "regression")
            and self.dtype in ("float32", "uint8")
            and all(type(count) is int and count > 0 for count in counts)
            and all(names)
            and len(self.features) in (0, self.width)
            and (not self.image_shape or math.prod(self.image_shape) == self.width)
            and bool(self.classes) == (self.task == "classification")
            and len(self.targets) >= 1
            and all(len(set(group)) == len(group) for group in (self.features, self.targets, self.classes))
        )
        if not fits:
            raise DataError("the dataset's schema is damaged: its values do not fit together")


def _whole(values: Any) -> tuple[int, ...]:
    return values if isinstance(values, tuple) and all(type(value) is int for value in values) else (0,)


def _texts(values: Any) -> tuple[str, ...]:
    return values if isinstance(values, tuple) and all(isinstance(value, str) for value in values) else ("",)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Features (rows, width) float32 or uint8; labels (rows,) int64 classes, or (rows, targets) float32 values.

    The arrays are made read-only. Raises DataError if they do not fit the schema or hold a number that is not finite.
    """

    features: np.ndarray
    labels: np.ndarray
    schema: Schema

    def __post_init__(self) -> None:
        for name in ("features", "labels"):
            array = np.ascontiguousarray(getattr(self, name)).view()
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        self._check_features()
        self._check_labels()

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
        return int(self.features.nbytes + self.labels.nbytes)

    def to_bytes(self) -> bytes:
        """A safetensors file with the schema in its metadata."""
        return tensors.pack(self._arrays, self.schema.document())

    @classmethod
    def from_bytes(cls, data: bytes, sha256: str | None = None) -> Dataset:
        """The dataset in `data`. Raises DataError on a hash other than `sha256` and on anything that does not fit."""
        if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
            raise DataError(f"the stored dataset {sha256[:12]} is damaged: its content has another hash")
        arrays, document = tensors.unpack(data, "the stored dataset")
        if set(arrays) != {"features", "labels"}:
            raise DataError("the stored dataset is damaged: it must hold the arrays features and labels, and no other")
        return cls(arrays["features"], arrays["labels"], Schema.from_document(document))

    @property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {"features": self.features, "labels": self.labels}

    def _check_features(self) -> None:
        schema, features = self.schema, self.features
        if features.dtype.name != schema.dtype or features.shape != (schema.rows, schema.width):
            expected = f"{schema.dtype} of shape ({schema.rows}, {schema.width})"
            raise DataError(f"the features are {features.dtype} of shape {features.shape}; the schema says {expected}")
        if schema.dtype == "float32" and not np.isfinite(features).all():
            row, column = map(int, np.argwhere(~np.isfinite(features))[0])
            name = f"'{schema.features[column]}'" if schema.features else str(column + 1)
            raise DataError(f"row {row + 1}, column {name} of the features is {features[row, column]}, not a number")

    def _check_labels(self) -> None:
        schema, labels = self.schema, self.labels
        classes = schema.task == "classification"
        shape = (schema.rows,) if classes else (schema.rows, len(schema.targets))
        dtype = "int64" if classes else "float32"
        if labels.dtype.name != dtype or labels.shape != shape:
            raise DataError(f"the labels are {labels.dtype} of shape {labels.shape}; they must be {dtype} of {shape}")
        if classes and (int(labels.min()) < 0 or int(labels.max()) >= len(schema.classes)):
            raise DataError(f"a label lies outside the {len(schema.classes)} classes of the schema")
        if not classes and not np.isfinite(labels).all():
            raise DataError(f"the label of row {int(np.argwhere(~np.isfinite(labels))[0][0]) + 1} is not finite")
