"""An epoch's loss and metrics are those of its samples, each with its weight, however they were cut into batches."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nn_tools import assert_close, blobs, law, seeds

from nn import (
    LOSSES,
    METRICS,
    BinaryCrossEntropy,
    Buffers,
    CrossEntropy,
    Data,
    Dense,
    MeanSquaredError,
    Momentum,
    Network,
    Plan,
    Sgd,
    State,
    evaluate,
    fitting,
    metric,
    train,
)
from nn.totals import Totals


def trained64(plan: Plan, data: Data) -> tuple[State, list[dict[str, float]]]:
    state = State.start(plan, np.float64)
    return state, [epoch.metrics for epoch in train(plan, state, data)]


def plan_of(loss=CrossEntropy(), outputs=3, **changes) -> Plan:  # noqa: B008
    given = {"optimizer": Sgd(0.1), "epochs": 2, "batch_size": 1000, "seed": 4, **changes}
    return Plan(Network([Dense(4, "tanh"), Dense(outputs)], (5,)), loss, **given)


# Sample weights


@law
@given(st.lists(st.integers(0, 3), min_size=2, max_size=20), st.sampled_from(["cross_entropy", "mse", "hinge"]), seeds)
def test_a_whole_weight_is_as_good_as_so_many_copies(counts, loss, seed):
    assume(sum(counts))
    rng, counts = np.random.default_rng(seed), np.array(counts)
    data = Data(rng.normal(size=(len(counts), 5)), rng.integers(0, 3, len(counts)))
    weighted = dataclasses.replace(data, weights=counts.astype(np.float32))
    plan = plan_of(LOSSES[loss](), optimizer=Momentum(0.1), l2=0.01)
    one, history = trained64(plan, weighted)
    other, copies = trained64(plan, data.take(np.repeat(np.arange(len(counts)), counts)))
    assert_close(one.parameters.flat, other.parameters.flat)
    assert [entry["loss"] for entry in history] == pytest.approx([entry["loss"] for entry in copies], rel=1e-5)


@pytest.mark.parametrize("size", [1, 4])
def test_batches_that_weigh_nothing_change_nothing_and_do_not_count(size):
    data = blobs(12)
    weights = np.repeat([1, 0, 2], 4).astype(np.float32)
    plan = plan_of(batch_size=size, optimizer=Sgd(1e-30))
    state, (first, _) = trained64(plan, dataclasses.replace(data, weights=weights))
    start = State.start(plan, np.float64)
    assert state.parameters.flat == pytest.approx(start.parameters.flat, abs=1e-20)
    rows = np.repeat(np.arange(12), weights.astype(int))
    assert first["loss"] == pytest.approx(evaluate(plan, start.parameters, data.take(rows))["loss"], rel=1e-6)
    assert np.isfinite(first["loss"])


def test_evaluation_weighs_the_loss_and_counts_every_sample_in_the_metrics():
    data, weights = blobs(600), np.random.default_rng(0).uniform(0, 3, 600).astype(np.float32)
    plan = plan_of(metrics=("accuracy",), batch_size=7)
    state = State.start(plan)
    found = evaluate(plan, state.parameters, dataclasses.replace(data, weights=weights))
    logits = plan.network.predict(state.parameters, data.features)
    each = [float(CrossEntropy().value(logits[row : row + 1], data.labels[row : row + 1])) for row in range(600)]
    assert found["loss"] == pytest.approx(np.average(each, weights=weights), rel=1e-5)
    assert found["accuracy"] == (logits.argmax(axis=-1) == data.labels).mean()


# The sums


@law
@given(st.integers(2, 40), st.lists(st.integers(1, 12), max_size=5), seeds)
def test_how_the_samples_were_cut_into_batches_does_not_show(samples, cuts, seed):
    rng = np.random.default_rng(seed)
    names = fitting("classification", "cross_entropy")
    outputs = rng.normal(size=(samples, 3)).astype(np.float32)
    labels, losses = rng.integers(0, 3, samples), rng.uniform(size=samples)
    whole, parts, buffers = totals_of(names), totals_of(names), Buffers()
    whole.add(losses.mean(), samples, outputs, labels, buffers)
    places = np.cumsum([0, *cuts])
    for begin, end in zip(places, [*places[1:], samples], strict=True):
        if begin < min(end, samples):
            part = slice(begin, min(end, samples))
            taken = losses[part]
            parts.add(taken.mean(), len(taken), outputs[part], labels[part], buffers)
    assert parts.values() == pytest.approx(whole.values())
    assert list(whole.values()) == ["loss", *(name for name in names if not METRICS[name].whole)]


def totals_of(names) -> Totals:
    return Totals({name: metric(name) for name in names})


def test_sums_survive_being_written_down():
    totals = totals_of(["accuracy", "f1", "top_2"])
    assert Totals.from_document(totals.metrics, totals.document()).document() == totals.document()
    totals.add(0.1, 3.0, np.eye(3, dtype=np.float32), np.arange(3), Buffers())
    again = Totals.from_document(totals.metrics, totals.document())
    assert again.values() == totals.values()
    assert again.document() == totals.document()


def test_a_split_that_weighs_nothing_has_no_loss():
    totals = totals_of([])
    totals.add(0.0, 0.0, np.zeros((2, 3)), np.zeros(2, np.int64), Buffers())
    assert np.isnan(totals.values()["loss"])


@pytest.mark.parametrize(
    ("loss", "labels", "outputs"),
    [
        (CrossEntropy(), np.arange(30) % 3, 3),
        (MeanSquaredError(), np.arange(60.0).reshape(30, 2), 2),
        (BinaryCrossEntropy(), (np.arange(60.0).reshape(30, 2) % 3 > 1).astype(np.float32), 2),
    ],
    ids=["classes", "numbers", "labels"],
)
def test_every_metric_that_fits_is_measured_in_training_and_on_validation(loss, labels, outputs):
    task = "multilabel" if "multilabel" in loss.tasks else "regression" if labels.ndim == 2 else "classification"
    names = fitting(task, loss.kind)
    plan = plan_of(loss, outputs, metrics=names, batch_size=7, optimizer=Sgd(0.001), epochs=1)
    data = Data(np.random.default_rng(0).normal(size=(30, 5)), labels)
    (epoch,) = train(plan, State.start(plan), data, data)
    running = [name for name in names if not METRICS[name].whole]
    assert list(epoch.metrics) == ["loss", *running, "val_loss", *(f"val_{name}" for name in names)]
