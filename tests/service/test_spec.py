"""Specs: what is read, and what is told about every mistake."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nn import Conv2d, MaxPool, Reshape
from service import datasets
from service.assembly import outline
from service.spec import Spec, SpecError, load, parse
from service.spec.schema import memory_bytes

MINIMAL = "version: 1\ndata: {source: iris}\nnetwork:\n  - dense: {units: 16, activation: relu}\n"


def complaint(text, overrides=()):
    with pytest.raises(SpecError) as caught:
        parse(text, "s.yaml", overrides)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_shortest_spec_gets_every_default():
    document = parse(MINIMAL, "folder/iris.yaml").document()
    assert document == {
        "version": 1,
        "name": "iris",
        "data": {
            "source": "iris",
            "target": None,
            "features": None,
            "task": None,
            "one_hot": None,
            "missing": {"fill": "error", "indicator": False},
            "weights": None,
            "split": {
                "validation": 0.2,
                "test": 0.1,
                "stratify": None,
                "group": None,
                "column": None,
                "folds": None,
                "fold": 1,
            },
            "scale": "standard",
            "augment": None,
        },
        "network": [{"dense": {"units": 16, "activation": "relu", "initializer": None, "bias": True}}],
        "loss": None,
        "optimizer": {"adam": {"learning_rate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-08}},
        "schedule": {"constant": {}},
        "metrics": None,
        "begin": None,
        "train": {
            "epochs": 20,
            "batch_size": 32,
            "accumulate": 1,
            "warmup": 0.0,
            "l1": 0.0,
            "l2": 0.0,
            "clip_norm": None,
            "clip_value": None,
            "average": None,
            "class_weights": None,
            "freeze": [],
            "early_stopping": None,
            "target": None,
            "max_seconds": None,
            "log_every": None,
            "threads": 1,
        },
        "limits": {"seconds": None, "memory": None, "stalled_epochs": None},
        "max_attempts": 5,
        "seed": 0,
    }


def test_lists_names_and_numbers_of_a_spec_reach_the_layer():
    layers = "network:\n  - reshape: [8, 8, 1]\n  - conv2d: {units: 4, size: 3, padding: 1}\n  - conv2d: {units: 4, "
    spec = parse(HEAD + layers + "size: 3, padding: same}\n  - max_pool: {padding: 1}\n")
    assert [layer.build() for layer in spec.network] == [
        Reshape((8, 8, 1)),
        Conv2d(4, 3, padding=1),
        Conv2d(4, 3, padding="same"),
        MaxPool(padding=1),
    ]


def test_a_document_makes_an_equal_spec_again():
    text = MINIMAL + "  - dropout: 0.5\n  - reshape: [4, 4]\nloss: mse\n"
    text += "optimizer: sgd\ntrain: {early_stopping: val_mae}\n"
    spec = parse(text)
    again = Spec.from_document(json.loads(json.dumps(spec.document())))
    assert again == spec
    assert again.document() == spec.document()


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("optimizer: adam", "optimizer: {adam: {}}"),
        ("optimizer: {adam:}", "optimizer: {adam: {}}"),
        ("optimizer: {sgd: 0.5}", "optimizer: {sgd: {learning_rate: 0.5}}"),
        ("loss: cross_entropy", "loss: {cross_entropy: {}}"),
        ("  - reshape: [4, 4, 1]", "  - reshape: {shape: [4, 4, 1]}"),
        ("  - conv1d: {units: 2, size: 3}", "  - conv1d: {units: 2, size: 3, padding: valid}"),
        ("  - max_pool", "  - max_pool: {size: 2}"),
        ("train: {early_stopping: val_accuracy}", "train: {early_stopping: {monitor: val_accuracy}}"),
        ("train: {early_stopping: {}}", "train: {early_stopping: {monitor: val_loss, patience: 5}}"),
    ],
)
def test_what_is_written_short_means_the_long_form(short, long):
    assert parse(MINIMAL + short) == parse(MINIMAL + long)


def test_one_target_is_a_list_of_one():
    assert parse(MINIMAL.replace("iris", "a.csv, target: x")).data.target == ["x"]


def test_a_relative_source_is_beside_the_spec(tmp_path):
    (tmp_path / "s.yaml").write_text(MINIMAL.replace("iris", "a.csv, target: x"))
    assert load(tmp_path / "s.yaml").source_file == tmp_path / "a.csv"


HEAD = "version: 1\ndata: {source: iris}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.yaml: the file is empty; the shortest spec is {version: 1, data: {source: digits}"),
        ("- 1", "s.yaml:1:1: expected keys, got a list"),
        (HEAD, "s.yaml:1:1: missing key 'network'; write 'network: [dense: {units: 64, activation: relu}]'"),
        ("data: {source: a}\nnetwork: []", "s.yaml:1:1: missing key 'version'; write 'version: 1'"),
        (MINIMAL.replace("1", "2", 1), "s.yaml:1:10: version: this Trainyard reads version 1 of the spec, not 2"),
        (MINIMAL.replace("1", '"1"', 1), "s.yaml:1:10: version: expected a whole number, got '1'; remove the quotes"),
        (
            MINIMAL.replace("units", "unit"),
            "s.yaml:4:13: network[0].dense: unknown key 'unit'; did you mean 'units'?"
            " (known: units, activation, initializer, bias)",
        ),
        (MINIMAL.replace("dense", "dens"), "s.yaml:4:5: network[0]: unknown layer 'dens'; did you mean 'dense'?"),
        (MINIMAL.replace("relu", "rellu"), "s.yaml:4:36: network[0].dense.activation: must be linear, relu"),
        (MINIMAL.replace("16", "ten"), "network[0].dense.units: expected a whole number, got 'ten'"),
        (MINIMAL.replace("16", "16.0"), "network[0].dense.units: expected a whole number, got 16.0; write 16"),
        (MINIMAL.replace("16", "true"), "network[0].dense.units: expected a whole number, got true"),
        (MINIMAL + "begin: {run: 1, sha256: 12ab}", "begin.sha256: must have the form ^[0-9a-f]{64}$, got '12ab'"),
        (MINIMAL.replace("16", "0"), "network[0].dense.units: must be at least 1, got 0"),
        (MINIMAL.replace("16", "99999999999"), "network[0].dense.units: must be at most 2147483647"),
        (MINIMAL + "  - dense:", "s.yaml:5:11: network[1].dense: missing key 'units' (how many outputs)"),
        (MINIMAL + "  - dropout: 1", "s.yaml:5:14: network[1].dropout.rate: must be less than 1, got 1"),
        (MINIMAL + "  - dropout: [1]", "s.yaml:5:14: network[1].dropout: expected a mapping of keys, got a list"),
        (MINIMAL + "  - reshape: 64", "network[1].reshape.shape: expected a list, got 64"),
        (MINIMAL + "  - reshape: []", "network[1].reshape.shape: needs at least one item"),
        (MINIMAL + "  - reshape: [8, x]", "network[1].reshape.shape[1]: expected a whole number, got 'x'"),
        (MINIMAL + "  - reshape: [8, 0]", "network[1].reshape.shape[1]: must be at least 1, got 0"),
        (
            MINIMAL + "  - conv2d: {units: 8, size: 3, padding: sane}",
            "network[1].conv2d.padding: must be valid, same or a whole number of at least 0, got 'sane'; did you mean",
        ),
        (
            MINIMAL + "  - conv2d: {units: 8, size: 3, padding: -1}",
            "padding: must be valid, same or a whole number of at least 0, got -1",
        ),
        (MINIMAL + "  - max_pool: {size: 2, padding: 2}", "network[1].max_pool: padding must be below the size of 2"),
        (MINIMAL + "  - 5", "s.yaml:5:5: network[1]: expected a layer such as"),
        (MINIMAL + "  - {dense: 5, dropout: 0.1}", "network[1]: expected one layer, got 2 (dense, dropout)"),
        (MINIMAL + "  - {}", "network[1]: expected a layer; known:"),
        (HEAD + "network: {dense: 5}", "s.yaml:3:10: network: expected a list, got a mapping of keys"),
        (MINIMAL + "seeds: 1", "s.yaml:5:1: unknown key 'seeds'; did you mean 'seed'?"),
        (MINIMAL + "seed: -1", "s.yaml:5:7: seed: must be at least 0, got -1"),
        (MINIMAL + "loss: cross", "s.yaml:5:7: loss: unknown loss 'cross'"),
        (MINIMAL + "optimizer: {adam: {learning_rate: -0.1}}", "optimizer.adam.learning_rate: must be greater than 0"),
        (MINIMAL + "optimizer: {adam: {learning_rate: 0.1.2}}", "expected a number, got '0.1.2'"),
        (
            MINIMAL + "optimizer: {sgd: {nesterov: true}}",
            "s.yaml:5:18: optimizer.sgd: nesterov needs a momentum above 0",
        ),
        (
            MINIMAL + "optimizer: {sgd: {nesterov: yes}}",
            "optimizer.sgd.nesterov: expected true or false, got 'yes'; write true",
        ),
        (MINIMAL + "train: {epochs: ten}", "s.yaml:5:17: train.epochs: expected a whole number, got 'ten'"),
        (MINIMAL + "train: 5", "s.yaml:5:8: train: expected a mapping of keys, got 5"),
        (MINIMAL + "train: [1]", "s.yaml:5:8: train: expected a mapping of keys, got a list"),
        (MINIMAL.replace(" {source: iris}", ""), "s.yaml:2:6: data: expected a mapping of keys, got nothing"),
        (
            MINIMAL + "train: {early_stopping: {patience: 0}}",
            "train.early_stopping.patience: must be at least 1, got 0",
        ),
        (MINIMAL + "train: {early_stopping: {patients: 3}}", "did you mean 'patience'?"),
        (MINIMAL + "name: [a]", "s.yaml:5:7: name: expected a text, got a list"),
        (MINIMAL + "name: 5", "s.yaml:5:7: name: expected a text, got 5; put it in quotes"),
        (MINIMAL + 'name: "a\\nb"', "s.yaml:5:7: name: must be one line of visible text"),
        (MINIMAL.replace("iris", '""'), "s.yaml:2:16: data.source: must be one line of visible text"),
        (
            MINIMAL.replace("iris", "iris, scale: standrd"),
            "data.scale: must be standard, minmax or none, got 'standrd'",
        ),
        (MINIMAL.replace("iris", "a.csv, target: 5"), "data.target: expected a column's name or a list of them, got 5"),
        (MINIMAL.replace("iris", "a.csv, target: [a, a]"), "data.target: 'a' is listed twice"),
        (MINIMAL.replace("iris", "a.csv, target: []"), "data.target: needs at least one item"),
        (
            MINIMAL.replace("iris", "iris, split: {validation: 0.5, test: 0.5}"),
            "s.yaml:2:29: data.split: validation and test take every row; nothing is left to train on",
        ),
    ],
)
def test_every_mistake_is_told_with_place_and_sentence(text, message):
    assert message in complaint(text)


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file_ten_at_most():
    bad = MINIMAL + "seed: x\ntrain: {epochs: 0}\nmax_attempts: 0\n"
    assert [line.split(":")[1] for line in complaint(bad).splitlines()] == ["5", "6", "7"]
    many = HEAD + "network:\n" + "  - dropout: 2\n" * 14
    lines = complaint(many).splitlines()
    assert len(lines) == 11
    assert lines[-1] == "… and 4 more"


def test_no_word_of_pydantic_reaches_a_person():
    text = complaint(
        MINIMAL + "seed: x\ntrain: [1]\nname: {}\nmax_attempts: 1.5\nloss: [1]\noptimizer: {adam: {beta1: []}}"
    )
    for word in ("Input", "valid", "pydantic", "type=", "dict", "instance", "Settings", "Choice"):
        assert word not in text


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "digits.yaml").write_text(MINIMAL)
    with pytest.raises(SpecError) as caught:
        load(tmp_path / "digit.yaml")
    assert str(caught.value).endswith(f"there is no such file; did you mean '{tmp_path / 'digits.yaml'}'?")


def test_a_file_that_is_no_text_or_no_file_is_told(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"version: 1\nname: \xff\n")
    with pytest.raises(SpecError, match=r"a\.yaml:2:1: the text is not UTF-8"):
        load(tmp_path / "a.yaml")
    with pytest.raises(SpecError, match="is a directory"):
        load(tmp_path)


def outcome(make):
    """What came of it, where anything but a spec or a SpecError fails the test."""
    try:
        return type(make()).__name__
    except SpecError as error:
        return str(error)


WORDS = [
    "version: 1",
    "data:",
    "network:",
    "- dense:",
    "units: 5",
    "{",
    "}",
    "[",
    "]",
    "&a",
    "*a",
    "!!x",
    "\n  ",
    "\n",
    ": ",
    "1",
]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=20).map(" ".join))
def test_any_text_is_a_spec_or_an_error_that_says_why(text):
    assert outcome(lambda: parse(text)).startswith(("Spec", "spec.yaml"))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["iris", "dense", "adam", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["dense", "units", "adam", "x"]), inner)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from([*parse(MINIMAL).document(), "other"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_stored_document_is_a_spec_or_an_error(change):
    document = {**parse(MINIMAL).document(), **change}
    assert outcome(lambda: Spec.from_document(document)).startswith(("Spec", "the stored spec"))


@pytest.mark.parametrize(
    ("amount", "count"), [("2 GiB", 2**31), ("512MiB", 2**29), ("1.5 GB", 1_500_000_000), ("0.5 MB", 500_000)]
)
def test_an_amount_of_memory_is_read_with_its_unit(amount, count):
    assert memory_bytes(parse(f"{MINIMAL}limits: {{memory: {amount}}}\n", "s.yaml").limits.memory) == count


def test_shares_that_a_column_tells_stay_none_where_they_are_null():
    split = parse(MINIMAL, "s.yaml", ["data.split.column=part", "data.split.test=null"]).data.split
    assert (split.validation, split.test) == (0, 0)
    assert parse(f"{MINIMAL}limits: {{seconds: 5}}\n", "s.yaml", ["limits=null"]).limits.seconds is None


@pytest.mark.parametrize("amount", ["2", 2, "2 GIB", "GiB", "-1 GiB", "1e3 MiB", "0 GiB", "2 GiB or so", "２ GiB"])
def test_an_amount_of_memory_without_sense_is_refused_with_an_example(amount):
    assert "expected an amount such as 512 MiB or 2 GiB" in complaint(
        f"{MINIMAL}limits: {{memory: {json.dumps(amount)}}}\n"
    )


def test_a_limit_of_memory_below_an_empty_process_is_refused_before_it_is_queued():
    spec = parse(f"{MINIMAL}limits: {{memory: 64 MiB}}\n", "s.yaml")
    with pytest.raises(SpecError, match=r"limits\.memory: the training needs about .* beside the 100 MiB of an empty"):
        outline(spec, datasets.load(spec))
