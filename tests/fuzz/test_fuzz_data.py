"""Damaged and forged files of data are read or refused in a sentence that names them, and not believed."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import assembly, datasets, prediction
from service.datasets.roles import Roles
from service.datasets.sources import Asked, read
from service.errors import DataError, InputError
from service.spec import load, parse
from service.weights import Weights
from tests.fuzz import mutations
from tests.fuzz.limits import little_memory
from tests.yard import ROOT

FLATS = ROOT / "examples" / "flats.csv"
FRAME = pl.read_csv(FLATS).head(40)


def written(write):
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def npz(**arrays):
    return written(lambda stream: np.savez(stream, **arrays))


def idx(array, kind=0x08):
    return bytes([0, 0, kind, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape) + array.tobytes()


IMAGES, LABELS = np.arange(96, dtype=np.uint8).reshape(6, 4, 4), np.arange(6, dtype=np.uint8) % 2
TABLE = "".join(FLATS.read_text().splitlines(keepends=True)[:30]).encode()
PARQUET = written(FRAME.write_parquet)
NPZ = npz(features=IMAGES, labels=LABELS)
PACKED = written(lambda stream: np.savez_compressed(stream, x=np.eye(6), y=np.array(list("ababab"))))


def judge(file, *asked):
    for one in asked:
        try:
            dataset = read(file, one)
        except DataError as error:
            mutations.require_told(error)
        else:
            assert len(dataset) > 0


ASKED = [Asked(["rent"], gaps=True), Asked(["rent"], ["rooms", "size"], one_hot=["rooms"], roles=Roles("floor"))]
COLUMNS = ",".join(FRAME.columns)


@mutations.law(50)
@given(
    data=mutations.damaged(TABLE)
    | st.binary(max_size=100)
    | st.text(max_size=80).map(lambda t: (COLUMNS + "\n" + t).encode("utf-8", "replace"))
)
@pytest.mark.parametrize("name", ["table.csv", "table.tsv"])
def test_a_damaged_table_of_text_is_read_or_refused(tmp_path, name, data):
    file = tmp_path / name
    file.write_bytes(data)
    target = data.split(b"\n")[0].decode(errors="replace").split("," if name.endswith("csv") else "\t")[-1].strip()
    judge(file, *ASKED, Asked(), Asked([target], gaps=True))


@mutations.law(8)  # each starts a process
@given(data=mutations.damaged(PARQUET) | st.binary(max_size=100))
def test_a_damaged_parquet_file_is_read_or_refused(tmp_path, data, capfd):
    file = tmp_path / "table.parquet"
    file.write_bytes(data)
    judge(file, *ASKED)
    assert "panicked" not in capfd.readouterr().err


@mutations.law(100)
@given(data=st.sampled_from([NPZ, PACKED]).flatmap(mutations.damaged) | st.binary(max_size=100))
def test_a_damaged_npz_file_is_read_or_refused(tmp_path, data):
    file = tmp_path / "arrays.npz"
    file.write_bytes(data)
    judge(file, Asked())


@mutations.law(100)
@given(
    images=st.just(idx(IMAGES)) | mutations.damaged(idx(IMAGES)),
    labels=mutations.damaged(idx(LABELS)),
    packed=st.booleans(),
)
def test_damaged_idx_files_are_read_or_refused(tmp_path, images, labels, packed):
    file = tmp_path / "train-images-idx3-ubyte"
    file.write_bytes(gzip.compress(images) if packed else images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    judge(file, Asked())


@mutations.law(50)
@given(data=mutations.damaged(gzip.compress(idx(IMAGES))))
def test_a_damaged_gzip_of_idx_is_read_or_refused(tmp_path, data):
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(data)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    judge(file, Asked())


def header(shape, dtype="<f4"):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def bomb(name, shape, *, chunks):
    """An .npz whose array really has so many 16 MiB of zeros, and needs some kilobytes for it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            member.write(header(shape))
            for _ in range(chunks):
                member.write(b"\0" * 2**24)
        archive.writestr("labels.npy", written(lambda labels: np.save(labels, LABELS)))
    return stream.getvalue()


