"""Metrics against scikit-learn, on any cut into batches, alone and in a stack."""

import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law
from sklearn import metrics as reference

from nn import METRICS, Buffers, softmax
from nn.losses import logistic
from nn.metrics import base_name, confusion, direction, fitting, is_better, metric, per_class

seeds = st.integers(0, 2**32 - 1)
samples = st.integers(1, 40)
FAMILY = ["accuracy", "top_2", "precision", "recall", "f1", "precision_micro", "recall_micro", "f1_micro", "log_loss"]
CLASSES = [*FAMILY, "roc_auc"]
LABELS = [name for name in CLASSES if name != "top_2"]
NUMBERS = ["mae", "rmse", "r2"]
CASES = [("classes", name) for name in CLASSES] + [("one", name) for name in CLASSES]
CASES += [("labels", name) for name in LABELS] + [("numbers", name) for name in NUMBERS]


def drawn(kind, shape, seed):
    """Outputs float32 of a shape (..., batch, outputs), rounded so that there are ties, and labels of a kind."""
    rng = np.random.default_rng(seed)
    outputs = rng.normal(0, 2, shape).round(1).astype(np.float32)
    if kind == "numbers":
        return outputs, (outputs + rng.normal(0, 1, shape)).astype(np.float32)
    if kind == "labels":
        return outputs, rng.random(shape) < 0.4
    if kind == "one":
        return outputs[..., :1].copy(), rng.integers(0, 2, shape[:-1])
    return outputs, rng.integers(0, shape[-1], shape[:-1])


def measured(name, outputs, labels):
    part = metric(name)
    return part.value(part.statistics(outputs, labels, Buffers()), len(outputs))


def sklearns(name, truth, told):
    """A ratio of scikit-learn's, macro or micro, which warns of what zero_division decides."""
    function, _, kind = name.partition("_")
    score = getattr(reference, f"{function}_score")
    return score(truth, told, average=kind or "macro", zero_division=0)


RATIOS = ["precision", "recall", "f1", "precision_micro", "recall_micro", "f1_micro"]


@law
@given(st.sampled_from(RATIOS), samples, st.integers(2, 6), seeds)
def test_ratios_of_classes_are_those_of_scikit_learn(name, batch, classes, seed):
    outputs, labels = drawn("classes", (batch, classes), seed)
    assert measured(name, outputs, labels) == pytest.approx(sklearns(name, labels, outputs.argmax(axis=1)), rel=1e-12)
    logit, labels = drawn("one", (batch, 1), seed)
    assert measured(name, logit, labels) == pytest.approx(sklearns(name, labels, logit[:, 0] > 0), rel=1e-12)


@law
@given(st.sampled_from(RATIOS), samples, st.integers(2, 5), seeds)
def test_ratios_of_several_labels_are_those_of_scikit_learn(name, batch, width, seed):
    outputs, labels = drawn("labels", (batch, width), seed)
    labels[:, 0] &= seed % 2 == 0  # a label that is never there
    assert measured(name, outputs, labels) == pytest.approx(sklearns(name, labels, outputs > 0), rel=1e-12)


@law
@given(samples, st.integers(2, 6), st.integers(1, 7), seeds)
def test_accuracy_and_top_k_are_those_of_scikit_learn(batch, classes, k, seed):
    rng = np.random.default_rng(seed)
    outputs, labels = rng.permuted(np.tile(np.arange(classes, dtype=np.float32), (batch, 1)), axis=1), None
    labels = rng.integers(0, classes, batch)
    assert measured("accuracy", outputs, labels) == reference.accuracy_score(labels, outputs.argmax(axis=1))
    assert measured("top_1", outputs, labels) == measured("accuracy", outputs, labels)
    if classes > 2 and k < classes:
        wanted = reference.top_k_accuracy_score(labels, outputs, k=k, labels=range(classes))
        assert measured(f"top_{k}", outputs, labels) == pytest.approx(wanted, rel=1e-12)
    assert measured(f"top_{classes}", outputs, labels) == 1


def test_of_equal_outputs_the_first_is_told():
    outputs = np.zeros((1, 3), np.float32)
    for label in range(3):
        found = [measured(name, outputs, np.array([label])) for name in ("accuracy", "top_1", "top_2", "top_3")]
        assert found == [label == 0, label == 0, label <= 1, True]


@law
@given(samples, st.integers(1, 5), seeds)
def test_accuracy_of_several_labels_is_the_share_of_right_answers(batch, width, seed):
    outputs, labels = drawn("labels", (batch, width), seed)
    assert measured("accuracy", outputs, labels) == pytest.approx(((outputs > 0) == labels).mean())


