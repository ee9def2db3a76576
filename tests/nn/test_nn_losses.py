"""Losses: gradients by central differences, weights as repetition, PyTorch's definitions, and no number too large."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import assert_close, law, slope, targets_for

from nn import (
    LOSSES,
    BinaryCrossEntropy,
    Buffers,
    CrossEntropy,
    Hinge,
    Huber,
    MeanAbsoluteError,
    MeanSquaredError,
    Quadratic,
    one_hot,
    softmax,
)
from nn.losses import logistic

sizes = st.integers(1, 5)
seeds = st.integers(0, 2**32 - 1)
stacks = st.sampled_from([(), (1,), (3,), (2, 2)])
VARIANTS = [*(loss() for loss in LOSSES.values()), CrossEntropy(0.2), Huber(0.3), Hinge(2.5)]
variants = st.sampled_from(VARIANTS)
each_variant = pytest.mark.parametrize("loss", VARIANTS, ids=repr)


def drawn(loss, shape, seed, spread=2.0):
    rng = np.random.default_rng(seed)
    return rng.normal(0, spread, shape), targets_for(loss, rng, shape), rng.uniform(0.1, 3, shape[:-1])


@law
@given(variants, sizes, sizes, stacks, st.booleans(), seeds)
def test_a_loss_has_the_gradient_of_central_differences(loss, batch, width, stack, weighted, seed):
    outputs, targets, weights = drawn(loss, (*stack, batch, width), seed)
    weights = weights if weighted else None
    value, gradient = loss(outputs, targets, Buffers(), weights)
    assert value.shape == stack
    assert_close(gradient, slope(lambda: float(loss.value(outputs, targets, None, weights).sum()), outputs))
    np.testing.assert_allclose(loss.value(outputs, targets, Buffers(), weights), value, rtol=1e-12)


@law
@given(variants, sizes, sizes, seeds)
def test_a_whole_weight_is_as_good_as_so_many_copies_and_0_as_none(loss, batch, width, seed):
    outputs, targets, _ = drawn(loss, (batch, width), seed)
    counts = np.random.default_rng(seed).integers(0, 4, batch)
    counts[0] += 1
    repeated = np.repeat(np.arange(batch), counts)
    weighted, gradient = loss(outputs, targets, Buffers(), counts.astype(np.float32))
    wanted, copies = loss(outputs[repeated], targets[repeated], Buffers())
    np.testing.assert_allclose(weighted, wanted, rtol=1e-9)
    np.testing.assert_allclose(gradient[counts > 0].sum(axis=0), copies.sum(axis=0), rtol=1e-9, atol=1e-12)
    assert not gradient[counts == 0].any()


@each_variant
def test_weights_of_0_alone_give_no_loss_and_no_gradient(loss):
    outputs, targets, _ = drawn(loss, (4, 3), 0)
    value, gradient = loss(outputs, targets, Buffers(), np.zeros(4, np.float32))
    assert value == 0
    assert not gradient.any()


@each_variant
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_and_its_gradient_have_the_type_of_the_outputs(loss, dtype):
    outputs, targets, weights = drawn(loss, (4, 3), 0)
    for given_weights in (None, weights.astype(np.float32), weights):
        value, gradient = loss(outputs.astype(dtype), targets, Buffers(), given_weights)
        assert (value.dtype, gradient.dtype) == (dtype, dtype)


@each_variant
def test_a_loss_leaves_outputs_targets_and_weights_alone(loss):
    outputs, targets, weights = drawn(loss, (4, 3), 0)
    for array in (outputs, targets, weights):
        array.flags.writeable = False
    loss(outputs, targets, Buffers(), weights)
    loss.value(outputs, targets)


@each_variant
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_a_loss_is_finite_and_silent_for_huge_outputs(loss, size):
    outputs = np.array([[size, 0, 0], [0, size, -size], [size, size, size]], np.float32)
    targets = targets_for(loss, np.random.default_rng(0), (3, 3))
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        value, gradient = loss(outputs, targets.astype(np.float32) if targets.ndim > 1 else targets, Buffers())
        scores = loss.scores(outputs)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()
    assert np.isfinite(scores).all()


@law
@given(sizes, st.integers(2, 5), st.floats(0, 0.9), seeds)
def test_label_smoothing_is_the_cross_entropy_with_softened_targets(batch, classes, smoothing, seed):
    outputs, labels, _ = drawn(CrossEntropy(), (batch, classes), seed)
    softened = (1 - smoothing) * np.eye(classes)[labels] + smoothing / classes
    wanted = -(softened * np.log(softmax(outputs))).sum(axis=-1).mean()
    np.testing.assert_allclose(CrossEntropy(smoothing).value(outputs, labels), wanted, rtol=1e-9)


@law
@given(sizes, seeds)
def test_one_logit_is_as_good_as_two_of_which_the_first_is_0(batch, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(0, 3, (batch, 1)), rng.integers(0, 2, batch)
    both = np.concatenate([np.zeros_like(logits), logits], axis=1)
    binary = BinaryCrossEntropy()
    value, gradient = binary(logits, binary.targets(labels, 1), Buffers())
    wanted, pair = CrossEntropy()(both, labels, Buffers())
    np.testing.assert_allclose(value, wanted, rtol=1e-9)
    np.testing.assert_allclose(gradient, pair[:, 1:], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(binary.scores(logits), CrossEntropy().scores(both)[:, 1:], rtol=1e-12)


@law
@given(sizes, sizes, seeds)
def test_quadratic_is_half_the_squares_summed_over_the_outputs(batch, width, seed):
    outputs, targets = np.random.default_rng(seed).normal(size=(2, batch, width))
    value, gradient = Quadratic()(outputs, targets, Buffers())
    np.testing.assert_allclose(value, 0.5 * np.square(outputs - targets).sum(axis=1).mean(), rtol=1e-12)
    np.testing.assert_allclose(gradient, (outputs - targets) / batch, rtol=1e-12)


def test_cross_entropy_of_known_logits():
    outputs = np.log(np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]))
    value, gradient = CrossEntropy()(outputs, np.array([0, 1]), Buffers())
    assert value == pytest.approx(-(np.log(0.7) + np.log(0.8)) / 2)
    np.testing.assert_allclose(gradient, [[-0.15, 0.1, 0.05], [0.05, -0.1, 0.05]])


def test_mse_is_the_mean_over_batch_and_outputs():
    value, gradient = MeanSquaredError()(np.array([[1.0, 3.0]]), np.array([[0.0, 1.0]]), Buffers())
    assert value == 2.5
    np.testing.assert_allclose(gradient, [[1.0, 2.0]])


def test_huber_is_squared_near_the_target_and_grows_in_proportion_far_from_it():
    value, gradient = Huber(2.0)(np.array([[1.0], [5.0]]), np.zeros((2, 1)), Buffers())
    assert value == (0.5 + 2 * (5 - 1)) / 2
    np.testing.assert_array_equal(gradient, [[0.5], [1.0]])


def test_hinge_is_0_once_the_right_class_leads_by_the_margin():
    outputs = np.array([[3.0, 1.0, 1.5]])
    assert Hinge(1.5).value(outputs, np.array([0])) == 0
    value, gradient = Hinge(2.0)(outputs, np.array([0]), Buffers())
    assert value == pytest.approx(0.5 / 3)
    np.testing.assert_allclose(gradient, [[-1 / 3, 0, 1 / 3]])


def test_logistic_keeps_its_digits_at_both_ends():
    found = logistic(np.array([-80.0, 0.0, 80.0], np.float32))
    np.testing.assert_allclose(found, [np.exp(-80.0), 0.5, 1.0], rtol=1e-6)


# Labels


@pytest.mark.parametrize("loss", [MeanSquaredError(), Quadratic()], ids=repr)
def test_integer_labels_become_one_hot_for_squared_differences(loss):
    targets = loss.targets(np.array([2, 0]), 3)
    np.testing.assert_array_equal(targets, [[0, 0, 1], [1, 0, 0]])
    assert targets.dtype == np.float32


def test_labels_of_yes_and_no_become_columns_of_0_and_1():
    binary = BinaryCrossEntropy()
    for labels in (np.array([1, 0]), np.array([[True], [False]]), np.array([[1.0], [0.0]])):
        targets = binary.targets(labels, 1)
        np.testing.assert_array_equal(targets, [[1], [0]])
        assert targets.dtype == np.float32


@pytest.mark.parametrize("labels", [np.array([0, 3]), np.array([-1, 0]), np.array([0.5])])
def test_labels_the_network_cannot_answer_are_refused(labels):
    for refused in (one_hot, CrossEntropy().targets, Hinge().targets):
        with pytest.raises(ValueError, match="labels"):
            refused(labels, 3)


@pytest.mark.parametrize(
    ("loss", "labels", "outputs", "sentence"),
    [
        (BinaryCrossEntropy(), np.array([0, 1]), 2, "two classes need one output with binary_cross_entropy"),
        (BinaryCrossEntropy(), np.array([0, 2]), 1, "labels 0 to 1; these are 0 to 2"),
        (BinaryCrossEntropy(), np.array([[0.0, 0.5]]), 2, "all 0 or 1; for other numbers use mse"),
        (BinaryCrossEntropy(), np.zeros((2, 3)), 2, "the targets have 3 columns, and the network has 2 outputs"),
        (MeanSquaredError(), np.zeros((2, 3)), 2, "the targets have 3 columns, and the network has 2 outputs"),
        (MeanAbsoluteError(), np.zeros((2, 3)), 2, "the targets have 3 columns, and the network has 2 outputs"),
        (MeanAbsoluteError(), np.array([0, 1]), 2, "mae compares with numbers .*; use cross_entropy"),
        (Huber(), np.array([0, 1]), 2, "huber compares with numbers .*; use cross_entropy"),
    ],
)  # fmt: skip
def test_labels_of_another_kind_are_refused_with_a_sentence(loss, labels, outputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        loss.targets(labels, outputs)


# What a network needs for them


def test_a_loss_says_how_many_outputs_the_network_needs():
    for name in ("cross_entropy", "hinge", "mse", "quadratic"):
        assert [LOSSES[name]().units(classes, 1) for classes in (2, 10)] == [2, 10]
    for name in ("mse", "quadratic", "mae", "huber", "binary_cross_entropy"):
        assert LOSSES[name]().units(0, 4) == 4
    assert BinaryCrossEntropy().units(2, 1) == 1
    with pytest.raises(ValueError, match="tells two classes apart, and there are 3; use cross_entropy"):
        BinaryCrossEntropy().units(3, 1)


def test_scores_are_probabilities_where_the_loss_makes_them_so_and_the_outputs_elsewhere():
    outputs = np.array([[1.0, -2.0, 0.5]])
    for name, loss in LOSSES.items():
        scores = loss().scores(outputs)
        assert loss.probabilistic == (name in ("cross_entropy", "binary_cross_entropy"))
        assert (scores is outputs) != loss.probabilistic
    assert CrossEntropy().scores(outputs).sum() == pytest.approx(1)


def test_a_loss_that_contains_its_softmax_or_sigmoid_takes_linear_outputs_only():
    for name in ("cross_entropy", "binary_cross_entropy", "hinge"):
        assert LOSSES[name].output_activations == {"linear"}
    for name in ("mse", "quadratic", "mae", "huber"):
        assert {"linear", "sigmoid", "tanh", "softmax"} < LOSSES[name].output_activations


def test_only_binary_cross_entropy_takes_several_labels_at_once():
    assert [name for name, loss in LOSSES.items() if "multilabel" in loss.tasks] == ["binary_cross_entropy"]
