"""A trained network judged on the splits of its data."""

import numpy as np
import pytest
from sklearn import metrics as reference

import nn
from service import weights as files
from service.assembly import assemble
from service.datasets import Schema, load
from service.errors import InputError
from service.evaluation import Evaluation, _by_class, _labels, _names, evaluate, measure
from service.spec import parse


def trained(text):
    """Weights as they are read from a store, the dataset, and the metrics that training recorded."""
    spec = parse(f"version: 1\n{text}")
    dataset = load(spec)
    assembly = assemble(spec, dataset)
    state = nn.State.start(assembly.plan)
    *_, last = nn.train(assembly.plan, state, assembly.train, assembly.validation)
    packed = files.pack(state.parameters, assembly.scaler, assembly.spec, dataset.schema)
    return files.unpack(packed), dataset, assembly, last.metrics


@pytest.fixture(scope="module")
def digits():
    return trained("data: {source: digits}\nnetwork: [dense: {units: 32, activation: relu}]\ntrain: {epochs: 2}\n")


def test_the_loss_and_the_accuracy_are_those_of_the_history(digits):
    weights, dataset, _, recorded = digits
    found = evaluate(weights, dataset, "validation").metrics
    assert found["loss"] == recorded["val_loss"]
    assert found["accuracy"] == recorded["val_accuracy"]
    assert found["log_loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_classes_and_confusions_are_those_of_scikit_learn(digits):
    weights, dataset, assembly, _ = digits
    found = evaluate(weights, dataset)
    outputs = assembly.plan.network.predict(weights.parameters, assembly.test.features)
    told, true = outputs.argmax(axis=1), assembly.test.labels
    assert (found.split, found.rows) == ("test", len(true))
    np.testing.assert_array_equal(found.confusion, reference.confusion_matrix(true, told))
    wanted = reference.precision_recall_fscore_support(true, told, zero_division=0)
    for ours, theirs in zip(found.per_class, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs)
    assert found.metrics["roc_auc"] == pytest.approx(
        reference.roc_auc_score(true, nn.softmax(outputs.astype(np.float64)), multi_class="ovr"), rel=1e-6
    )
    assert list(found.metrics)[:3] == ["loss", "accuracy", "top_5"]
    document = found.document()
    assert np.sum(document["confusion"]) == document["rows"] == len(true)
    assert [row["name"] for row in document["classes"]] == list(dataset.schema.classes)


def test_numbers_have_neither_classes_nor_confusions():
    weights, dataset, assembly, recorded = trained(
        "data: {source: diabetes, split: {test: 0}}\nnetwork: []\nloss: huber\ntrain: {epochs: 2}\n"
    )
    found = evaluate(weights, dataset)
    assert (found.split, found.rows) == ("validation", len(assembly.validation))
    assert list(found.metrics) == ["loss", "mae", "rmse", "r2"]
    assert found.metrics["loss"] == recorded["val_loss"]
    assert (found.classes, found.per_class, found.confusion) == ((), None, None)
    assert set(found.document()) == {"split", "rows", "metrics"}
    with pytest.raises(InputError, match="kept no rows for test; there is validation and train"):
        evaluate(weights, dataset, "test")


def test_without_rows_held_back_those_it_learned_must_be_asked_for():
    weights, dataset, *_ = trained(
        "data: {source: iris, split: {validation: 0, test: 0}}\nnetwork: []\nloss: hinge\ntrain: {epochs: 1}\n"
    )
    with pytest.raises(InputError, match="evaluate it on those it learned: train"):
        evaluate(weights, dataset)
    found = evaluate(weights, dataset, "train")
    assert found.rows == 150
    assert "log_loss" not in found.metrics


def test_several_labels_are_judged_one_by_one():
    schema = Schema("multilabel", 4, 2, "float32", targets=("cat", "dog"))
    outputs = np.array([[1.0, -1.0], [2.0, 3.0], [-1.0, 0.5], [0.1, -2.0]], np.float32)
    stored = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], np.float32)
    labels = _labels(schema, stored)
    names, table, confusion = _by_class(schema, outputs, labels)
    wanted = reference.precision_recall_fscore_support(stored, outputs > 0)
    for ours, theirs in zip(table, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs)
    assert (names, confusion) == (("cat", "dog"), None)
    metrics = measure(_names(schema, "binary_cross_entropy"), outputs, labels)
    assert metrics["accuracy"] == 5 / 8
    assert metrics["f1_micro"] == pytest.approx(reference.f1_score(stored, outputs > 0, average="micro"))


def test_confusions_come_the_most_frequent_first():
    confusion = np.array([[9, 0, 2], [3, 9, 0], [0, 1, 9]])
    found = Evaluation("test", 33, {}, ("a", "b", "c"), nn.per_class(confusion), confusion)
    assert found.confused() == [("b", "a", 3), ("a", "c", 2), ("c", "b", 1)]
