"""A trained network as one safetensors file that needs nothing else: parameters, scaler, spec and schema.

Parameters stand under their names (`1.dense.weight`), the preparation's arrays (shift, scale, what fills gaps) under
`scaler.*`, and the metadata holds the resolved spec and the dataset's schema as JSON. Any safetensors reader opens it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from nn import Array, FlatBuffer, Network, Preparation, ShapeError
from service.assembly.inputs import preparation as prepare
from service.assembly.layers import input_shape
from service.datasets import Schema, tensors
from service.errors import DataError
from service.spec import Spec, SpecError

_SCALER = "scaler."
_WHAT = "the weights file"


@dataclass(frozen=True)
class Weights:
    """A network with its parameters and all that turns a row of a table into its input."""

    spec: Spec
    schema: Schema
    network: Network
    parameters: FlatBuffer
    scaler: Mapping[str, Array]
    preparation: Preparation


def pack(parameters: FlatBuffer, scaler: Mapping[str, Array], spec: Spec, schema: Schema) -> bytes:
    """The file. `spec` is the resolved one of an Assembly. The same bytes for the same arguments."""
    arrays = {**parameters.views, **{f"{_SCALER}{name}": array for name, array in scaler.items()}}
    return tensors.pack(arrays, {"spec": spec.document(), "schema": schema.document()})


def unpack(data: bytes) -> Weights:
    """What `pack` wrote. Raises DataError on names, shapes, types or values that the spec in it does not explain."""
    arrays, document = tensors.unpack(data, _WHAT)
    spec, schema, preparation, network = _described(document, arrays.get(f"{_SCALER}indicated"))
    dtype, shapes = _parameter_type(arrays), network.parameter_shapes
    scaler = {name.removeprefix(_SCALER): array for name, array in arrays.items() if name.startswith(_SCALER)}
    if set(arrays) != set(shapes) | {f"{_SCALER}{name}" for name in scaler}:
        raise DataError(f"{_WHAT} is damaged: its arrays are not those of the network in it")
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise DataError(f"{_WHAT} is damaged: the array {name} does not fit the network in it")
    parameters = FlatBuffer(shapes, dtype)  # no sooner: the network may claim any size
    for name, view in parameters.views.items():
        view[...] = arrays[name]
    _check_scaler(scaler, preparation)
    return Weights(spec, schema, network, parameters, scaler, preparation)


def sha256(parameters: FlatBuffer) -> str:
    """The hash of the parameters alone, little-endian in the order of the layers: equal networks, equal hashes."""
    flat = np.ascontiguousarray(parameters.flat, parameters.flat.dtype.newbyteorder("<"))
    return hashlib.sha256(flat.data).hexdigest()


def _described(document: Any, indicated: Array | None) -> tuple[Spec, Schema, Preparation, Network]:
    if not isinstance(document, dict) or set(document) != {"spec", "schema"}:
        raise DataError(f"{_WHAT} is damaged: its metadata must hold a spec and a schema")
    try:
        spec = Spec.from_document(document["spec"], _WHAT)
        schema = Schema.from_document(document["schema"])
        preparation = prepare(spec, schema, _columns(indicated, schema))
        network = Network([choice.build() for choice in spec.network], input_shape(spec, schema, preparation))
        units = _units(spec, schema)
    except (SpecError, ShapeError, ValueError) as error:
        raise DataError(f"{_WHAT} is damaged or of another version: {error}") from None
    if network.output_shape != (units,):
        raise DataError(f"{_WHAT} is damaged: its network does not fit the labels of its schema")
    return spec, schema, preparation, network


def _units(spec: Spec, schema: Schema) -> int:
    """How many outputs the loss needs for the labels; a stored spec always names its loss."""
    if spec.loss is None:
        raise ValueError("its spec names no loss")
    units: int = spec.loss.build().units(len(schema.classes), len(schema.targets))
    return units


def _columns(indicated: Array | None, schema: Schema) -> tuple[int, ...]:
    """The columns whose gaps are told. Not believed: in order, each once, of those there are."""
    if indicated is None:
        return ()
    columns = [] if indicated.dtype != np.int64 or indicated.ndim != 1 else indicated.tolist()
    if not columns or columns != sorted(set(columns)) or columns[0] < 0 or columns[-1] >= schema.width:
        raise DataError(f"{_WHAT} is damaged: its scaler does not fit")
    return tuple(columns)


def _parameter_type(arrays: Mapping[str, Array]) -> Any:
    types = {array.dtype.name for name, array in arrays.items() if not name.startswith(_SCALER)}
    if len(types) > 1 or not types <= {"float32", "float64"}:
        raise DataError(f"{_WHAT} is damaged: its parameters are of the types {', '.join(sorted(types))}")
    return types.pop() if types else "float32"


def _check_scaler(scaler: Mapping[str, Array], preparation: Preparation) -> None:
    right = {name: array.shape for name, array in scaler.items()} == preparation.shapes and all(
        array.dtype == (np.int64 if name == "indicated" else np.float32) and np.isfinite(array).all()
        for name, array in scaler.items()
    )
    right = right and ("scale" not in scaler or bool((scaler["scale"] > 0).all()))
    if not right or not _known_categories(scaler.get("fill"), preparation.categories):
        raise DataError(f"{_WHAT} is damaged: its scaler does not fit")


def _known_categories(fill: Array | None, categories: tuple[int, ...]) -> bool:
    """Whether the gaps of columns of categories are filled with one of them."""
    return fill is None or all(fill[column] in range(size) for column, size in enumerate(categories) if size)
