"""Datasets: what is read from where, what is told about bad data, and what a hash stands for."""

import gzip
import json
import struct

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load as load_tensors

from service.datasets import BUILT_IN, Dataset, Schema, built_in, load
from service.errors import DataError, InputError
from service.spec import SpecError, parse

SPEC = "version: 1\ndata: {{source: {source}{more}}}\nnetwork: []\n"


@pytest.fixture
def reading(tmp_path, monkeypatch):
    """Write a file and read it by a spec: reading(text or bytes, name, more of data, more of the spec)."""
    monkeypatch.chdir(tmp_path)

    def read(content, name="t.csv", more=", target: y", rest=""):
        if content is not None:
            (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return load(parse(SPEC.format(source=name, more=more) + rest, "s.yaml"))

    return read


@pytest.fixture
def complaint(reading):
    def read(*arguments, **named):
        with pytest.raises(InputError) as caught:
            reading(*arguments, **named)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return read


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_built_in_datasets_are_those_of_scikit_learn(name):
    from sklearn import datasets

    loader = getattr(datasets, f"load_{name}")
    bunch = loader(scaled=False) if name == "diabetes" else loader()
    made = built_in(name)
    np.testing.assert_array_equal(made.features, bunch.data.astype(np.float32))
    if name == "diabetes":
        np.testing.assert_array_equal(made.labels[:, 0], bunch.target.astype(np.float32))
    else:
        names = np.array([str(item) for item in bunch.target_names])
        assert [made.schema.classes[label] for label in made.labels] == list(names[bunch.target])


def test_a_table_is_read_by_name(reading):
    made = reading("a,y,b\n1,x,4\n 2 ,z,5e1\n3,x,-.5\n4,z,0\n")
    assert made.features.tolist() == [[1, 4], [2, 50], [3, -0.5], [4, 0]]
    assert made.labels.tolist() == [0, 1, 0, 1]
    assert made.schema == Schema("classification", 4, 2, "float32", ("a", "b"), (), ("y",), ("x", "z"))


def test_features_and_their_order_can_be_chosen(reading):
    made = reading("a,y,b,c\n1,x,4,7\n2,z,5,8\n", more=", target: y, features: [c, a]")
    assert made.features.tolist() == [[7, 1], [8, 2]]


def test_a_table_has_the_same_hash_from_csv_and_parquet(reading, tmp_path):
    frame = pl.DataFrame({"a": [0.1, 2.5, 3.0], "b": [1, 2, 3], "c": [True, False, True], "y": [10, 9, 10]})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    one, other = reading(None, "t.csv"), reading(None, "t.parquet")
    assert one.schema.classes == ("9", "10")
    assert one.sha256 == other.sha256
    frame[[1, 0, 2]].write_csv(tmp_path / "t.csv")
    assert reading(None, "t.csv").sha256 != one.sha256


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_line_endings_blank_lines_quotes_and_a_byte_order_mark_do_not_matter(reading, ending):
    plain = reading("a,y\n1,x\n2,z\n")
    text = ending.join(["\ufeffa,y", "1,x", "", '"2","z"', ""])
    assert reading(text).sha256 == plain.sha256


@pytest.mark.parametrize(
    ("column", "rest", "task"),
    [
        ("x z x z", "", "classification"),
        ("1 2 1 2", "", "classification"),
        ("1.5 2 1 2", "", "regression"),
        ("1 2 1 2", "loss: mse", "regression"),
        ("1.0 2.0 1.0 2.0", "loss: cross_entropy", "classification"),
        ("x z x z", "loss: mse", "classification"),
    ],
)
def test_the_loss_or_else_the_labels_decide_the_task(reading, column, rest, task):
    rows = "".join(f"{number},{cell}\n" for number, cell in enumerate(column.split()))
    assert reading("a,y\n" + rows, rest=rest).schema.task == task


def test_a_stated_task_decides_first(reading):
    rows = "a,y\n1,1\n2,2\n3,1\n"
    assert reading(rows, more=", target: y, task: regression").schema.task == "regression"
    assert reading(rows, more=", target: y, task: classification", rest="loss: mse").schema.classes == ("1", "2")


def test_several_targets_are_a_regression(reading):
    made = reading("a,y,z\n1,1,2\n2,3,4\n", more=", target: [z, y]")
    assert made.labels.tolist() == [[2, 1], [4, 3]]
    assert made.schema.targets == ("z", "y")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv: the file is empty"),
        ("\n1,2\n", "t.csv:1: the first line must name the columns, and it is empty"),
        ("a,y\n", "t.csv: no rows; there is nothing below the header"),
        ("a,,y\n1,2,x\n", "t.csv:1: column 2 has no name"),
        ("a,a,y\n1,2,x\n", "t.csv:1: two columns are called 'a'; rename one"),
        ("a;y\n1;x\n", "t.csv:1: the columns are separated by semicolons"),
        ("a,y\n1,x\n2\n", "t.csv:3: 1 cells, but the header names 2 columns"),
        ("a,y\n1,x\n2,z,3\n", "t.csv:3: 3 cells, but the header names 2 columns"),
        ("a,y\n1,x\nabc,z\n3,x\n", "t.csv:3: column 'a': 'abc' is not a number"),
        ('a,y\n"1\n",x\nabc,z\n3,x\n', "t.csv:4: column 'a': 'abc' is not a number"),
        ("a,y\n1,x\n\nabc,z\n3,x\n", "t.csv:4: column 'a': 'abc' is not a number"),
        (
            "a,y\n1,x\n,z\n,x\n",
            "t.csv:3: column 'a' is empty; let data.missing fill it (mean, median or most_frequent), or fill in or drop"
            " lines 3 and 4",
        ),
        ("a,y\n1,x\nnan,z\n", "t.csv:3: column 'a': 'nan' is no number; let data.missing fill it"),
        ("a,y\n1,x\n1e39,z\n", "t.csv:3: column 'a': '1e39' is not a finite number"),
        ("a,y\n1,x\n-inf,z\n", "t.csv:3: column 'a': '-inf' is not a finite number"),
        ("a,y\n1,x\n2,\n", "t.csv:3: column 'y' is empty: a row needs its label"),
        ("a,y\n1,x\n2,x\n", "t.csv: column 'y': every row is of the same class, 'x'; there is nothing to learn"),
        (b"a,y\n1,x\n2,\xe9\n", "t.csv:3: the text is not UTF-8; save the file again as UTF-8"),
    ],
)
def test_bad_data_is_told_with_file_line_and_column(complaint, content, message):
    assert message in complaint(content)