def lying(shape, dtype="<f4"):
    """An .npz whose array says that it is far larger than it is."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("features.npy", header(shape, dtype) + b"\0" * 64)
        archive.writestr("labels.npy", written(lambda labels: np.save(labels, LABELS)))
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        lying((6, 2**30)),
        lying((2**62, 2**62)),
        lying((6, -4)),
        lying((6, 4), "<U2000000000"),
        lying((6, 4), "O"),
        lying((6, 4), [("a", "<f4"), ("b", "O")]),
        lying("(" * 90),
        npz(features=np.zeros((6, 4)), labels=np.array([{"a": 1}] * 6, dtype=object)),
    ],
    ids=["large", "absurd", "negative", "texts", "objects", "records", "nested", "pickle"],
)
def test_the_header_of_an_array_is_not_believed(tmp_path, data):
    file = tmp_path / "arrays.npz"
    file.write_bytes(data)
    with little_memory(), pytest.raises(DataError, match=r"arrays\.npz: "):
        read(file, Asked())


def test_an_archive_that_unpacks_to_more_than_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr("service.datasets.arrays.memory_here", lambda: 2**26)
    file = tmp_path / "arrays.npz"
    file.write_bytes(bomb("features", (6, 2**24), chunks=24))
    assert file.stat().st_size < 2**22
    with little_memory(2**27), pytest.raises(DataError, match=r"arrays\.npz: .* memory"):
        read(file, Asked())


class Executed:
    def __reduce__(self):
        return Path.touch, (Path("HACKED"),)


def test_a_pickle_in_an_archive_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickled = np.array([Executed()] * 6, dtype=object)
    for data in (npz(features=pickled, labels=LABELS), pickle.dumps(Executed())):
        Path("arrays.npz").write_bytes(data)
        with pytest.raises(DataError, match=r"not an \.npz file of plain arrays"):
            read(Path("arrays.npz"), Asked())
    assert not Path("HACKED").exists()


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("shape", [(2**32 - 1,) * 3, (1, 2**20, 2**14), (2**32 - 1,), (0, 4, 4)])
def test_the_header_of_an_idx_file_is_not_believed(tmp_path, monkeypatch, shape, packed):
    monkeypatch.setattr("service.datasets.arrays.memory_here", lambda: 2**26)
    data = bytes([0, 0, 8, len(shape)]) + b"".join(side.to_bytes(4, "big") for side in shape) + b"\0" * 2**20
    (tmp_path / "train-images-idx3-ubyte").write_bytes(gzip.compress(data) if packed else data)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS))
    with little_memory(), pytest.raises(DataError):
        read(tmp_path / "train-images-idx3-ubyte", Asked())


def test_a_parquet_file_over_which_polars_aborts_is_refused(tmp_path, monkeypatch):
    """Rust ends the process where it cannot go on; whoever predicts in a notebook keeps theirs."""
    (tmp_path / "polars.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    file = tmp_path / "table.parquet"
    file.write_bytes(PARQUET)
    with pytest.raises(DataError, match=r"table\.parquet: this is not a Parquet file"):
        read(file, Asked(["rent"]))


# New rows


@pytest.fixture(scope="module")
def flats() -> Weights:
    """An untrained network for the example's table."""
    return untrained(load(ROOT / "examples" / "flats.yaml"))


@pytest.fixture(scope="module")
def digits() -> Weights:
    return untrained(parse("version: 1\ndata: {source: digits}\nnetwork: [dense: {units: 4, activation: relu}]"))


def untrained(spec):
    import nn
    from service.weights import pack, unpack

    made = assembly.assemble(spec, datasets.load(spec))
    state = nn.State.start(made.plan)
    return unpack(pack(state.parameters, made.scaler, made.spec, made.outline.schema))


NEW = written(FRAME.drop("rent").write_csv)
NEW_PARQUET = written(FRAME.drop("rent").write_parquet)


@mutations.law(40)
@given(
    data=mutations.damaged(NEW)
    | mutations.damaged_texts(NEW.decode()).map(lambda text: text.encode("utf-8", "replace"))
)
@pytest.mark.parametrize("name", ["new.csv", "new.tsv", "new.txt"])
def test_damaged_new_rows_are_predicted_or_refused(tmp_path, flats, name, data):
    predicted(flats, tmp_path / name, data)


@mutations.law(4)
@given(data=mutations.damaged(NEW_PARQUET))
def test_damaged_new_rows_of_parquet_are_predicted_or_refused(tmp_path, flats, data):
    predicted(flats, tmp_path / "new.parquet", data)


@mutations.law(40)
@given(data=mutations.damaged(npz(features=np.zeros((3, 8, 8), np.uint8))))
def test_damaged_new_images_are_predicted_or_refused(tmp_path, digits, data):
    predicted(digits, tmp_path / "new.npz", data)


def predicted(weights, file, data):
    file.write_bytes(data)
    try:
        assert len(prediction.predict(weights, file)) > 0
    except InputError as error:
        mutations.require_told(error)