@law
@given(samples, st.integers(2, 6), seeds)
def test_log_loss_is_that_of_scikit_learn(batch, classes, seed):
    outputs, labels = drawn("classes", (batch, classes), seed)
    wanted = reference.log_loss(labels, softmax(outputs.astype(np.float64)), labels=range(classes))
    assert measured("log_loss", outputs, labels) == pytest.approx(wanted, rel=1e-9)
    logit, labels = drawn("one", (batch, 1), seed)
    wanted = reference.log_loss(labels, logistic(logit.astype(np.float64)), labels=[0, 1])
    assert measured("log_loss", logit, labels) == pytest.approx(wanted, rel=1e-9)
    outputs, labels = drawn("labels", (batch, classes), seed)
    scores = logistic(outputs.astype(np.float64))
    wanted = np.mean([reference.log_loss(labels[:, i], scores[:, i], labels=[0, 1]) for i in range(classes)])
    assert measured("log_loss", outputs, labels) == pytest.approx(wanted, rel=1e-9)


def test_log_loss_is_finite_where_probabilities_are_0():
    outputs = np.array([[1e4, -1e4]], np.float32)
    assert measured("log_loss", outputs, np.array([1])) == 2e4
    assert measured("log_loss", outputs, np.array([[False, True]])) == 1e4


def areas(members, scores):
    """scikit-learn's area of each column that has samples both in and out."""
    pairs = [(inside, column) for inside, column in zip(members.T, scores.T, strict=True) if len(set(inside)) == 2]
    return [reference.roc_auc_score(*pair) for pair in pairs] or [0.5]


@law
@given(samples, st.integers(3, 5), seeds)
def test_roc_auc_is_that_of_scikit_learn_over_the_classes_that_are_there(batch, classes, seed):
    outputs, labels = drawn("classes", (batch, classes), seed)
    scores, members = softmax(outputs.astype(np.float64)).round(12), labels[:, None] == np.arange(classes)
    assert measured("roc_auc", outputs, labels) == pytest.approx(np.mean(areas(members, scores)), rel=1e-9)
    if len(set(labels)) == classes:
        wanted = reference.roc_auc_score(labels, softmax(outputs.astype(np.float64)), multi_class="ovr")
        assert measured("roc_auc", outputs, labels) == pytest.approx(wanted, abs=1e-3)
    both, yes = outputs[:, :2], (labels > 0).astype(np.int64)
    difference = (both[:, 1].astype(np.float64) - both[:, 0])[:, None]
    assert measured("roc_auc", both, yes) == pytest.approx(areas(yes[:, None] == 1, difference)[0], rel=1e-12)
    assert measured("roc_auc", outputs[:, :1], yes) == pytest.approx(areas(yes[:, None], outputs[:, :1])[0], rel=1e-12)
    logits, labels = drawn("labels", (batch, classes), seed)
    assert measured("roc_auc", logits, labels) == pytest.approx(np.mean(areas(labels, logits)), rel=1e-12)


def test_roc_auc_counts_a_tie_half_and_is_that_of_guessing_where_nothing_can_be_ranked():
    outputs = np.array([[0.0], [1.0], [1.0], [2.0]], np.float32)
    assert measured("roc_auc", outputs, np.array([0, 0, 1, 1])) == 3.5 / 4
    assert measured("roc_auc", outputs, np.array([1, 1, 1, 1])) == 0.5


@law
@given(samples, st.integers(1, 4), st.sampled_from([0, 1e3, 1e6]), seeds)
def test_errors_of_numbers_are_those_of_scikit_learn(batch, width, centre, seed):
    outputs, targets = drawn("numbers", (batch, width), seed)
    outputs, targets = outputs + np.float32(centre), targets + np.float32(centre)
    exact = targets.astype(np.float64), outputs.astype(np.float64)
    assert measured("mae", outputs, targets) == pytest.approx(reference.mean_absolute_error(*exact), rel=1e-12)
    assert measured("rmse", outputs, targets) == pytest.approx(reference.root_mean_squared_error(*exact), rel=1e-12)
    if batch > 1:
        assert measured("r2", outputs, targets) == pytest.approx(reference.r2_score(*exact), rel=1e-9)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.5, 3.3e9, 1e-12])
def test_r2_of_targets_that_are_all_the_same_is_1_or_0(constant):
    targets = np.full((1000, 1), constant, np.float32)
    part, total = metric("r2"), np.zeros(4)
    for start in range(0, 1000, 7):
        batch = targets[start : start + 7]
        total += part.statistics(batch, batch, Buffers())
    assert part.value(total, 1000) == 1
    assert measured("r2", targets + np.float32(constant + 1), targets) == 0


