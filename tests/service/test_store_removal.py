"""Removing runs: nothing of theirs stays, all of the others' does, and nobody meets half a run."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import func, select

from service.store import blobs, notices, removal, transitions
from service.store.logs import Line
from service.store.points import Point
from service.store.removal import NotEnded, ParentGone, Removed
from service.store.tables import Base, Blob, Chunk, Dataset, Edit, Level, Outcome, Run, State, StepMetric, Wish
from service.store.transitions import BeingRemoved, LeaseLost, WeightsKept

OWNED = [table for table in Base.metadata.sorted_tables if "run_id" in table.c]
POINTS = [Point(name, epoch, 0.5, True) for name in ("accuracy", "val_accuracy") for epoch in range(1, 6)]


def stage(yard, size=10):
    return blobs.stage(yard.database, bytes(size))


def full(yard, outcome=Outcome.COMPLETED, **changes: Any) -> int:
    """A run that has ended and has something in every table."""
    yard.do(notices.announce, ["webhook"], list(removal.ENDED))
    claim = yard.claimed(tags=["try"], **changes)
    yard.record(claim, *POINTS, epoch=5, checkpoint_id=stage(yard))
    yard.record(claim, epoch=6, checkpoint_id=stage(yard))
    yard.do(lambda session: session.add_all([
        Edit(run_id=claim.run_id, who="ada", what="note", before=None, after="x"),
        *(StepMetric(run_id=claim.run_id, name="loss", step=step, value=0.1) for step in range(25)),
    ]))  # fmt: skip
    lines = [Line(1, time.monotonic(), Level.INFO, "it ends")]
    yard.finish(claim, outcome, weights=WeightsKept(stage(yard), stage(yard), "e" * 64), lines=lines)
    return claim.run_id


def in_state(yard, state, **spec):
    """Whichever way it got there."""
    run_id = yard.submit(spec={"max_attempts": 3, **spec})
    yard.set(run_id, state=state)
    return run_id


def rows(yard, run_id) -> dict[str, int]:
    """How many rows each table has of a run."""

    def count(session):
        found = {t.name: session.scalar(select(func.count()).select_from(t).where(t.c.run_id == run_id)) for t in OWNED}
        return found | {"runs": session.scalar(select(func.count()).where(Run.id == run_id))}

    return yard.ask(count)


def blob_ids(yard) -> set[int]:
    return set(yard.ask(lambda session: session.scalars(select(Blob.id)).all()))


def rows_of_blobs(yard) -> set[int]:
    return set(yard.ask(lambda session: session.scalars(select(Chunk.blob_id)).all()))


def remove(yard, *run_ids):
    return removal.remove(yard.database, run_ids)


def test_a_removed_run_leaves_nothing_and_the_others_keep_all(yard, monkeypatch):
    monkeypatch.setattr(removal, "POINTS_AT_ONCE", 7)
    before, gone, after_it = full(yard), full(yard, Outcome.FAILED), full(yard, Outcome.CANCELLED)
    assert all(rows(yard, gone).values()), "a table is not tried"
    others, kept = [rows(yard, before), rows(yard, after_it)], blob_ids(yard)
    assert remove(yard, gone) == Removed(runs=1, points=35, bytes=30)
    assert set(rows(yard, gone).values()) == {0}
    assert [rows(yard, before), rows(yard, after_it)] == others
    assert len(kept - blob_ids(yard)) == 3  # the checkpoint, the best and the last weights
    assert blob_ids(yard) == rows_of_blobs(yard)
    assert yard.ask(blobs.load, yard.row(before).weights_id) == bytes(10)
    assert remove(yard, gone) == Removed()


@pytest.mark.parametrize("state", list(State))
def test_only_a_run_that_has_ended_is_removed(yard, state):
    run_id = yard.in_state(state).run_id
    before = rows(yard, run_id)
    assert remove(yard, run_id).runs == state.ended
    assert rows(yard, run_id) == (dict.fromkeys(before, 0) if state.ended else before)


@pytest.mark.parametrize("state", [state for state in State if not state.ended])
def test_the_sentence_says_to_cancel_first(yard, state):
    run_id = yard.in_state(state).run_id
    obstacle = yard.ask(removal.obstacle, run_id, state)
    assert isinstance(obstacle, NotEnded)
    assert f"run {run_id} is {state} and cannot be removed; cancel it first" in str(obstacle)


@pytest.mark.parametrize("state", list(State))
def test_a_run_that_others_have_still_to_begin_with_stays(yard, state):
    parent, other = full(yard), full(yard)
    in_state(yard, state, begin={"run": parent})
    assert remove(yard, parent, other).runs == (2 if state.ended else 1)
    assert rows(yard, parent)["runs"] == (0 if state.ended else 1)
    assert rows(yard, other)["runs"] == 0


def test_a_spec_cannot_begin_with_a_run_that_is_just_being_removed(yard):
    parent = full(yard)
    assert yard.do(removal.ask, [parent]) == [parent]
    with pytest.raises(ParentGone, match=f"run {parent}, .* has just been removed"):
        yard.submit(spec={"begin": {"run": parent}})
    with pytest.raises(ParentGone):
        yard.submit(spec={"begin": {"run": 99}})


def test_the_number_of_a_removed_run_is_never_given_again(yard):
    newest = full(yard)
    remove(yard, newest)
    assert yard.submit() == newest + 1
    yard.cancel(newest + 1)
    remove(yard, newest + 1)
    assert yard.submit() == newest + 2


def test_a_late_worker_meets_no_row(yard):
    claim = yard.claimed()
    yard.lose(claim)
    yard.cancel(claim.run_id)
    remove(yard, claim.run_id)
    for late in (lambda: yard.record(claim, *POINTS, epoch=9), lambda: yard.finish(claim),
                 lambda: yard.interrupt(claim), lambda: yard.lose(claim)):  # fmt: skip
        with pytest.raises(LeaseLost):
            late()
    assert set(rows(yard, claim.run_id).values()) == {0}


def test_a_run_that_was_retried_meanwhile_keeps_everything(yard):
    run_id = full(yard, Outcome.FAILED)
    before = rows(yard, run_id)
    yard.retry(run_id)
    assert remove(yard, run_id) == Removed()
    assert rows(yard, run_id) == before


def test_a_run_that_is_being_removed_is_not_retried(yard):
    run_id = full(yard, Outcome.FAILED)
    yard.do(removal.ask, [run_id])
    with pytest.raises(BeingRemoved, match=f"run {run_id} is being removed"):
        yard.retry(run_id)
    assert yard.do(transitions.retry, Run.id == run_id) == {}


def test_a_removal_that_was_cut_off_is_ended_by_the_next_who_looks(yard, monkeypatch):
    run_id, other = full(yard, Outcome.FAILED), full(yard)
    with monkeypatch.context() as patched:
        patched.setattr(removal, "_remove_rows", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            remove(yard, run_id)
    assert rows(yard, run_id)["metrics"] == 0
    assert yard.row(run_id).wish == Wish.REMOVE
    assert removal.go_on(yard.database).runs == 1
    assert set(rows(yard, run_id).values()) == {0}
    assert rows(yard, other)["metrics"] == 10
    assert removal.go_on(yard.database) == Removed()


def test_a_blob_that_two_runs_share_stays_until_the_last_of_them_goes(yard):
    first, second = full(yard), full(yard)
    shared = yard.row(first).weights_id
    yard.set(second, weights_id=shared)
    assert remove(yard, first).bytes == 10
    assert yard.ask(blobs.load, shared) == bytes(10)
    assert yard.ask(removal.preview, [second]) == Removed(runs=1, bytes=20)
    assert remove(yard, second).bytes == 20
    assert shared not in blob_ids(yard)


def test_the_preview_says_what_goes(yard):
    runs = [full(yard) for _ in range(3)]
    yard.set(runs[1], last_weights_id=yard.row(runs[0]).last_weights_id)
    for some in (runs[:1], runs[1:]):
        seen = yard.ask(removal.preview, some)
        done = remove(yard, *some)
        assert (seen.runs, seen.bytes) == (done.runs, done.bytes)


def test_large_blobs_and_many_small_ones_go(yard, monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK", 16)
    monkeypatch.setattr(blobs, "TOGETHER", 3)
    sizes = [0, 1, 15, 16, 17, 64, 1, 1, 1, 1, 5]
    staged = [stage(yard, size) for size in sizes]
    pointed = full(yard)
    kept = [yard.row(pointed).weights_id]
    assert blobs.remove_all(yard.database, [*staged, *kept, 9999]) == sum(sizes)
    assert not set(staged) & (blob_ids(yard) | rows_of_blobs(yard))
    assert set(kept) < blob_ids(yard)


def test_what_fits_and_may_not_go_is_counted(yard):
    ended, waiting = full(yard), yard.submit()
    assert yard.ask(removal.fitting, Run.id > 0) == ([ended], 1)
    assert yard.ask(removal.fitting, Run.id == waiting) == ([], 1)


def test_a_dataset_stays_with_its_last_run(yard):
    """Runs go by hand, datasets by a policy."""
    remove(yard, full(yard))
    assert yard.ask(lambda session: session.scalar(select(func.count()).select_from(Dataset))) == 1


# Giving up what a run has kept


@pytest.mark.parametrize(("what", "columns"), [
    ("weights", {"weights_id", "last_weights_id"}), ("checkpoint", {"checkpoint_id"}),
])  # fmt: skip
def test_what_is_given_up_goes_and_the_history_stays_and_says_so(yard, what, columns):
    run_id, other = full(yard, Outcome.FAILED), full(yard, Outcome.FAILED)
    before, kept = rows(yard, run_id), yard.run(other)
    assert removal.give_up(yard.database, what, [run_id], "ada@lovelace") == ({run_id}, 10 * len(columns))
    pointers = {name: getattr(yard.row(run_id), name) for name in ("weights_id", "last_weights_id", "checkpoint_id")}
    assert {name for name, pointer in pointers.items() if pointer is None} == columns
    assert rows(yard, run_id) == before | {"edits": before["edits"] + 1}
    assert yard.run(other) == kept
    edit = yard.ask(removal.given_up, run_id, what)
    assert (edit.who, edit.before, edit.after) == ("ada@lovelace", "kept", "removed")
    assert yard.ask(removal.given_up, other, what) is None
    assert removal.give_up(yard.database, what, [run_id], "ada@lovelace") == (set(), 0)


def test_weights_that_come_back_are_not_told_as_gone(yard):
    run_id = full(yard, Outcome.FAILED)
    removal.give_up(yard.database, "weights", [run_id], "ada")
    yard.set(run_id, weights_id=stage(yard))
    assert yard.ask(removal.given_up, run_id, "weights") is None


@pytest.mark.parametrize("what", ["weights", "checkpoint"])
def test_a_run_that_was_retried_gives_nothing_up(yard, what):
    run_id = full(yard, Outcome.FAILED)
    yard.retry(run_id)
    assert removal.give_up(yard.database, what, [run_id], "ada") == (set(), 0)


def test_weights_that_others_begin_with_are_not_given_up_but_a_checkpoint_is(yard):
    parent = full(yard, Outcome.FAILED)
    yard.submit(spec={"begin": {"run": parent}})
    assert removal.give_up(yard.database, "weights", [parent], "ada") == (set(), 0)
    assert removal.give_up(yard.database, "checkpoint", [parent], "ada") == ({parent}, 10)


def test_of_those_who_retry_and_those_who_remove_one_wins_and_nobody_meets_half_a_run(yard):
    runs = [full(yard, Outcome.FAILED) for _ in range(12)]
    before = {run_id: rows(yard, run_id) for run_id in runs}

    def retry(run_id):
        with yard.database.write() as session:
            return run_id if transitions.retry(session, Run.id == run_id) else None

    with ThreadPoolExecutor(3) as pool:
        retried = pool.map(retry, runs)
        removed = [pool.submit(removal.remove, yard.database, runs[i::2][::-1]) for i in range(2)]
        retried, gone = {run_id for run_id in retried if run_id}, sum(one.result().runs for one in removed)
    assert len(retried) + gone == len(runs)
    for run_id in runs:
        assert rows(yard, run_id) == (before[run_id] if run_id in retried else dict.fromkeys(before[run_id], 0))
