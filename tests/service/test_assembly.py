"""Spec and dataset put together: the output layer, the splits, the scaler, and what does not fit."""

from pathlib import Path

import numpy as np
import pytest

import nn
from service.assembly import assemble, check, outline
from service.datasets import Dataset, Schema, built_in, load
from service.spec import Spec, SpecError, parse
from service.spec import load as load_spec

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
HEAD = "version: 1\ndata: {source: iris}\n"


def spec(network="[]", rest="", head=HEAD):
    return parse(f"{head}network: {network}\n{rest}", "s.yaml")


def resolved(network, rest="", head=HEAD):
    made = spec(network, rest, head)
    return [next(iter(item.items())) for item in outline(made, load(made)).spec.document()["network"]]


def complaint(network="[]", rest="", head=HEAD, dataset=None):
    made = spec(network, rest, head)
    with pytest.raises(SpecError) as caught:
        outline(made, dataset or load(made))
    return str(caught.value)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_pass_the_check(path):
    made = load_spec(path)
    report = check(made, load(made))
    assert report.output_layer_added
    assert report.parameters == sum(layer.parameters for layer in report.layers)
    assert report.train_rows > report.validation_rows > 0
    assert report.memory_bytes == sum(report.memory.values())


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_train(path):
    assert 0 < len(trained(path, ["train.epochs=2"])[1]) <= 2


@pytest.mark.parametrize(("name", "epochs", "least"), [("digits", 12, 0.95), ("convolution", 30, 0.985)])
def test_the_examples_of_digits_learn_to_read_them(name, epochs, least):
    measured, _ = trained(FOLDER / f"{name}.yaml", [f"train.epochs={epochs}"])
    assert measured["accuracy"] >= least


def trained(path, overrides):
    """What the best weights are measured at on the test rows, and the epochs."""
    made = load_spec(path, overrides)
    assembly = assemble(made, load(made))
    state = nn.State.start(assembly.plan)
    epochs = list(nn.train(assembly.plan, state, assembly.train, assembly.validation))
    return nn.evaluate(assembly.plan, state.best_parameters, assembly.test), epochs


def test_a_check_counts_what_will_be_trained():
    made = spec("[dense: {units: 8, activation: relu}]", "train: {batch_size: 10}")
    report = check(made, built_in("iris"))
    assert (report.train_rows, report.validation_rows, report.test_rows) == (105, 30, 15)
    assert report.steps_per_epoch == 11
    assert report.parameters == 4 * 8 + 8 + 8 * 3 + 3
    assert report.memory["weights"] == report.parameters * 4 * 5  # parameters, gradients, best, and Adam's two
    assert report.document()["memory_bytes"] == report.memory_bytes
    assert report.notes == (
        "the loss is cross_entropy, since the labels are 3 classes",
        "an output layer was added: dense, 3 units, one for each class",
    )


OUTPUT = ("dense", {"units": 3, "activation": "linear", "initializer": None, "bias": True})


@pytest.mark.parametrize(
    ("network", "rest", "added"),
    [
        ("[]", "", True),
        ("[dense: {units: 8, activation: relu}]", "", True),
        ("[dense: {units: 3, activation: relu}]", "", True),
        ("[{dense: {units: 3}}, {dropout: 0.5}]", "", True),
        ("[dense: {units: 3}]", "", False),
        ("[dense: {units: 3, activation: sigmoid}]", "loss: mse", False),
        ("[dense: {units: 8, activation: sigmoid}]", "loss: mse", True),
        ("[{dense: 3}, {activation: sigmoid}]", "loss: mse", False),
        ("[{dense: 3}, {activation: sigmoid}]", "loss: cross_entropy", True),
    ],
)
def test_the_output_layer_is_added_unless_the_last_layer_is_one(network, rest, added):
    before = len(spec(network, rest).network)
    after = resolved(network, rest)
    assert len(after) == before + added
    assert not added or after[-1] == OUTPUT


def test_a_linear_last_layer_with_other_units_is_a_mistake():
    text = complaint("[{dense: {units: 8, activation: relu}}, {dense: {units: 4}}]")
    assert text == (
        "s.yaml:3:66: network[1].dense.units: layer 2 (dense) is the output layer and has 4 units, but the labels have"
        " 3 classes (setosa, versicolor and virginica); change it, or give it an activation to make it a hidden layer"
    )
    text = complaint("[{dense: 2}]", head=HEAD.replace("iris", "diabetes"))
    assert "has 2 units, but the labels have 1 target (progression)" in text


def test_a_resolved_spec_is_its_own_resolution():
    made = spec("[dense: {units: 8, activation: relu}]")
    first = outline(made, built_in("iris"))
    again = outline(Spec.from_document(first.spec.document()), built_in("iris"))
    assert again.spec == first.spec
    assert not again.output_layer_added
    assert first.spec.data.split.stratify is True


