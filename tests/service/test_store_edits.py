"""What is changed of runs afterwards, and what is kept of it."""

from __future__ import annotations

import pytest

from service.store import edits
from service.store.edits import Changes, WrongChange
from service.store.transitions import NoSuchRun


def change(yard, run_ids, who="ada@lab-1", **changes):
    return yard.do(edits.edit, run_ids, Changes(**changes), who)


def told(yard, run_id):
    return [(edit.who, edit.what, edit.before, edit.after) for edit in yard.ask(edits.edits, run_id)]


def test_each_change_is_kept_with_who_made_it_and_when(yard):
    other, run_id = yard.submit(), yard.submit(name="digits", tags=["old", "kept"])
    change(yard, [run_id], name="numbers", note="shuffled labels", parents={"cloned_from": other})
    change(yard, [run_id], who="bob@lab-2", note="", tag=["new", "kept"], untag=["old", "never"])
    run = yard.run(run_id)
    assert (run.name, run.note, run.tags, run.cloned_from) == ("numbers", None, ("kept", "new"), other)
    assert told(yard, run_id) == [
        ("ada@lab-1", "cloned_from", None, str(other)),
        ("ada@lab-1", "name", "digits", "numbers"),
        ("ada@lab-1", "note", None, "shuffled labels"),
        ("bob@lab-2", "note", "shuffled labels", None),
        ("bob@lab-2", "tag", "old", None),
        ("bob@lab-2", "tag", None, "new"),
    ]
    first, *_, last = yard.ask(edits.edits, run_id)
    assert run.created <= first.at <= last.at


def test_what_is_so_already_is_no_change(yard):
    first, second = yard.submit(name="a", tags=["t"]), yard.submit(name="b")
    assert change(yard, [first, second], name="a", tag=["t"], parents={"replay_of": None}) == [second]
    assert told(yard, first) == []


def test_one_run_that_is_not_there_and_none_is_changed(yard):
    run_id = yard.submit()
    with pytest.raises(NoSuchRun, match="there is no run 99"):
        change(yard, [run_id, 99], note="x")
    assert yard.run(run_id).note is None
    assert told(yard, run_id) == []


def test_a_parent_is_another_run_that_does_not_come_from_the_run_itself(yard):
    first, second, third = (yard.submit() for _ in range(3))
    change(yard, [second], parents={"cloned_from": first})
    change(yard, [third], parents={"replay_of": second})
    for run_ids, parent, sentence in (
        ([first], 999, "fine_tuned_from=999: there is no run 999"),
        ([first], first, f"fine_tuned_from={first}: a run cannot come from itself"),
        ([first], third, f"fine_tuned_from={third}: run {third} comes itself from run {first}"),
        ([yard.submit(), second], third, f"fine_tuned_from={third}: run {third} comes itself from run {second}"),
    ):
        with pytest.raises(WrongChange, match=sentence):
            change(yard, run_ids, note="x", parents={"fine_tuned_from": parent})
    assert yard.run(first).note is yard.run(second).note is None
    assert change(yard, [third], parents={"fine_tuned_from": first}) == [third]  # two ways to one run are no circle


def test_a_parent_that_was_removed_may_stay_but_not_come(yard):
    child, other = yard.submit(), yard.submit()
    yard.set(child, cloned_from=77)
    assert change(yard, [child], note="x", parents={"cloned_from": 77}) == [child]
    with pytest.raises(WrongChange, match="there is no run 77"):
        change(yard, [child, other], parents={"cloned_from": 77})
    assert change(yard, [child], parents={"cloned_from": None}) == [child]
