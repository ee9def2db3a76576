"""What an attempt records: every point once, and summaries that lists can trust."""

from __future__ import annotations

import math

import pytest

from service.store import history
from service.store.points import Point
from service.store.records import MetricSummary

NAN = math.nan


def loss(epoch, value):
    return Point("loss", epoch, value, higher_is_better=False)


def accuracy(epoch, value):
    return Point("accuracy", epoch, value, higher_is_better=True)


def curves(yard, claim, after_epoch=0):
    return yard.ask(history.curves, claim.run_id, after_epoch)


def summary(yard, claim, name="loss"):
    return yard.run(claim.run_id).metrics[name]


@pytest.fixture
def claim(yard):
    return yard.claimed()


def test_a_run_without_points_has_no_metrics(yard, claim):
    assert (yard.run(claim.run_id).metrics, curves(yard, claim)) == ({}, [])


def test_points_come_back_by_epoch(yard, claim):
    yard.record(claim, accuracy(2, 0.9), loss(1, 0.5), epoch=2)
    yard.record(claim, accuracy(1, 0.8), loss(2, 0.4))
    rows = [{"epoch": 1, "accuracy": 0.8, "loss": 0.5}, {"epoch": 2, "accuracy": 0.9, "loss": 0.4}]
    assert curves(yard, claim) == rows
    assert curves(yard, claim, after_epoch=1) == rows[1:]


def test_the_points_of_another_run_are_not_mixed_in(yard, claim):
    other = yard.claimed()
    yard.record(claim, loss(1, 0.5))
    yard.record(other, loss(1, 0.1))
    assert (curves(yard, claim), summary(yard, claim).best) == ([{"epoch": 1, "loss": 0.5}], 0.5)


def test_a_report_sent_again_changes_nothing(yard, claim):
    """After a commit whose answer was lost, the worker sends the same report again."""

    def report():
        yard.record(claim, loss(1, 0.5), loss(2, 0.3), accuracy(2, 0.9), epoch=2, samples=100, seconds=1.5)
        return curves(yard, claim), yard.run(claim.run_id), yard.attempts(claim.run_id)

    assert report() == report()
    [attempt] = yard.attempts(claim.run_id)
    assert (attempt.epoch, attempt.samples, attempt.seconds) == (2, 100, 1.5)


def test_a_renewal_without_news_leaves_epoch_and_attempt_as_they_are(yard, claim):
    yard.record(claim, loss(3, 0.5), epoch=3, samples=100, seconds=1.5, checkpoint_id=yard.blob_id)
    before = yard.run(claim.run_id), yard.attempts(claim.run_id), yard.row(claim.run_id).checkpoint_id
    yard.record(claim)
    assert (yard.run(claim.run_id), yard.attempts(claim.run_id), yard.row(claim.run_id).checkpoint_id) == before


def test_a_point_that_is_there_stays_as_it_is(yard, claim):
    yard.record(claim, loss(1, 0.5))
    yard.record(claim, loss(1, 0.7))
    assert curves(yard, claim) == [{"epoch": 1, "loss": 0.5}]


LOSSES = [0.9, 0.4, 0.6]


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_a_summary_is_the_same_in_whatever_batches_the_points_come(yard, claim, batch):
    points = [point for epoch, value in enumerate(LOSSES, 1) for point in (loss(epoch, value), accuracy(epoch, value))]
    for start in range(0, len(points), 2 * batch):
        yard.record(claim, *points[start : start + 2 * batch])
    assert summary(yard, claim, "loss") == MetricSummary(last=0.6, best=0.4, best_epoch=2)
    assert summary(yard, claim, "accuracy") == MetricSummary(last=0.6, best=0.9, best_epoch=1)


@pytest.mark.parametrize("together", [True, False])
def test_the_earliest_of_equal_values_is_best(yard, claim, together):
    for points in [[loss(1, 0.5), loss(2, 0.5)]] if together else [[loss(1, 0.5)], [loss(2, 0.5)]]:
        yard.record(claim, *points)
    assert summary(yard, claim) == MetricSummary(last=0.5, best=0.5, best_epoch=1)


def test_a_best_of_zero_or_below_is_kept(yard, claim):
    for epoch, value in enumerate([0.5, 0.0, -2.0, 0.0], 1):
        yard.record(claim, loss(epoch, value), accuracy(epoch, -value))
    assert summary(yard, claim, "loss") == MetricSummary(last=0.0, best=-2.0, best_epoch=3)
    assert summary(yard, claim, "accuracy") == MetricSummary(last=0.0, best=2.0, best_epoch=3)


def test_epochs_told_again_after_a_resume_disturb_neither_last_nor_best(yard, claim):
    """The checkpoint was of epoch 1, the metrics went to epoch 3: epochs 2 and 3 are trained and told once more."""
    points = [loss(epoch, value) for epoch, value in enumerate(LOSSES, 1)]
    yard.record(claim, *points, epoch=3)
    yard.lose(claim)
    again, before = yard.claim(), yard.run(claim.run_id).metrics
    for _ in range(2):
        yard.record(again, points[1], epoch=2)
    run = yard.run(claim.run_id)
    assert (run.epoch, run.metrics) == (3, before)
    yard.record(again, points[2], loss(4, 0.3), epoch=4)
    assert summary(yard, claim) == MetricSummary(last=0.3, best=0.3, best_epoch=4)
    assert [row["loss"] for row in curves(yard, claim)] == [0.9, 0.4, 0.6, 0.3]


def shown(record):
    return str((record.last, record.best, record.best_epoch))  # NaN equals nothing, but its text does


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, NAN], (NAN, 0.5, 1)),
        ([NAN, 0.5], (0.5, 0.5, 2)),
        ([0.5, NAN, 0.4, 0.6], (0.6, 0.4, 3)),
        ([NAN], (NAN, NAN, 1)),
    ],
    ids=str,
)
def test_nan_is_kept_as_nan_and_is_never_best(yard, claim, values, expected, together):
    points = [make(epoch, value) for epoch, value in enumerate(values, 1) for make in (loss, accuracy)]
    for batch in [points] if together else [[point] for point in points]:
        yard.record(claim, *batch)
    assert [str(row["loss"]) for row in curves(yard, claim)] == [str(value) for value in values]
    assert shown(summary(yard, claim, "loss")) == str(expected)


def test_a_loss_that_grew_beyond_all_numbers_is_kept_as_infinite(yard, claim):
    yard.record(claim, loss(1, 2.0), loss(2, math.inf))
    assert summary(yard, claim) == MetricSummary(last=math.inf, best=2.0, best_epoch=1)


def test_numbers_come_back_to_the_last_bit(yard, claim):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, -(2**53 + 1.0)]
    yard.record(claim, *(loss(epoch, value) for epoch, value in enumerate(values, 1)))
    assert [row["loss"].hex() for row in curves(yard, claim)] == [value.hex() for value in values]


def test_numbers_that_are_none_are_null_in_json(yard, claim):
    yard.record(claim, loss(1, NAN))
    assert yard.run(claim.run_id).json()["metrics"] == {"loss": {"last": None, "best": None, "best_epoch": 1}}
