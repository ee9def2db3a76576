"""Named arrays and a JSON document as safetensors, the same bytes for the same content.

Written here rather than by the library so that a hash over the bytes depends on the content alone: sorted keys, one
metadata entry, no other freedom. Read by the library, whose checks of offsets, overlaps and sizes are the strict ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from service.errors import DataError

Arrays = Mapping[str, np.ndarray]

_NAMES = {"float32": "F32", "float64": "F64", "int64": "I64", "uint8": "U8"}
_ENTRY = "trainyard"


def chunks(arrays: Arrays, document: Mapping[str, Any]) -> Iterator[bytes | memoryview]:
    """The file's bytes in order: the header, then each array, little-endian and row by row."""
    entries: dict[str, Any] = {"__metadata__": {_ENTRY: canonical(document)}}
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # widest first, as the format asks
    start = 0
    for name in order:
        array = arrays[name]
        stop = start + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype.name], "shape": array.shape, "data_offsets": (start, stop)}
        start = stop
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    yield len(header).to_bytes(8, "little") + header
    for name in order:
        array = np.ascontiguousarray(arrays[name], arrays[name].dtype.newbyteorder("<"))
        yield array.reshape(-1).view(np.uint8).data


def pack(arrays: Arrays, document: Mapping[str, Any]) -> bytes:
    return b"".join(chunks(arrays, document))


def unpack(data: bytes, what: str) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays, not writable, and the document. Raises DataError, naming `what`, if any byte is out of order."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        size = int.from_bytes(data[:8], "little")
        document = json.loads(json.loads(data[8 : 8 + size])["__metadata__"][_ENTRY])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError, AttributeError) as error:
        raise DataError(f"{what} is damaged or was not written by Trainyard") from error
    for array in arrays.values():
        array.setflags(write=False)
    return arrays, document


def canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
