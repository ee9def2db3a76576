"""Columns with a meaning of their own: words, gaps, weights, groups, parts, several labels."""

import hashlib

import numpy as np
import polars as pl
import pytest

from nn import MeanSquaredError
from service.datasets import BUILT_IN, Dataset, Schema, built_in, load
from service.errors import DataError, InputError
from service.spec import SpecError, parse


@pytest.fixture
def reading(tmp_path, monkeypatch):
    """Write a file and read it by a spec: reading(text, more of data, name, more of the spec)."""
    monkeypatch.chdir(tmp_path)

    def read(content, more="", name="t.csv", rest=""):
        if content is not None:
            (tmp_path / name).write_text(content)
        target = "" if name.endswith(".npz") or "target:" in more else ", target: y"
        return load(parse(f"version: 1\ndata: {{source: {name}{target}{more}}}\nnetwork: []\n{rest}", "s.yaml"))

    return read


@pytest.fixture
def complaint(reading):
    def read(*arguments, **named):
        with pytest.raises(InputError) as caught:
            reading(*arguments, **named)
        return str(caught.value)

    return read


KNOWN = {
    "digits": "e4eb9082ec8ccc057c502b48a6009183be27c0467b5b0ad34097fe2d8be805c2",
    "iris": "c3a3f16b37af5ee6efe5819ed630a02a8c4ecd4a290ff5da8f53cce469ab5806",
    "wine": "6a228c717abc1b52b208c43252026c8e5c84a7e29e65d691c1187b49910916bc",
    "breast_cancer": "90fe8cf01fa4257d5533a4b4e6353aad67e5aaea7206e1fd19c2dcdc991cb8d0",
    "diabetes": "aa97a36138829d8b720196f3c6449d074f5b0c071d8815d360d360af56479e11",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_datasets_without_anything_new_have_the_hashes_of_version_0_1(name):
    assert built_in(name).sha256 == KNOWN[name]


def survives(dataset):
    again = Dataset.from_bytes(dataset.to_bytes(), hashlib.sha256(dataset.to_bytes()).hexdigest())
    assert again.schema == dataset.schema
    for name in ("features", "labels", "weights", "groups", "parts"):
        one, other = getattr(again, name), getattr(dataset, name)
        assert (one is None) == (other is None)
        assert one is None or one.tobytes() == other.tobytes()
    return dataset


COLOURS = "colour,size,y\nred,1,a\n green ,2,b\nred,3,a\nblue,4,b\n"


def test_words_are_the_codes_of_their_sorted_categories(reading):
    made = survives(reading(COLOURS))
    assert made.schema.categories == (("blue", "green", "red"), ())
    assert made.features.tolist() == [[2, 1], [1, 2], [2, 3], [0, 4]]
    assert not made.schema.missing


def test_whole_numbers_are_categories_if_the_spec_says_so_sorted_by_size(reading):
    made = reading("a,y\n10,a\n9,b\n10.0,a\n-1,b\n", ", one_hot: a")
    assert made.schema.categories == (("-1", "9", "10"),)
    assert made.features[:, 0].tolist() == [2, 1, 2, 0]


def test_words_and_numbers_are_the_same_from_csv_and_parquet(reading, tmp_path):
    frame = pl.DataFrame(
        {"a": ["u", "v", None, "u"], "b": [1, 2, 1, None], "c": [0.5, None, 1.5, 2], "y": list("pqpq")}
    )
    frame.write_csv(tmp_path / "t.csv")
    frame.with_columns(pl.col("a").cast(pl.Categorical)).write_parquet(tmp_path / "t.parquet")
    more = ", one_hot: b, missing: mean"
    one, other = reading(None, more), reading(None, more, name="t.parquet")
    assert one.schema.categories == (("u", "v"), ("1", "2"), ())
    assert one.sha256 == other.sha256


def test_gaps_are_nan_where_the_spec_says_what_fills_them(reading):
    made = survives(reading("a,b,y\n1,u,p\n,v,q\nNA,,p\nnan,v,q\n", ", missing: median"))
    assert np.isnan(made.features[:, 0]).tolist() == [False, True, True, True]
    assert np.isnan(made.features[:, 1]).tolist() == [False, False, True, False]
    assert made.schema.missing
    assert not reading("a,y\n1,p\n2,q\n", ", missing: median").schema.missing


def test_a_registered_table_with_words_can_be_narrowed(reading):
    made = reading(COLOURS)
    spec = parse("version: 1\ndata: {source: mine, features: [size]}\nnetwork: []\n")
    narrow = load(spec, {"mine": made}.get)
    assert narrow.schema.categories == ()
    spec = parse("version: 1\ndata: {source: mine, features: [size, colour]}\nnetwork: []\n")
    assert load(spec, {"mine": made}.get).schema.categories == ((), ("blue", "green", "red"))


ROLES = "w,g,part,a,y\n1,u,train,1,p\n0.5,v,test,2,q\n0,u,validation,3,p\n2,w,train,4,q\n"
ALL_ROLES = ", weights: w, split: {column: part}"


def test_weights_groups_and_parts_are_read_and_not_learned_from(reading):
    made = survives(reading(ROLES.replace("g,part", "g2,part").replace("g2", "g"), ALL_ROLES + ", features: [a]"))
    assert made.weights.tolist() == [1, 0.5, 0, 2]
    assert made.parts.tolist() == [0, 2, 1, 0]
    made = survives(reading(ROLES, ", split: {group: g}, features: [a]"))
    assert made.groups.tolist() == [0, 1, 0, 2]
    assert reading("w,a,y\n1,1,p\n1,2,q\n", ", weights: w").schema.features == ("a",)


def test_an_npz_file_may_hold_them_as_arrays_that_the_spec_names(reading, complaint, tmp_path):
    arrays = {"x": np.array([[1.0], [np.nan], [3], [4]]), "y": np.array([0, 1, 0, 1])}
    told = {"w": np.array([1.0, 2, 0, 1]), "who": np.array(["u", "v", "u", "w"]), "n": np.array([3, 3, 5, 5])}
    np.savez(tmp_path / "t.npz", **arrays, **told)
    more = ", missing: mean, weights: w, split: {group: who}"
    made = survives(reading(None, more, name="t.npz"))
    assert made.weights.tolist() == [1, 2, 0, 1]
    assert made.groups.tolist() == [0, 1, 0, 2]
    assert made.schema.missing
    assert reading(None, ", missing: mean, split: {group: n}", name="t.npz").groups.tolist() == [0, 0, 1, 1]
    assert "row 2, column 1 of the features is nan, not a number; data.missing" in complaint(None, name="t.npz")
    message = "data.weights: t.npz has no array 'ww'; did you mean 'w'?"
    assert message in complaint(None, ", weights: ww", name="t.npz")
    message = "data.split.group: t.npz: the array 'x' must hold a value for each of 4 rows, got float64 of shape (4, 1)"
    assert message in complaint(None, ", split: {group: x}", name="t.npz")
    message = "t.npz: row 1: column 'who': 'u' is none of train, validation and test"
    assert message in complaint(None, ", missing: mean, split: {column: who}", name="t.npz")


def test_several_columns_of_0_and_1_are_several_labels_if_the_task_says_so(reading, tmp_path):
    text = "a,p,q\n1,0,true\n2,1,False\n3,1,true\n"
    made = survives(reading(text, ", target: [p, q], task: multilabel"))
    assert made.labels.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert made.schema.task == "multilabel"
    assert (made.schema.targets, made.schema.classes, made.schema.outputs) == (("p", "q"), (), 2)
    np.savez(tmp_path / "t.npz", x=np.ones((2, 1)), y=np.array([[0, 1], [1, 1]]))
    assert reading(None, ", task: multilabel", name="t.npz").schema.targets == ("label_1", "label_2")
    assert reading("a,p,q\n1,0,1\n2,1,0\n", ", target: [p, q]").schema.task == "regression"


def test_a_loss_that_cannot_do_the_task_is_told_with_those_that_can(complaint):
    message = complaint("a,p,q\n1,0,1\n2,1,0\n", ", target: [p, q], task: multilabel", rest="loss: hinge")
    assert "data.task: hinge is not a loss for multilabel; use binary_cross_entropy" in message


def test_a_loss_for_several_labels_makes_them_several_labels(reading, monkeypatch):
    monkeypatch.setattr(MeanSquaredError, "tasks", frozenset({"classification", "multilabel"}))
    loss = "loss: mse"
    assert reading("a,p,q\n1,0,1\n2,1,0\n", ", target: [p, q]", rest=loss).schema.task == "multilabel"
    assert reading("a,y\n1,0\n2,1\n3,1\n", rest=loss).schema.task == "classification"
    monkeypatch.setattr(MeanSquaredError, "tasks", frozenset({"classification", "multilabel", "regression"}))
    assert reading("a,p,q\n1,0,1\n2,1,0\n", ", target: [p, q]", rest=loss).schema.task == "multilabel"
    assert reading("a,p,q\n1,0,1\n2,.5,0\n", ", target: [p, q]", rest=loss).schema.task == "regression"
    assert reading("a,y\n1,0\n2,1\n3,1\n", rest=loss).schema.task == "classification"
    assert reading("a,y\n1,0\n2,1\n3,2\n", rest=loss).schema.task == "regression"


MANY = "a,y\n" + "".join(f"w{number},{number % 2}\n" for number in range(101))


@pytest.mark.parametrize(
    ("content", "more", "message"),
    [
        (
            MANY,
            "",
            "t.csv: column 'a' has 101 different values, and a column can have 100 categories at most;",
        ),
        (MANY.replace("w", ""), ", one_hot: a", "s.yaml:2:43: data.one_hot: t.csv: column 'a' has 101 different"),
        ("a,y\n1.5,p\n2,q\n", ", one_hot: a", "data.one_hot: t.csv: column 'a' holds fractions (1.5), which are no"),
        ("a,y\n1,p\n2,q\n", ", one_hot: b", "data.one_hot: 'b' is not among the features"),
        ("a,y\nu,p\n,q\nv,q\n", "", "t.csv:3: column 'a' is empty; let data.missing fill it"),
        ("a,b,y\n,1,p\n,2,q\n", ", one_hot: a, missing: mean", "column 'a' is empty in every row; leave it out"),
        ("a,y\n1,p\nx,q\n3,q\n", ", missing: mean", "t.csv:3: column 'a': 'x' is not a number"),
        ("a,y\n1,p\n2,\n3,q\n", ", missing: mean", "t.csv:3: column 'y' is empty: a row needs its label"),
        ("w,a,y\n1,1,p\n-1,2,q\n", ", weights: w", "t.csv:3: column 'w': a weight is a number from 0 up, got -1"),
        ("w,a,y\n1,1,p\n,2,q\n", ", weights: w", "t.csv:3: column 'w' is empty; fill in or drop line 3"),
        ("w,a,y\n0,1,p\n0,2,q\n", ", weights: w", "s.yaml:2:43: data.weights: column 'w': all weights are 0"),
        ("a,y\n1,p\n2,q\n", ", weights: aa", "data.weights: t.csv has no column 'aa'; did you mean 'a'?"),
        ("g,a,y\nu,1,p\n,2,q\n", ", split: {group: g}", "t.csv:3: column 'g' is empty; fill in or drop line 3"),
        ("a,y\n1,p\n2,q\n", ", split: {group: b}", "s.yaml:2:49: data.split.group: t.csv has no column 'b'"),
        (ROLES.replace("test", "tets"), ALL_ROLES, "t.csv:3: column 'part': 'tets' is none of train, validation and"),
        (ROLES.replace("train", "test"), ALL_ROLES, "data.split.column: column 'part' says 'train' in no row"),
        (
            "a,p,q\n1,0,1\n2,2,0\n",
            ", target: [p, q], task: multilabel",
            "data.target: t.csv: column 'p' holds more than 0 and 1 (or true and false)",
        ),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(complaint, content, more, message):
    assert message in complaint(content, more)


@pytest.mark.parametrize(
    ("column", "more"),
    [("y", ""), ("a", ""), ("b", ", split: {group: b}"), ("a", ", weights: a"), ("a", ", one_hot: a")],
)
def test_columns_of_lists_are_refused_for_every_use(complaint, tmp_path, column, more):
    frame = pl.DataFrame({"a": [1, 2, 3], "b": ["u", "v", "u"], "y": ["p", "q", "p"]})
    frame.with_columns(pl.Series(column, [[1], [2], [3]])).write_parquet(tmp_path / "t.parquet")
    assert f"column '{column}' holds list(int64) values" in complaint(None, more, name="t.parquet")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("weights: w", "data.weights: iris has no column 'w' that says so"),
        ("split: {group: g}", "data.split.group: iris has no column 'g'"),
        ("split: {column: c}", "data.split.column: iris has no column 'c'"),
        ("one_hot: sepal_width", "data.one_hot: iris has been read already"),
    ],
)
def test_a_built_in_dataset_has_no_such_columns(more, message):
    with pytest.raises(SpecError) as caught:
        load(parse(f"version: 1\ndata: {{source: iris, {more}}}\nnetwork: []\n"))
    assert message in str(caught.value)


def table(**changes):
    values = {
        "features": np.float32([[0, 1], [1, 2]]),
        "labels": np.float32([[0], [1]]),
        "schema": Schema("regression", 2, 2, "float32", ("a", "b"), (), ("y",), (), (("u", "v"), ())),
    }
    return Dataset(**{**values, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.float32([[2, 1], [1, 2]])}, "column 1 of the features holds a code outside its 2 categories"),
        ({"features": np.float32([[0.5, 1], [1, 2]])}, "column 1 of the features holds a code outside"),
        ({"features": np.float32([[np.nan, 1], [1, 2]])}, "row 1, column 'a' of the features is nan"),
        ({"weights": np.float32([1, -1])}, "the weights of the rows must be finite and not below 0"),
        ({"weights": np.float32([0, 0])}, "the weights of the rows are all 0"),
        ({"weights": np.float64([1, 1])}, "the weights are float64 of"),
        ({"groups": np.array([1, 2, 3])}, "the groups are int64 of"),
        ({"parts": np.array([0, 3])}, "the parts must be 0, 1 or 2"),
    ],
)
def test_stored_arrays_that_do_not_fit_are_refused(changes, message):
    assert table().schema.category_counts == (2, 0)
    with pytest.raises(DataError, match=message):
        table(**changes)


