"""A run and its replay are compared to the last bit, in what the store holds of both."""

from __future__ import annotations

import math

import pytest

from service.errors import InputError
from service.replaying import compare
from service.spec import parse
from service.store import transitions
from service.store.points import Point, StepPoint
from service.store.tables import Outcome
from service.store.transitions import WeightsKept, WrongState

SPEC = parse("version: 1\ndata: {source: digits}\nnetwork: [{dense: 4}]\n", "spec").document()
OTHER = SPEC | {"seed": 5}
ADA = {"host": "ada", "blas_kernel": "Haswell"}


def loss(epoch, value):
    return Point("loss", epoch, value, higher_is_better=False)


def trained(yard, values, sha256="a", environment=ADA, spec=SPEC, steps=(), outcome=Outcome.COMPLETED, **changes):
    """A run with this loss in each epoch, the accuracy 0.5, and this hash of its weights."""
    run_id = yard.submit(spec=spec, **changes)
    claim = yard.do(transitions.claim, "default", "ada", 7, 60, environment)
    points = [point for epoch, value in enumerate(values, 1) for point in (loss(epoch, value), accuracy(epoch))]
    yard.record(claim, *points, epoch=len(values), steps=[StepPoint("loss", *step) for step in steps])
    kept = WeightsKept(yard.blob_id, yard.blob_id, sha256 * 64)
    yard.finish(claim, outcome, weights=kept if outcome is Outcome.COMPLETED else None)
    return run_id


def accuracy(epoch):
    return Point("accuracy", epoch, 0.5, higher_is_better=True)


VALUES = [0.5, 0.25, math.nan, 0.125, math.inf]


def test_a_replay_with_the_same_weights_and_metrics_is_the_same(yard):
    found = yard.ask(compare, trained(yard, VALUES, steps=[(1, 0.5)]), trained(yard, VALUES, steps=[(1, 0.5)]))
    assert (found.same, found.difference, found.step, found.environment) == (True, None, None, [])
    assert found.weights_sha256 == ("a" * 64, "a" * 64)


@pytest.mark.parametrize("epoch", [1, 2, 3, 4, 5])
def test_the_first_epoch_with_another_value_is_told_with_both(yard, epoch):
    later = [1.0 if math.isnan(value) else value + 2**-50 for value in VALUES[epoch - 1 : 4]]
    others = [*VALUES[: epoch - 1], *later, 3.0]
    found = yard.ask(compare, trained(yard, VALUES), trained(yard, others, "b"))
    assert not found.same
    assert found.difference.epoch == epoch
    assert found.difference.metrics.keys() == {"loss"}
    assert repr(found.difference.metrics["loss"]) == repr((VALUES[epoch - 1], others[epoch - 1]))


@pytest.mark.parametrize("short_one", ["run", "replay"])
def test_an_epoch_that_only_one_of_them_has_differs(yard, short_one):
    few, all_of = trained(yard, VALUES[:2]), trained(yard, VALUES, "b")
    pair = (few, all_of) if short_one == "run" else (all_of, few)
    found = yard.ask(compare, *pair)
    assert found.difference.epoch == 3
    assert [value is None for value in found.difference.metrics["accuracy"]] == [run == few for run in pair]


def test_other_weights_after_the_same_metrics_are_not_the_same(yard):
    found = yard.ask(compare, trained(yard, VALUES), trained(yard, VALUES, "b"))
    assert (found.same, found.difference) == (False, None)


def test_what_differs_of_the_machines_and_decides_bytes_is_told(yard):
    other = {"host": "bob", "blas_kernel": "Zen"}
    found = yard.ask(compare, trained(yard, VALUES), trained(yard, VALUES, "b", other))
    assert found.environment == ["blas_kernel: Haswell -> Zen"]


def test_the_first_step_that_differs_is_told_where_both_have_kept_some(yard):
    run = trained(yard, VALUES, steps=[(10, 0.5), (20, 0.25), (30, 0.1)])
    other = trained(yard, VALUES, "b", steps=[(10, 0.5), (20, 0.26), (30, 0.2)])
    assert yard.ask(compare, run, other).step == 20
    assert yard.ask(compare, run, trained(yard, VALUES)).step is None


def test_a_replay_that_failed_is_not_the_same_and_told_as_far_as_it_got(yard):
    found = yard.ask(compare, trained(yard, VALUES), trained(yard, VALUES[:3], outcome=Outcome.FAILED))
    assert (found.same, found.state, found.difference.epoch) == (False, "failed", 4)


def test_runs_that_have_not_ended_or_are_no_replay_are_refused(yard):
    run, failed = trained(yard, VALUES), trained(yard, VALUES, outcome=Outcome.FAILED)
    with pytest.raises(WrongState, match=f"run {failed} is failed; only a completed run can be compared with a replay"):
        yard.ask(compare, failed, run)
    other = trained(yard, VALUES, spec=OTHER)
    with pytest.raises(InputError, match=f"run {other} is no replay of run {run}: it was trained from another spec"):
        yard.ask(compare, run, other)
    with pytest.raises(WrongState, match="is queued; only a completed, failed or cancelled run can be compared"):
        yard.ask(compare, run, yard.submit(spec=SPEC))


def test_a_run_from_before_a_key_of_the_spec_was_there_has_replays(yard):
    train = {key: value for key, value in SPEC["train"].items() if key != "log_every"}
    assert yard.ask(compare, trained(yard, VALUES, spec=SPEC | {"train": train}), trained(yard, VALUES)).same
