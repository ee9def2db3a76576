"""Bare arrays: NumPy's .npz, and the idx files in which MNIST and its relatives come."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from service.datasets import roles as roles_of
from service.datasets.columns import Kind
from service.datasets.dataset import Dataset, Schema
from service.datasets.labels import NOT_BINARY, Labels, Wanted, classes_of
from service.datasets.roles import Roles
from service.datasets.tables import WrongKey, content
from service.display import memory_here
from service.errors import DataError
from service.wording import listed

_FEATURES, _LABELS = ("features", "x", "X"), ("labels", "y", "Y")
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DAMAGE = (  # all that zipfile and NumPy raise on bytes that are not theirs
    ValueError, OSError, EOFError, LookupError, TypeError, AttributeError, RuntimeError, NotImplementedError,
    MemoryError, OverflowError, SyntaxError, struct.error, zipfile.BadZipFile, zlib.error, lzma.LZMAError,
)  # fmt: skip
_MOST_AXES = 8
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_npz(file: Path, wanted: Wanted, roles: Roles, gaps: bool = False) -> Dataset:
    """Arrays `features` (or x) and `labels` (or y), and those that `roles` name; NaN is a gap if `gaps` are allowed.

    More than two axes of features are an image, row by row.
    """
    arrays = _npz(file)
    features, labels = _named(arrays, _FEATURES, file.name), _named(arrays, _LABELS, file.name)
    extras = roles_of.from_arrays(arrays, roles, len(np.atleast_1d(labels)), file.name)
    return from_arrays(features, labels, file.name, wanted, gaps, extras)


def read_features(file: Path, width: int, gaps: bool = False, image_shape: tuple[int, ...] = ()) -> np.ndarray:
    """The features alone, (n, width). Raises DataError if a row has another number of them."""
    features = _named(_npz(file), _FEATURES, file.name)
    if features.ndim < 2 or features.dtype.kind not in "buif" or math.prod(features.shape[1:]) != width:
        what = f"images of {' × '.join(map(str, image_shape))}" if image_shape else f"rows of {width} numbers"
        raise DataError(f"{file.name}: the network takes {what}, got an array of shape {features.shape}")
    if not (np.isfinite(features) | (np.isnan(features) if gaps else False)).all():
        raise DataError(f"{file.name}: the features hold a number that is not finite")
    return features.reshape(len(features), width)


def _npz(file: Path) -> dict[str, np.ndarray]:
    """Every array of the file. Raises DataError before unpacking more than fits into memory."""
    data = content(file)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _require_memory(sum(member.file_size for member in archive.infolist()), file.name)
            return {name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()}
    except _DAMAGE:
        raise DataError(f"{file.name}: this is not an .npz file of plain arrays, or it is damaged") from None


def _array(data: bytes) -> np.ndarray:
    """The array in an .npy file. Raises ValueError if its header does not fit what follows it: NumPy would make room
    for whatever the header says."""
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise ValueError(version)
    shape, _, dtype = _HEADERS[version](stream)
    if (
        dtype.hasobject
        or any(side < 0 for side in shape)
        or math.prod(shape) * dtype.itemsize != len(data) - stream.tell()
    ):
        raise ValueError(shape)
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


def _require_memory(size: int, name: str) -> None:
    if size > memory_here():
        raise DataError(f"{name}: it unpacks to {size:,} bytes, more than the memory of this machine")


def _named(arrays: Mapping[str, np.ndarray], names: tuple[str, ...], file: str) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    have = listed(arrays) or "none"
    raise DataError(f"{file}: needs an array called {names[0]} or {names[1]}; its arrays: {have}")


def from_arrays(
    features: np.ndarray,
    labels: np.ndarray,
    name: str,
    wanted: Wanted,
    gaps: bool = False,
    extras: Mapping[str, np.ndarray] | None = None,
) -> Dataset:
    """A dataset of features (n, …) and labels (n,) or (n, targets). Raises DataError if they do not fit."""
    if features.ndim < 2 or 0 in features.shape or features.dtype.kind not in "buif":
        raise DataError(f"{name}: features must be numbers of shape (rows, …), got {features.dtype} {features.shape}")
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "buifU":
        raise DataError(f"{name}: labels must be one for each row, got {labels.dtype} of shape {labels.shape}")
    if len(features) != len(labels):
        raise DataError(f"{name}: {len(features)} rows of features, but {len(labels)} labels")
    rows, image = len(features), features.shape[1:] if features.ndim > 2 else ()
    flat = features.reshape(rows, -1)
    if flat.dtype != np.uint8:
        with np.errstate(over="ignore"):
            flat = flat.astype(np.float32)
    values, classes, task = _labels(labels, name, wanted)
    schema = Schema(
        task=task,
        rows=rows,
        width=flat.shape[1],
        dtype="uint8" if flat.dtype == np.uint8 else "float32",
        image_shape=image,
        targets=("label",) if values.ndim == 1 or values.shape[1] == 1 else _numbered(values.shape[1]),
        classes=classes,
        missing=gaps and bool(np.isnan(flat).any()),
    )
    return Dataset(np.ascontiguousarray(flat), values, schema, **(extras or {}))


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(f"label_{number}" for number in range(1, count + 1))


def _labels(labels: np.ndarray, name: str, wanted: Wanted) -> Labels:
    kind = labels.dtype.kind
    several = labels.ndim == 2 and labels.shape[1] > 1
    place = f"{name}: labels"
    binary = kind != "U" and bool(np.isin(labels, (0, 1)).all())
    word: Kind = "text" if kind == "U" else "fraction" if kind == "f" else "whole"
    task = wanted.decide(word, several, place, binary)
    if task == "classification":
        if kind == "f" and (labels != np.round(labels)).any():
            raise WrongKey("source", f"{place} are fractions, which are no classes; for numbers use the loss mse")
        whole = labels.reshape(-1) if kind == "U" else labels.reshape(-1).astype(np.int64)
        return Labels(*classes_of(whole.astype(str), place), task)
    if task == "multilabel" and not binary:
        raise WrongKey("task" if wanted.task else "source", f"{place}: the array {NOT_BINARY}")
    return Labels(labels.astype(np.float32).reshape(len(labels), -1), (), task)


def read_idx(images: Path, wanted: Wanted, roles: Roles) -> Dataset:
    """Images with the labels found beside them by MNIST's naming; a folder stands for its training images."""
    roles.refuse(images.name, "it holds images and labels alone")
    images, labels = idx_files(images)
    pixels, numbers = _idx(images), _idx(labels)
    if numbers.ndim != 1 or pixels.ndim < 2:
        raise DataError(f"{images.name}: expected images and one label each, got {pixels.shape} and {numbers.shape}")
    if wanted.loss is None or "classification" in wanted.tasks:
        wanted = Wanted(wanted.task or "classification", wanted.loss, wanted.tasks)
    return from_arrays(pixels, numbers, images.name, wanted)


