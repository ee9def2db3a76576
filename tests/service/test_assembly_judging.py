"""The loss, the metrics, what watches them and how much rows count: what does not fit is told at its place."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from nn import State, train
from service.assembly import assemble, outline
from service.datasets import Dataset, Schema, built_in, load
from service.spec import SpecError, parse

HEAD = "version: 1\ndata: {source: iris}\nnetwork: []\n"


def made(rest: str, head: str = HEAD):
    return parse(head + rest, "s.yaml")


def complaint(rest: str, head: str = HEAD, dataset: Dataset | None = None) -> str:
    """What is said of it, by the schema or by the assembly."""
    with pytest.raises(SpecError) as caught:
        judged(rest, head, dataset)
    return str(caught.value)


def judged(rest: str, head: str, dataset: Dataset | None) -> None:
    spec = made(rest, head)
    outline(spec, dataset or load(spec))


def uneven(counts: list[int], weights: list[float] | None = None) -> Dataset:
    """So many rows of a, b, c …; with weights each class's rows weigh as much."""
    labels = np.repeat(np.arange(len(counts)), counts)
    schema = Schema("classification", len(labels), 2, "float32", ("x", "y"), (), ("z",), tuple("abcdef"[: len(counts)]))
    features = np.random.default_rng(0).normal(size=(len(labels), 2)).astype(np.float32)
    by_row = None if weights is None else np.array(weights, np.float32)[labels]
    return Dataset(features, labels, schema, weights=by_row)


# Metrics and what watches them


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("metrics: [acuracy]", "s.yaml:4:11: metrics[0]: unknown metric 'acuracy'; did you mean 'accuracy'?"),
        ("metrics: [accuracy, mae]", "s.yaml:4:21: metrics[1]: mae is for regression; here classification with cross"),
        ("metrics: [f1, f1]", "s.yaml:4:15: metrics[1]: 'f1' is listed twice"),
        ("metrics: [top_3]", "s.yaml:4:11: metrics[0]: 3 guesses of 3 classes are always right; take fewer"),
        ("metrics: [top_0]", "s.yaml:4:11: metrics[0]: "),
        (
            "train: {target: {monitor: val_f1, value: 0.9}}",
            "s.yaml:4:27: train.target.monitor: 'val_f1' is not measured; add ",
        ),
        ("train: {target: {monitor: val_los, value: 1}}", "'val_los' is not measured; did you mean 'val_loss'?"),
        ("train: {target: {monitor: val_loss}}", "s.yaml:4:17: train.target: "),
        (
            "schedule: {reduce_on_plateau: {monitor: val_acc}}",
            "s.yaml:4:41: schedule.reduce_on_plateau.monitor: 'val_acc' is not measured",
        ),
        (
            "metrics: [roc_auc]\ntrain: {early_stopping: roc_auc}",
            "s.yaml:5:25: train.early_stopping.monitor: 'roc_auc' is not measured; ",
        ),
    ],
)
def test_what_cannot_be_measured_or_watched_is_told_at_its_place(rest, message):
    assert message in complaint(rest)


def test_without_validation_rows_no_validation_metric_can_be_watched():
    head = HEAD.replace("iris", "iris, split: {validation: 0}")
    for rest in ("train: {target: {monitor: val_loss, value: 1}}", "schedule: {reduce_on_plateau: {}}"):
        assert "there is no 'val_loss' without validation rows; set data.split.validation" in complaint(rest, head)
    assert outline(made("train: {target: {monitor: loss, value: 1}}", head), built_in("iris")).plan.target


def test_metrics_unless_told_are_the_usual_ones_and_none_if_none_are_asked_for():
    assert outline(made(""), built_in("iris")).plan.metrics == ("accuracy",)
    assert outline(made("metrics: []"), built_in("iris")).plan.metrics == ()


# How much a row counts


def test_balanced_class_weights_are_scikit_learns_over_the_training_rows():
    dataset = uneven([90, 30, 12])
    found = outline(made("train: {class_weights: balanced}"), dataset)
    labels = dataset.labels[found.train_rows]
    wanted = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(found.class_weights, wanted, rtol=1e-6)
    together = found.class_weights[labels]
    np.testing.assert_allclose([together[labels == label].sum() for label in range(3)], len(labels) / 3, rtol=1e-5)