@pytest.mark.parametrize(
    "change",
    [
        {"categories": [["u", "v"]]},
        {"categories": [["u", "u"], []]},
        {"categories": ["uv", []]},
        {"categories": [[1], []]},
        {"missing": 1},
        {"dtype": "uint8"},
        {"task": "multi"},
    ],
)
def test_a_schema_that_does_not_fit_is_refused(change):
    with pytest.raises(DataError, match="schema is damaged"):
        Schema.from_document({**table().schema.document(), **change})


def test_numbers_with_a_comma_are_no_words(complaint):
    text = complaint('a,y\n"3,9",p\n"2,4",q\n')
    assert (
        text
        == "s.yaml:2:7: data.features: t.csv: column 'a' holds numbers with a comma ('3,9'); write a point, as in 3.9"
    )


def test_a_column_of_words_as_weights_is_told_at_its_own_key(complaint):
    text = complaint("a,w,y\n1,red,p\n2,blue,q\n3,red,p\n", ", weights: w")
    assert text == "s.yaml:2:43: data.weights: t.csv:2: column 'w' holds text ('red'), and numbers are needed"


def test_cells_that_are_no_numbers_are_counted(complaint):
    assert "'?' is not a number (nor is 1 more cell)" in complaint("a,y\n1,p\n?,q\n?,p\n4,q\n5,q\n6,p\n")
