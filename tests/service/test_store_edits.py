"""What is changed of runs afterwards, and what is kept of it."""

from __future__ import annotations

import pytest

from service.store import edits
from service.store.edits import Changes
from service.store.transitions import NoSuchRun


def change(yard, run_ids, who="ada@lab-1", **changes):
    return yard.do(edits.edit, run_ids, Changes(**changes), who)


def told(yard, run_id):
    return [(edit.who, edit.what, edit.before, edit.after) for edit in yard.ask(edits.edits, run_id)]


def test_each_change_is_kept_with_who_made_it_and_when(yard):
    run_id = yard.submit(name="digits", tags=["old", "kept"])
    change(yard, [run_id], name="numbers", note="shuffled labels", parents={"cloned_from": 7})
    change(yard, [run_id], who="bob@lab-2", note="", tag=["new", "kept"], untag=["old", "never"])
    run = yard.run(run_id)
    assert (run.name, run.note, run.tags, run.cloned_from) == ("numbers", None, ("kept", "new"), 7)
    assert told(yard, run_id) == [
        ("ada@lab-1", "cloned_from", None, "7"),
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