@pytest.mark.parametrize(
    ("content", "more", "rest", "message"),
    [
        ("a,label\n1,x\n", ", target: lable", "", "s.yaml:2:31: data.target: t.csv has no column 'lable'; did you"),
        ("a,label\n1,x\n", ", target: lable", "", "(its columns: a and label)"),
        ("a,y\n1,x\n", "", "", "s.yaml:2:16: data.source: t.csv needs data.target, the column of the labels"),
        ("a,y\n1,x\n2,z\n", ", target: y, features: [b]", "", "s.yaml:2:44: data.features: t.csv has no column 'b'"),
        ("a,y\n1,x\n2,z\n", ", target: y, features: [y]", "", "data.features: 'y' is the target"),
        ("y\n1\n2\n", ", target: y", "", "s.yaml:2:31: data.target: t.csv has no column besides the target"),
        (
            "a,y\n1,0.5\n2,1\n",
            ", target: y",
            "loss: cross_entropy",
            "data.target: t.csv: column 'y' holds fractions (0.5)",
        ),
        ("a,y\n1,x\n2,z\n", ", target: y, task: regression", "", "holds text, and data.task: regression needs numbers"),
        (
            "a,y\n1,1\n2,2\n3,3\n",
            ", target: y",
            "",
            "column 'y' has 3 different values in 3 rows; these are no classes",
        ),
        ("a,y,z\n1,1,1\n", ", target: [y, z]", "loss: cross_entropy", "needs one label column, and several are named"),
        (
            "a,y\n1,1\n",
            ", target: y, task: regression",
            "loss: cross_entropy",
            "data.task: cross_entropy is not a loss",
        ),
    ],
)
def test_a_spec_that_does_not_fit_its_data_is_told_at_its_place(complaint, content, more, rest, message):
    assert message in complaint(content, more=more, rest=rest)


