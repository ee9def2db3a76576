"""Weights, checkpoints and stored datasets: damaged or forged, they are refused in words, and no header is believed."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nn
from service import assembly, datasets
from service.datasets import Dataset, built_in, tensors
from service.errors import DataError
from service.spec import parse
from service.weights import pack, unpack
from tests.fuzz import mutations
from tests.fuzz.limits import little_memory

SPEC = """
version: 1
data: {source: iris, split: {validation: 0.2}}
network: [{dense: {units: 3, activation: relu}}, batch_norm, {dropout: 0.5}]
optimizer: {adam: 0.01}
train: {epochs: 3, average: 0.9}
"""


@cache
def trained():
    spec = parse(SPEC)
    made = assembly.assemble(spec, datasets.load(spec))
    state = nn.State.start(made.plan)
    epochs = nn.train(made.plan, state, made.train, made.validation)
    next(epochs)
    return made, state


@cache
def weights_file() -> bytes:
    made, state = trained()
    return pack(state.parameters, made.scaler, made.spec, made.outline.schema)


@cache
def checkpoint_file() -> bytes:
    return tensors.pack(*trained()[1].snapshot())


@cache
def dataset_file() -> bytes:
    return built_in("iris").to_bytes()


READERS = {
    "weights": (weights_file, unpack),
    "checkpoint": (
        checkpoint_file,
        lambda data: nn.State.restore(trained()[0].plan, *tensors.unpack(data, "the checkpoint")),
    ),
    "dataset": (dataset_file, Dataset.from_bytes),
}
every_file = pytest.mark.parametrize("kind", READERS)


def judge(kind, data):
    """The workers take DataError and ValueError for damage; anything else would be told as a fault of the program."""
    try:
        return READERS[kind][1](data)
    except (DataError, ValueError) as error:
        if isinstance(error, DataError):
            mutations.require_told(error)
    return None


def taken_apart(data):
    """The header, with the document in it as values, and the bytes of the arrays."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return header, json.loads(header["__metadata__"]["trainyard"]), data[8 + size :]


def put_together(header, document, body):
    if isinstance(header, dict) and isinstance(header.get("__metadata__"), dict):
        header["__metadata__"]["trainyard"] = json.dumps(document)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


@every_file
def test_what_is_whole_is_read(kind):
    assert judge(kind, READERS[kind][0]()) is not None


@mutations.law(40)
@given(data=st.data())
@every_file
def test_a_file_with_damaged_bytes_is_read_or_refused(kind, data):
    whole = READERS[kind][0]()
    header = int.from_bytes(whole[:8], "little") + 8
    damaged = mutations.damaged(whole) | mutations.damaged(whole[:header]).map(lambda head: head + whole[header:])
    judge(kind, data.draw(damaged))


@mutations.law(40)
@given(data=st.binary(max_size=64) | st.integers(0, 2**64 - 1).map(lambda size: size.to_bytes(8, "little") + b"{}"))
@every_file
def test_any_bytes_are_refused(kind, data):
    assert judge(kind, data) is None


@mutations.law(40)
@given(data=st.data())
@every_file
def test_a_file_with_a_damaged_document_is_read_or_refused(kind, data):
    header, document, body = taken_apart(READERS[kind][0]())
    judge(kind, put_together(header, data.draw(mutations.damaged_documents(document)), body))


@mutations.law(40)
@given(data=st.data())
@every_file
def test_a_file_with_a_damaged_header_is_read_or_refused(kind, data):
    header, document, body = taken_apart(READERS[kind][0]())
    judge(kind, put_together(data.draw(mutations.damaged_documents(header)), document, body))


DTYPES = [
    "F64",
    "F32",
    "F16",
    "BF16",
    "F8_E4M3",
    "F8_E5M2",
    "F4",
    "I64",
    "I8",
    "U8",
    "U64",
    "BOOL",
    "C64",
    "x",
    "",
    None,
]


@mutations.law(40)
@given(data=st.data())
@every_file
def test_a_file_with_forged_shapes_is_read_or_refused(kind, data):
    header, document, body = taken_apart(READERS[kind][0]())
    name = data.draw(st.sampled_from(sorted(set(header) - {"__metadata__"})))
    side = st.sampled_from([0, 1, 2, 2**31, 2**62, 2**63, 2**64 - 1, -1])
    forged = {
        "dtype": st.sampled_from(DTYPES),
        "shape": st.lists(side, max_size=3) | st.lists(st.just(1), min_size=65, max_size=70),
        "data_offsets": st.lists(side, max_size=3),
    }
    key = data.draw(st.sampled_from(sorted(forged)))
    with little_memory():
        judge(kind, put_together(header | {name: header[name] | {key: data.draw(forged[key])}}, document, body))


def huge(units):
    """The weights of a network that its metadata says is far larger than its arrays."""
    header, document, body = taken_apart(weights_file())
    document["spec"]["network"][0]["dense"]["units"] = units
    return put_together(header, document, body)


@pytest.mark.parametrize("units", [2**20, 2**28, 2**40, 10**18])
def test_the_network_that_a_file_of_weights_describes_is_not_made_before_its_arrays_fit(units):
    with little_memory(), pytest.raises(DataError):
        unpack(huge(units))


def test_the_rows_that_a_stored_dataset_claims_are_not_made():
    header, document, body = taken_apart(dataset_file())
    with little_memory(), pytest.raises(DataError):
        Dataset.from_bytes(put_together(header, document | {"rows": 10**15, "width": 10**12}, body))


def test_arrays_that_overlap_are_refused():
    header, document, body = taken_apart(dataset_file())
    forged = header | {"labels": header["labels"] | {"data_offsets": header["features"]["data_offsets"]}}
    with pytest.raises(DataError, match="damaged"):
        Dataset.from_bytes(put_together(forged, document, body))


def test_a_document_nested_without_end_is_refused():
    header, _, body = taken_apart(weights_file())
    header["__metadata__"]["trainyard"] = "[" * 100_000
    text = json.dumps(header).encode()
    with pytest.raises(DataError, match="damaged"):
        unpack(len(text).to_bytes(8, "little") + text + body)


def test_parameters_that_are_not_finite_are_refused():
    header, document, body = taken_apart(weights_file())
    for value in (np.nan, np.inf):
        arrays = {name: array.copy() for name, array in tensors.unpack(weights_file(), "it")[0].items()}
        arrays["1.dense.weight"][0, 0] = value
        with pytest.raises(DataError, match=r"1\.dense\.weight"):
            unpack(tensors.pack(arrays, document))
    assert header
    assert body