def test_r2_keeps_its_digits_for_targets_that_differ_in_their_last_bit():
    targets = np.full((3001, 1), 1e7, np.float32)
    targets[::3] = np.nextafter(np.float32(1e7), np.float32(2e7))
    outputs = np.full_like(targets, 1e7)
    wanted = reference.r2_score(targets.astype(np.float64) - 1e7, outputs.astype(np.float64) - 1e7)
    assert measured("r2", outputs, targets) == pytest.approx(wanted, rel=1e-12)


# What holds for all of them


@law
@given(st.sampled_from([case for case in CASES if not metric(case[1]).whole]), samples, st.lists(samples), seeds)
def test_statistics_of_batches_add_up_to_those_of_all_however_they_are_cut(case, size, cuts, seed):
    kind, name = case
    outputs, labels = drawn(kind, (size, 3), seed)
    part, edges = metric(name), sorted({0, size, *(cut for cut in cuts if cut < size)})
    total = sum(part.statistics(outputs[a:b], labels[a:b], Buffers()) for a, b in itertools.pairwise(edges))
    assert part.value(total, size) == pytest.approx(measured(name, outputs, labels), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(("kind", "name"), CASES)
@pytest.mark.parametrize("shape", [(3, 1, 1), (3, 50, 2), (3, 200, 1), (2, 2, 33, 7), (3, 9000, 3)], ids=str)
def test_statistics_of_a_stack_are_its_members_bytes(kind, name, shape):
    outputs, labels = drawn(kind, shape, 1)
    part, stack = metric(name), shape[:-2]
    together = part.statistics(outputs, labels, Buffers())
    assert together.dtype == np.float64
    assert together.shape[:-1] == stack
    for index in np.ndindex(stack):
        alone = part.statistics(outputs[index], labels[index], Buffers())
        assert together[index].tobytes() == alone.tobytes()


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_a_metric_takes_outputs_of_64_bits_and_says_nothing(kind, name):
    outputs, labels = drawn(kind, (9, 3), 0)
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        found = measured(name, outputs.astype(np.float64), labels)
    assert found == pytest.approx(measured(name, outputs, labels), rel=1e-6)


# The confusion matrix


@law
@given(samples, st.integers(2, 6), seeds)
def test_the_confusion_matrix_and_its_classes_are_those_of_scikit_learn(batch, classes, seed):
    outputs, labels = drawn("classes", (batch, classes), seed)
    matrix, told = confusion(outputs, labels, classes), outputs.argmax(axis=1)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, reference.confusion_matrix(labels, told, labels=range(classes)))
    wanted = reference.precision_recall_fscore_support(labels, told, labels=range(classes), zero_division=0)
    for found, right in zip(per_class(matrix), wanted, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-12)


def test_the_confusion_matrix_of_one_logit_has_two_classes():
    logits = np.array([[-1.0], [0.0], [2.0]])
    np.testing.assert_array_equal(confusion(logits, np.array([0, 1, 1]), 2), [[1, 0], [1, 1]])


# Names


def test_a_name_gives_its_metric_and_top_takes_any_k():
    assert metric("top_3").k == 3
    assert metric("top_12").k == 12
    assert metric("accuracy").kind == "accuracy"
    for wrong in ("beauty", "top_0", "top_", "top_x", "top_03"):
        with pytest.raises(KeyError, match="there are accuracy, top_k, precision"):
            metric(wrong)


def test_directions_know_the_whole_family():
    assert [direction(name) for name in ("val_top_3", "r2", "roc_auc", "f1_micro")] == ["higher"] * 4
    assert [direction(name) for name in ("test_log_loss", "rmse", "val_mae")] == ["lower"] * 3
    assert is_better("val_top_2", 0.9, 0.8)
    assert not is_better("val_rmse", 0.9, 0.8)
    assert base_name("val_top_3") == "top_3"


def test_metrics_fit_tasks_and_losses():
    assert set(fitting("classification", "cross_entropy")) == {*METRICS} - {"mae", "rmse", "r2"}
    assert set(fitting("classification", "hinge")) == {*METRICS} - {"mae", "rmse", "r2", "log_loss"}
    assert set(fitting("multilabel", "binary_cross_entropy")) == {*METRICS} - {"mae", "rmse", "r2", "top_k"}
    assert fitting("regression", "huber") == ("mae", "rmse", "r2")
    assert [name for name, part in METRICS.items() if part.whole] == ["roc_auc"]
    assert [name for name, part in METRICS.items() if part.usual] == ["accuracy", "mae"]