def test_assembling_twice_gives_the_same_bytes_and_another_seed_others():
    one, two = (assemble(spec(rest="seed: 3"), built_in("iris")) for _ in range(2))
    other = assemble(spec(rest="seed: 4"), built_in("iris"))
    for part in ("train", "validation", "test"):
        assert getattr(one, part).features.tobytes() == getattr(two, part).features.tobytes()
        assert getattr(one, part).labels.tobytes() == getattr(two, part).labels.tobytes()
    assert one.train.features.tobytes() != other.train.features.tobytes()


def test_the_scaler_is_measured_on_the_training_rows_alone():
    made = assemble(spec(), built_in("iris"))
    np.testing.assert_allclose(made.train.features.mean(axis=0), 0, atol=1e-6)
    assert abs(made.test.features.mean()) > 1e-3


def image_set(pixels):
    schema = Schema("classification", len(pixels), 4, "uint8", (), (2, 2), ("label",), ("a", "b"))
    return Dataset(pixels.astype(np.uint8), np.arange(len(pixels)) % 2, schema)


def test_bytes_become_0_to_1_unless_scaled():
    images = image_set(np.tile([0, 51, 255, 255], (60, 1)))
    made = assemble(spec(head=HEAD.replace("iris", "iris, scale: none")), images)
    assert made.train.features.dtype == made.test.features.dtype == np.uint8
    np.testing.assert_allclose(made.train.inputs(made.train.features)[0], [0, 0.2, 1, 1], rtol=1e-6)
    assert set(made.scaler) == {"shift", "scale"}


def test_no_validation_and_no_test_rows_are_none():
    made = assemble(spec(head=HEAD.replace("iris", "iris, split: {validation: 0, test: 0}")), built_in("iris"))
    assert made.validation is None
    assert made.test is None
    assert len(made.train) == 150


@pytest.mark.parametrize(
    ("rest", "head", "message"),
    [
        (
            "train: {batch_size: 106}",
            HEAD,
            "s.yaml:4:21: train.batch_size: a batch of 106 is larger than the 105 training rows; lower it",
        ),
        ("train: {early_stopping: val_acuracy}", HEAD, "'val_acuracy' is not measured; did you mean 'val_accuracy'?"),
        ("train: {early_stopping: val_mae}", HEAD, "(measured: val_loss, val_accuracy, loss, accuracy)"),
        (
            "train: {early_stopping: {monitor: val_loss}}",
            HEAD.replace("iris", "iris, split: {validation: 0}"),
            "s.yaml:4:35: train.early_stopping.monitor: there is no 'val_loss' without validation rows",
        ),
        (
            "loss: cross_entropy",
            HEAD.replace("iris", "diabetes"),
            "s.yaml:4:7: loss: cross_entropy does not fit the labels",
        ),
        (
            "",
            HEAD.replace("iris", "diabetes, split: {stratify: true}"),
            "s.yaml:2:44: data.split.stratify: only classes can be stratified",
        ),
        (
            "",
            HEAD.replace("iris", "iris, split: {validation: 0.001}"),
            "s.yaml:2:29: data.split: 150 samples are too few: 0.001 of them for validation is none",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_told_at_its_place(rest, head, message):
    assert message in complaint(rest=rest, head=head)


def rare(counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple("abc"[: len(counts)])
    schema = Schema("classification", len(labels), 1, "float32", ("x",), (), ("y",), names)
    return Dataset(np.arange(len(labels), dtype=np.float32)[:, None], labels, schema)


def test_a_rare_class_cannot_be_stratified_when_asked_and_is_not_when_not():
    asked = HEAD.replace("iris", "iris, split: {stratify: true}")
    text = complaint(head=asked, dataset=rare([50, 50, 2]))
    assert "s.yaml:2:40: data.split.stratify: class 'c' has 2 rows, too few to stand in each of 3 parts" in text
    report = check(spec(rest="train: {batch_size: 10}"), rare([50, 50, 2]))
    assert "the split is not stratified, since class 'c' has 2 rows, too few to stand in every part" in report.notes


def test_a_shape_that_no_layer_takes_is_told_at_the_layer(monkeypatch):
    def refuse(self, input_shape):
        raise nn.ShapeError("(channels, height, width)", input_shape, kind="dropout")

    monkeypatch.setattr(nn.Dropout, "output_shape", refuse)
    text = complaint("[{dense: {units: 8, activation: relu}}, {dropout: 0.5}]")
    assert text == "s.yaml:3:60: network[1].dropout: layer 2 (dropout) needs (channels, height, width) and got (8,)"