def test_a_missing_file_names_the_nearest_or_those_there_are(complaint, tmp_path):
    (tmp_path / "flowers.csv").write_text("a,y\n")
    assert "s.yaml:2:16: data.source: there is no file 'flower.csv'; did you mean 'flowers.csv'?" in complaint(
        None, "flower.csv"
    )
    assert "(in that folder: flowers.csv)" in complaint(None, "x.parquet")
    assert "no dataset is called 'irsi'; did you mean 'iris'? (known: digits, iris" in complaint(None, "irsi", more="")


def test_an_unknown_kind_of_file_names_the_known(complaint):
    assert "t.xlsx: a .xlsx is no data; known: .csv, .tsv, .parquet, .pq, .npz or idx" in complaint("x", "t.xlsx")


def test_a_damaged_parquet_file_is_told(complaint):
    assert complaint(b"PAR1 no PAR1", "t.parquet") == "t.parquet: this is not a Parquet file, or it is damaged"


def test_parquet_rows_are_counted_and_odd_types_refused(complaint, tmp_path):
    pl.DataFrame({"a": [1.0, None], "y": ["x", "z"]}).write_parquet(tmp_path / "t.parquet")
    assert complaint(None, "t.parquet").startswith("t.parquet: row 2: column 'a' is empty")
    pl.DataFrame({"a": [[1.0], [2.0]], "y": ["x", "z"]}).write_parquet(tmp_path / "t.parquet")
    assert "column 'a' holds list(float64) values; a network needs numbers" in complaint(None, "t.parquet")


def test_registered_datasets_are_found_and_suggested():
    spec = parse(SPEC.format(source="mine", more=", target: species"))
    assert load(spec, {"mine": built_in("iris")}.get).schema.targets == ("species",)
    with pytest.raises(SpecError, match=r"no dataset is called 'min'; did you mean 'mine'\?"):
        load(parse(SPEC.format(source="min", more="")), lambda name: None, ["mine"])


def test_a_built_in_dataset_can_be_narrowed_but_not_renamed():
    spec = parse(SPEC.format(source="iris", more=", features: [petal_width, petal_length]"))
    assert load(spec).features[0].tolist() == pytest.approx([0.2, 1.4])
    with pytest.raises(SpecError, match="the target of iris is species; leave 'target' out"):
        load(parse(SPEC.format(source="iris", more=", target: kind")))
    with pytest.raises(SpecError, match=r"features: iris has no column 'petal'"):
        load(parse(SPEC.format(source="iris", more=", features: petal")))


def test_npz_arrays_are_read(reading, complaint, tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)
    np.savez(tmp_path / "t.npz", x=images, y=np.array([1, 0, 1, 0]))
    made = reading(None, "t.npz", more="")
    assert made.schema.image_shape == (3, 2)
    assert made.features.tolist() == images.reshape(4, 6).tolist()
    np.savez(tmp_path / "t.npz", x=images, y=np.array([1.5, 0, 1, 0]))
    assert reading(None, "t.npz", more="").schema.task == "regression"
    np.savez(tmp_path / "t.npz", x=images)
    assert complaint(None, "t.npz", more="") == "t.npz: needs an array called labels or y; its arrays: x"
    np.savez(tmp_path / "t.npz", x=images, y=np.arange(3))
    assert complaint(None, "t.npz", more="") == "t.npz: 4 rows of features, but 3 labels"


