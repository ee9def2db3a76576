"""Retention: what a policy keeps, that the dry run says what the real one does, and what is told afterwards."""

from __future__ import annotations

import itertools
import math

import pytest
from sqlalchemy import func, insert, select, update

from service import retention
from service.errors import InputError
from service.expressions import condition
from service.retention import Policy
from service.store import blobs, points, space
from service.store.clock import after
from service.store.points import Point
from service.store.tables import Blob, Dataset, Outcome, Run
from service.store.transitions import WeightsKept

DAY = 86_400.0


def stage(yard, size=10):
    return blobs.stage(yard.database, bytes(size))


def trained(yard, value=None, *, name="digits", metric="val_accuracy", outcome=Outcome.COMPLETED, days=0.0) -> int:
    """A run that ended so many days ago with this value; it keeps 7 + 8 bytes of weights, and 20 when it failed."""
    claim = yard.claimed(name=name, spec={"max_attempts": 3, "metrics": ["accuracy"]})
    measured = [] if value is None else [Point(metric, 1, value, True)]
    yard.record(claim, *measured, epoch=1, checkpoint_id=stage(yard, 20))
    yard.finish(claim, outcome, weights=WeightsKept(stage(yard, 7), stage(yard, 8), "e" * 64))
    yard.set(claim.run_id, finished=after(-days * DAY))
    return claim.run_id


def plan(yard, **policy):
    return yard.ask(retention.plan, Policy(**policy))


def goes(planned, what="weights"):
    return [decision.run for decision in planned.going if decision.what == what]


def prune(yard, **policy):
    """What the dry run says, which is what is done, and nothing is left to do."""
    planned = plan(yard, **policy)
    before = total(yard)
    done = retention.carry_out(yard.database, planned, "ada@lovelace")
    assert (done.going, done.bytes) == (planned.going, planned.bytes)
    assert before - total(yard) == planned.bytes == sum(decision.bytes for decision in planned.going)
    assert plan(yard, **policy).going == []
    return done


def total(yard):
    return yard.ask(lambda session: session.scalar(select(func.sum(Blob.size))))


def has_weights(yard):
    return yard.ask(lambda session: session.scalars(select(Run.id).where(Run.weights_id.is_not(None))).all())


def old_blobs(yard):
    yard.do(lambda session: session.execute(update(Blob).values(touched=after(-3600))))


def test_the_best_of_each_name_are_kept(yard):
    runs = [trained(yard, value, name=name) for name in ("a", "b") for value in (0.5, 0.9, math.nan, None, 0.7)]
    assert goes(plan(yard, keep_best=2)) == [runs[0], runs[2], runs[3], runs[5], runs[7], runs[8]]
    assert prune(yard, keep_best=2).bytes == 6 * 15
    assert has_weights(yard) == [runs[1], runs[4], runs[6], runs[9]]
    assert goes(plan(yard, keep_best=0)) == [runs[1], runs[4], runs[6], runs[9]]


def test_of_a_loss_the_lowest_is_the_best(yard):
    runs = [trained(yard, value, metric="loss") for value in (0.5, 0.1, 0.3)]
    assert goes(plan(yard, keep_best=1)) == [runs[0], runs[2]]
    assert goes(plan(yard, keep_best=1, by="loss")) == [runs[0], runs[2]]


def test_of_equals_the_earliest_is_the_best_and_of_those_without_a_value_the_newest(yard):
    equal = [trained(yard, 0.5) for _ in range(2)]
    without = [trained(yard, name="none") for _ in range(2)]
    assert goes(plan(yard, keep_best=1)) == [equal[1], without[0]]


def test_what_counts_is_what_the_newest_completed_run_was_judged_by(yard):
    tested = [trained(yard, 0.1) for _ in range(2)]
    for run_id, value in zip(tested, (0.9, 0.5), strict=True):
        yard.do(points.store, run_id, [Point("test_accuracy", 1, value, True)])
    cancelled = trained(yard, 0.99, outcome=Outcome.CANCELLED)  # which was never tested
    assert goes(plan(yard, keep_best=1)) == [tested[1], cancelled]
    assert goes(plan(yard, keep_best=1, by="val_accuracy")) == tested


def test_each_decision_is_explained(yard):
    trained(yard, 0.5)
    trained(yard, 0.9)
    worst, best = plan(yard, keep_best=1).decisions
    assert (worst.goes, worst.bytes, worst.why) == (True, 15, "number 2 of 2: val_accuracy 0.5")
    assert (best.goes, best.bytes, best.why) == (False, 15, "number 1 of 2: val_accuracy 0.9")
    old, new = plan(yard, weights_after=DAY).decisions[0], trained(yard, days=3)
    assert (old.goes, old.why) == (False, "ended 1.0 s ago")
    assert plan(yard, weights_after=DAY, where=condition(f"id = {new}")).decisions[0].why == "ended 3d0h ago"


def test_without_a_word_about_them_weights_and_checkpoints_stay(yard):
    trained(yard, 0.5, outcome=Outcome.FAILED, days=1000)
    assert plan(yard).decisions == ()


def test_what_is_old_goes(yard):
    ages = (0.5, 1.5, 9)
    runs = [trained(yard, 0.5, outcome=Outcome.FAILED, days=days) for days in ages]
    assert goes(plan(yard, weights_after=DAY)) == runs[1:]
    done = prune(yard, checkpoints_after=2 * DAY)
    assert (goes(done, "checkpoint"), done.bytes) == ([runs[2]], 20)
    assert has_weights(yard) == runs