def is_idx(file: Path) -> bool:
    """Whether a path is an idx file, or a folder of them, by name."""
    if file.is_dir():
        return any("ubyte" in entry.name for entry in file.iterdir())
    return "idx3-ubyte" in file.name or "idx1-ubyte" in file.name


def idx_files(images: Path) -> list[Path]:
    """The files that `read_idx` reads: the images, then the labels."""
    if images.is_dir():
        images = _images_in(images)
    return [images, _labels_beside(images)]


def _images_in(folder: Path) -> Path:
    found = sorted(entry for entry in folder.iterdir() if "idx3-ubyte" in entry.name)
    training = [entry for entry in found if "train" in entry.name] or found
    if not training:
        raise DataError(f"{folder.name}: no images in this folder; expected train-images-idx3-ubyte.gz")
    return training[0]


def _labels_beside(images: Path) -> Path:
    if "idx3" not in images.name:
        raise WrongKey("source", f"{images.name} holds labels; name the file of the images (…-images-idx3-ubyte)")
    name = images.name.replace("images", "labels").replace("idx3", "idx1")
    packed = name.removesuffix(".gz")
    for candidate in (name, packed, f"{packed}.gz"):
        if (beside := images.with_name(candidate)).is_file():
            return beside
    raise DataError(f"{images.name}: its labels are missing; expected {name} beside it")


def _idx(file: Path) -> np.ndarray:
    """The array in an idx file. Raises DataError if the header and the size disagree."""
    data = content(file)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) if data[:2] == b"\x1f\x8b" else io.BytesIO(data) as stream:
            zeros, kind, axes = stream.read(2), *stream.read(2)
            dtype = np.dtype(_IDX_TYPES[kind])
            shape = tuple(int.from_bytes(stream.read(4), "big") for _ in range(axes))
            size = math.prod(shape) * dtype.itemsize
            if zeros == b"\0\0":
                _require_memory(size, file.name)
            body = stream.read(size + 1) if zeros == b"\0\0" else b""
    except (KeyError, ValueError, OSError, EOFError, zlib.error, TypeError):
        raise DataError(f"{file.name}: this is not an idx file, or it is damaged") from None
    if zeros != b"\0\0" or len(body) != size or not 0 < axes <= _MOST_AXES or not size:
        shown = " × ".join(map(str, shape[:_MOST_AXES]))
        raise DataError(f"{file.name}: this is not an idx file, or it was cut off: its header says {shown}")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))