def test_npz_files_are_never_unpickled(complaint, tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([{}], object), y=np.arange(1))
    assert "not an .npz file of plain arrays" in complaint(None, "t.npz", more="")


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("source", ["train-images-idx3-ubyte", "."])
def test_idx_images_find_their_labels(reading, tmp_path, packed, source):
    images = np.arange(16, dtype=np.uint8).reshape(4, 2, 2)
    pack, suffix = (gzip.compress, ".gz") if packed else (bytes, "")
    (tmp_path / f"train-images-idx3-ubyte{suffix}").write_bytes(pack(idx(images)))
    (tmp_path / f"train-labels-idx1-ubyte{suffix}").write_bytes(pack(idx(np.array([5, 0, 5, 0], np.uint8))))
    made = reading(None, source if source == "." else source + suffix, more="")
    assert made.schema == Schema("classification", 4, 4, "uint8", (), (2, 2), ("label",), ("0", "5"))
    assert made.features.dtype == np.uint8


def test_idx_files_without_labels_or_with_half_of_their_bytes_are_told(complaint, tmp_path):
    name = "train-images-idx3-ubyte"
    assert "its labels are missing; expected train-labels-idx1-ubyte beside it" in complaint(b"x", name, more="")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(4, np.uint8)))
    assert "not an idx file" in complaint(b"some text", name, more="")
    assert "was cut off" in complaint(idx(np.zeros((4, 2, 2), np.uint8))[:-1], name, more="")


def test_a_dataset_cannot_be_changed():
    made = built_in("iris")
    with pytest.raises(ValueError, match="read-only"):
        made.features[0] = 0


def test_a_dataset_survives_its_bytes_which_any_safetensors_reader_opens():
    made = built_in("iris")
    data = made.to_bytes()
    again = Dataset.from_bytes(data, made.sha256)
    assert again.schema == made.schema
    assert again.sha256 == made.sha256
    np.testing.assert_array_equal(load_tensors(data)["features"], made.features)


def header(data):
    size = int.from_bytes(data[:8], "little")
    return size, json.loads(data[8 : 8 + size])


def with_schema(data, change):
    """The file with another schema in its header."""
    size, entries = header(data)
    schema = {**json.loads(entries["__metadata__"]["trainyard"]), **change}
    entries["__metadata__"]["trainyard"] = json.dumps(schema)
    head = json.dumps(entries).encode()
    return len(head).to_bytes(8, "little") + head + data[8 + size :]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 149},
        {"width": 5},
        {"dtype": "uint8"},
        {"task": "regression"},
        {"classes": ["a", "b"]},
        {"classes": ["a", "a", "b"]},
        {"classes": "abc"},
        {"classes": [1, 2, 3]},
        {"features": ["a"]},
        {"image_shape": [3, 3]},
        {"image_shape": ["x"]},
        {"image_shape": [[]]},
        {"targets": []},
        {"rows": "150"},
        {"other": 1},
        {"task": [1]},
        {"dtype": {}},
    ],
)
def test_a_schema_that_does_not_fit_is_refused(change):
    with pytest.raises(DataError):
        Dataset.from_bytes(with_schema(built_in("iris").to_bytes(), change))


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:100], lambda d: b"", lambda d: b"\xff" * 20, lambda d: d + b"x"]
)
def test_damaged_bytes_are_refused(damage):
    with pytest.raises(DataError, match="damaged"):
        Dataset.from_bytes(damage(built_in("iris").to_bytes()))


def test_another_content_than_its_hash_says_is_refused():
    data = bytearray(built_in("iris").to_bytes())
    data[-1] ^= 1
    with pytest.raises(DataError, match="has another hash"):
        Dataset.from_bytes(bytes(data), built_in("iris").sha256)


def test_numbers_that_are_not_finite_are_refused_in_stored_bytes():
    schema = Schema("regression", 2, 1, "float32", ("a",), (), ("y",))
    with pytest.raises(DataError, match="row 2, column 'a' of the features is nan"):
        Dataset(np.array([[1], [np.nan]], np.float32), np.zeros((2, 1), np.float32), schema)