def test_weights_that_are_neither_new_nor_among_the_best_go(yard):
    old_best, old, new = (trained(yard, value, days=days) for value, days in ((0.9, 9), (0.5, 9), (0.6, 0.1)))
    assert goes(prune(yard, keep_best=1, weights_after=DAY)) == [old]
    assert has_weights(yard) == [old_best, new]


def test_only_runs_that_fit_are_looked_at(yard):
    runs = [trained(yard, value) for value in (0.9, 0.5, 0.7)]
    assert goes(plan(yard, keep_best=1, where=condition("val_accuracy < 0.8"))) == [runs[1]]


def test_runs_that_others_have_still_to_begin_with_keep_their_weights_and_it_is_said(yard):
    parent = trained(yard, 0.5, outcome=Outcome.FAILED)
    child = yard.submit(spec={"begin": {"run": parent}})
    decision = plan(yard, keep_best=0).decisions[0]
    assert (decision.goes, decision.why) == (False, "a run that is yet to be trained begins with it")
    assert goes(plan(yard, checkpoints_after=0.0), "checkpoint") == [parent]
    yard.cancel(child)
    assert goes(prune(yard, keep_best=0)) == [parent]


def test_a_run_that_is_retried_between_plan_and_deed_keeps_what_it_has(yard):
    first, second = (trained(yard, 0.5, outcome=Outcome.FAILED) for _ in range(2))
    planned = plan(yard, keep_best=0, checkpoints_after=0.0)
    yard.retry(first)
    done = retention.carry_out(yard.database, planned, "ada")
    assert (goes(done), goes(done, "checkpoint"), done.bytes) == ([second], [second], 35)
    assert yard.row(first).checkpoint_id is not None


@pytest.mark.parametrize("leave", list(itertools.combinations(range(3), 2)), ids=str)
def test_shared_weights_are_counted_once_and_go_with_the_last_run(yard, leave):
    """Whichever two of three runs give up weights that all have: nothing goes; with the third it does."""
    runs = [trained(yard, value) for value in (0.5, 0.6, 0.7)]
    shared = yard.row(runs[0]).weights_id
    for run_id in runs[1:]:
        yard.set(run_id, weights_id=shared)
    old = yard.ask(lambda session: session.scalar(select(func.count()).select_from(Blob)))
    fits = condition(f"id in ({', '.join(str(runs[i]) for i in leave)})")
    assert prune(yard, keep_best=0, where=fits).bytes == 16
    assert prune(yard, keep_best=0).bytes == 15
    assert old - yard.ask(lambda session: session.scalar(select(func.count()).select_from(Blob))) == 4


def test_a_dataset_goes_when_no_run_has_it_and_nobody_has_just_looked_for_it(yard):
    unused, blob_id = "f" * 64, stage(yard, 30)
    values = {"sha256": unused, "source": "iris", "schema": {}, "blob_id": blob_id}
    yard.do(lambda session: session.execute(insert(Dataset).values(values)))
    yard.submit()
    assert plan(yard).decisions == ()
    old_blobs(yard)
    [decision] = prune(yard).going
    assert (decision.name, decision.bytes, decision.why) == (unused, 30, "no run uses it; it was iris")
    assert yard.ask(lambda session: session.scalars(select(Dataset.sha256)).all()) == ["d" * 64]


def test_a_dataset_that_got_a_run_between_plan_and_deed_stays(yard):
    old_blobs(yard)
    planned = plan(yard)
    assert goes(planned, "dataset") == [None]
    yard.submit()
    assert retention.carry_out(yard.database, planned, "ada").going == []


def test_what_nothing_points_at_goes(yard):
    trained(yard)
    stage(yard, 11)
    old_blobs(yard)
    stage(yard, 12)
    assert [(decision.what, decision.bytes) for decision in prune(yard).going] == [("leftovers", 20 + 11)]


@pytest.mark.parametrize(("policy", "sentence"), [
    ({"by": "val_loss"}, "--by says what is best: it needs --keep-best"),
    ({"by": "val_acuracy", "keep_best": 1}, "there is no metric 'val_acuracy'; did you mean 'val_accuracy'?"),
    ({"by": "speed", "keep_best": 1}, "there is no metric 'speed': use one of loss, accuracy"),
])  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(policy, sentence):
    with pytest.raises(InputError, match=sentence):
        retention.check(Policy(**policy))


def test_space_is_split_by_what_takes_it(yard):
    for _ in range(3):
        trained(yard, 0.5, outcome=Outcome.FAILED)
    claim = yard.claimed()
    yard.record(claim, epoch=1, checkpoint_id=stage(yard, 100))
    yard.do(lambda session: session.execute(
        insert(Dataset).values(sha256="f" * 64, source="iris", schema={}, blob_id=stage_in(session, 1000))
    ))  # fmt: skip
    found = yard.ask(space.measure)
    assert (found.runs, found.weights, found.checkpoints, found.datasets) == (4, 45, 160, 1000)
    assert found.prunable == 60
    old_blobs(yard)
    assert yard.ask(space.measure).prunable == 60 + 1000
    parts = found.metrics + found.logs + found.weights + found.checkpoints + found.datasets + found.rest + found.free
    assert parts == found.database > 100_000
    assert found.metrics > 0


def stage_in(session, size):
    return session.scalar(insert(Blob).values(sha256="0" * 64, size=size).returning(Blob.id))


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_compacting_gives_back_what_was_removed(yard):
    staged = stage(yard, 10**6)
    assert yard.ask(space.measure).free < 10**5
    blobs.remove(yard.database, staged)
    before = yard.ask(space.measure)
    assert before.free > 10**6 - 10**5
    yard.database.compact()
    after_it = yard.ask(space.measure)
    assert (after_it.free, after_it.database < before.database - 9 * 10**5) == (0, True)