def test_class_weights_by_name_multiply_the_rows_own_and_weigh_every_split():
    head = HEAD.replace("iris", "iris, weights: w")
    assembly = assemble(made("train: {class_weights: {b: 3}}", head), uneven([40, 40], [2, 0.5]))
    for part in (assembly.train, assembly.validation, assembly.test):
        assert part.weights.tolist() == [1.5 if label else 2 for label in part.labels]
        assert part.weights.dtype == np.float32


def test_a_single_name_stands_for_a_list_of_metrics_or_of_frozen_layers():
    found = made("metrics: f1\ntrain: {freeze: 1}", HEAD.replace("[]", "[dense: 3, dense: 3]"))
    assert (found.metrics, found.train.freeze) == (["f1"], [1])
    notes = outline(found, built_in("iris")).notes
    assert "frozen as drawn, since no run is named in begin: layer 1" in notes


def test_targets_far_from_0_are_warned_of():
    far = np.linspace(5, 59_005, 40, dtype=np.float32)[:, None]
    for labels, warned in ((far, True), (far / 1000, False)):
        schema = Schema("regression", 40, 1, "float32", targets=("price",))
        notes = outline(
            made("train: {batch_size: 8}", HEAD), Dataset(np.ones((40, 1), np.float32), labels, schema)
        ).notes
        assert any(note.startswith("'price' goes from") for note in notes) is warned


def test_classes_that_are_numbers_are_named_by_them():
    digits = HEAD.replace("iris", "digits")
    found = outline(made('train: {class_weights: {"3": 2.5}}', digits), built_in("digits"))
    assert found.class_weights.tolist() == [1, 1, 1, 2.5, 1, 1, 1, 1, 1, 1]
    text = complaint("train: {class_weights: {3: 2.5}}", digits)
    assert text == "s.yaml:4:25: train.class_weights: a key must be a word, got 3; put it in quotes"


def test_a_class_of_weight_0_is_not_learned():
    assembly = assemble(made("train: {class_weights: {b: 0}, epochs: 60}\noptimizer: {adam: 0.05}"), uneven([40, 40]))
    state = State.start(assembly.plan)
    for _ in train(assembly.plan, state, assembly.train, assembly.validation):
        pass
    outputs = assembly.plan.network.predict(state.parameters, assembly.train.features)
    assert (outputs.argmax(axis=-1) == 0).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("{setoso: 2}", "s.yaml:4:33: train.class_weights.setoso: there is no class 'setoso'; did you mean 'setosa'?"),
        ("{purple: 2}", "there is no class 'purple' (classes: setosa, versicolor and virginica)"),
        (
            "{setosa: 0, versicolor: 0, virginica: 0}",
            "s.yaml:4:24: train.class_weights: with these weights no training row counts; raise one above 0",
        ),
        ("{setosa: -1}", "train.class_weights"),
        ("balance", "train.class_weights"),
    ],
)
def test_class_weights_that_cannot_be_are_told_at_their_place(weights, message):
    assert message in complaint(f"train: {{class_weights: {weights}}}")


def test_only_classes_have_class_weights():
    text = complaint("train: {class_weights: balanced}", HEAD.replace("iris", "diabetes"))
    assert (
        "train.class_weights: only classes can be weighted, and the labels are numbers, not classes; remove it" in text
    )


def test_rows_that_count_nothing_by_their_own_weight_and_their_class_together_are_told():
    """Neither alone leaves a part without a row that counts; a mean loss over no row would be none."""
    head = HEAD.replace("iris", "iris, weights: w")
    text = complaint("train: {class_weights: {a: 0}}", head, uneven([40, 40], [1, 0]))
    assert "train.class_weights: with these weights no training row counts; raise one above 0" in text


@pytest.mark.parametrize("part", ["training", "validation", "test"])
def test_a_part_whose_rows_all_weigh_nothing_is_told(part):
    spec = made("", HEAD.replace("iris", "iris, weights: w"))
    found = outline(spec, dataset := uneven([40, 40], [1, 1]))
    rows = {"training": found.train_rows, "validation": found.validation_rows, "test": found.test_rows}[part]
    weights = np.ones(80, np.float32)
    weights[rows] = 0
    weightless = Dataset(dataset.features, dataset.labels, dataset.schema, weights=weights)
    text = complaint("", HEAD.replace("iris", "iris, weights: w"), weightless)
    assert f"data.weights: the weights of all {part} rows are 0" in text
