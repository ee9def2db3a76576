"""`trainyard runs remove` and `prune`, `db compact`: what they ask, print and refuse."""

from __future__ import annotations

import io
import json
import os
import sys

import pytest
from sqlalchemy import func, select

from service.cli import context
from service.cli.main import main
from service.client import Client
from service.client.using import WeightsRemoved
from service.settings import Settings
from service.spec import SpecError
from service.store import blobs, removal, transitions
from service.store.points import Point
from service.store.submissions import NewRun
from service.store.tables import Blob, Dataset, Outcome, Run
from service.store.transitions import Progress, WeightsKept
from tests.yard import ROOT

SPEC = {"max_attempts": 3, "metrics": ["accuracy"]}


@pytest.fixture
def client(tmp_path, monkeypatch):
    """A home with runs 1 to 4 of the accuracies 0.6 to 0.9, with weights; 2 failed, with a checkpoint. 5 waits."""
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setattr(context, "flags", {})
    monkeypatch.chdir(ROOT)
    client = Client(Settings(home=tmp_path, database_url="", broker_url=""))
    monkeypatch.setattr(context, "client", lambda: client)
    with client.database.write() as session:
        session.add(Blob(id=1, sha256="0" * 64, size=0))
        session.flush()
        session.add(Dataset(sha256="d" * 64, source="digits", schema={}, blob_id=1))
    for number in range(1, 5):
        train(client, 0.5 + number / 10, Outcome.FAILED if number == 2 else Outcome.COMPLETED)
    submit(client)
    yield client
    client.database.dispose()


def submit(client, **changes):
    values = {"name": "digits", "spec": SPEC, "dataset_sha256": "d" * 64, "epochs": 5, "max_attempts": 3} | changes
    with client.database.write() as session:
        return transitions.submit(session, [NewRun(**values)])[0]


def train(client, accuracy, outcome):
    run_id = submit(client, priority=1)
    checkpoint, best, last = (blobs.stage(client.database, bytes(1024)) for _ in range(3))
    with client.database.write() as session:
        claim = transitions.claim(session, "default", "ada", 7, 60, {})
        assert claim.run_id == run_id
        progress = Progress(epoch=1, points=[Point("val_accuracy", 1, accuracy, True)], checkpoint_id=checkpoint)
        transitions.record(session, run_id, claim.attempt, progress, 60)
        kept = WeightsKept(best, last, "e" * 64)
        transitions.finish(session, run_id, claim.attempt, outcome, error="it broke", weights=kept)
    blobs.remove_all(client.database, [checkpoint])


@pytest.fixture
def cli(client, capsys):
    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


class Terminal(io.StringIO):
    def isatty(self):
        return True


def numbers(client):
    return [run.id for run in client.runs()]


def test_runs_are_removed_and_it_is_said_what_went_with_them(client, cli):
    assert cli("runs", "remove", 1, 2, "--yes") == (
        0, "2 runs removed, with 2 points of metrics and 5.0 KiB of weights and checkpoints\n", ""
    )  # fmt: skip
    assert numbers(client) == [5, 4, 3]


def test_what_would_be_removed_is_told_without_a_question(client, cli):
    assert cli("runs", "remove", 1, 2, "--dry-run") == (
        0, "2 runs would be removed, with all metrics and 5.0 KiB of weights and checkpoints\n", ""
    )  # fmt: skip
    told = json.loads(cli("runs", "remove", "--where", "id > 2", "--dry-run", "--json")[1])
    assert told == {"runs": 2, "points": None, "bytes": 4096, "left": 1}
    assert numbers(client) == [5, 4, 3, 2, 1]


def test_all_that_fit_are_removed_so_far_as_they_may(client, cli):
    code, out, err = cli("runs", "remove", "--where", "id > 2", "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"runs": 2, "points": 2, "bytes": 4096, "left": 1})
    assert err.startswith("not removed, though the expression fits: 1 run, not ended yet, or needed")
    assert numbers(client) == [5, 2, 1]


@pytest.mark.parametrize(("words", "sentence"), [
    (["remove", 5, "--yes"], "run 5 is queued and cannot be removed; cancel it first: `trainyard runs cancel 5`"),
    (["remove", 1, 9, "--yes"], "there is no run 9; `trainyard runs list` shows those there are"),
    (["remove"], "say which runs: their numbers, or --where with an expression, not both"),
    (["remove", 1, "--where", "id = 2"], "say which runs: their numbers, or --where with an expression, not both"),
    (["remove", 1], "remove 1 run for ever, with 2.0 KiB of weights and checkpoints? Nobody can answer here"),
    (["prune", "--keep-best", 3], "give up the weights of 1 run, 2.0 KiB in all, for ever? Nobody can answer here"),
    (["prune", "--weights-after", "soon"], "--weights-after 'soon' is no duration; write it as '7 days'"),
    (["prune", "--by", "loss"], "--by says what is best: it needs --keep-best with a number"),
    (["prune", "--keep-best", 1, "--by", "speed"], "there is no metric 'speed': use one of loss, accuracy"),
], ids=str)  # fmt: skip
def test_what_is_refused_changes_nothing(client, cli, words, sentence):
    code, out, err = cli("runs", *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert numbers(client) == [5, 4, 3, 2, 1]
    assert all(client.weights_file(run_id) for run_id in (1, 2, 3, 4))


@pytest.mark.parametrize("words", [["remove", 1], ["prune", "--keep-best", 3]], ids=str)
def test_on_a_terminal_it_asks_once(client, cli, monkeypatch, words):
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    code, out, err = cli("runs", *words)
    assert (code, out) == (1, "")
    assert "for ever" in err
    assert "nothing was changed" in err
    assert client.weights_file(1)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    code, out, _ = cli("runs", *words)
    assert (code, "2.0 KiB" in out) == (0, True)


def test_a_child_says_that_its_parent_was_removed(client, cli):
    child = submit(client, cloned_from=4, replay_of=3)
    assert "cloned from  run 4\n" in cli("runs", "show", child)[1]
    client.remove([4])
    shown = cli("runs", "show", child)[1]
    assert "cloned from  run 4 (removed)\n" in shown
    assert "replay of    run 3\n" in shown


def test_the_dry_run_shows_each_decision_and_changes_nothing(client, cli):
    words = ("runs", "prune", "--keep-best", 2, "--checkpoints-after", "0s", "--dry-run")
    code, out, err = cli(*words)
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["RUN", "NAME", "WHAT", "SIZE", "WHY"],
        ["1", "digits", "weights", "goes", "2.0", "KiB", "number", "4", "of", "4:", "val_accuracy", "0.6"],
        ["2", "digits", "weights", "goes", "2.0", "KiB", "number", "3", "of", "4:", "val_accuracy", "0.7"],
        ["3", "digits", "weights", "stays", "2.0", "KiB", "number", "2", "of", "4:", "val_accuracy", "0.8"],
        ["4", "digits", "weights", "stays", "2.0", "KiB", "number", "1", "of", "4:", "val_accuracy", "0.9"],
        ["2", "digits", "checkpoint", "goes", "1.0", "KiB", "ended", "1.0", "s", "ago"],
        [],
        ["5.0", "KiB", "would", "be", "free"],
    ]
    document = json.loads(cli(*words, "--json")[1])
    assert document["bytes"] == 5120
    assert document["decisions"][0] == {
        "run": 1, "name": "digits", "what": "weights", "goes": True, "bytes": 2048,
        "why": "number 4 of 4: val_accuracy 0.6",
    }  # fmt: skip
    assert client.weights_file(1)


def test_weights_that_were_pruned_are_told_so_with_who_and_when(client, cli):
    prune = ("runs", "prune", "--keep-best", 3, "--yes")
    assert cli(*prune)[1].endswith("\n2.0 KiB are free now\n")
    assert (
        cli(*prune)[1].endswith("\nthere is nothing to give up\n") or cli(*prune)[1] == "there is nothing to give up\n"
    )
    code, _, err = cli("runs", "weights", 1, "-o", "never.safetensors")
    assert code == 2
    assert err.startswith("error: the weights of run 1 were removed by retention, by ")
    assert err.endswith(" UTC; `trainyard runs clone 1` trains it again\n")
    with pytest.raises(WeightsRemoved):
        client.weights(1)
    assert client.history(1) == [{"epoch": 1, "val_accuracy": 0.6}]


def test_a_spec_cannot_begin_with_pruned_weights(client):
    client.prune(keep_best=0)
    with pytest.raises(SpecError, match="run 4 is completed and its weights were removed by retention"):
        client.check(ROOT / "examples" / "digits.yaml", ["begin.run=4"])


def test_a_run_whose_checkpoint_was_pruned_says_that_it_starts_over(client):
    run_id = submit(client, priority=2)
    with client.database.write() as session:
        claim = transitions.claim(session, "default", "ada", 7, 60, {})
        transitions.record(session, run_id, claim.attempt, Progress(epoch=2), 60)
        transitions.finish(session, run_id, claim.attempt, Outcome.CANCELLED)
    with client.database.write() as session:
        session.get_one(Run, run_id).checkpoint_id = 1
    assert client.why(run_id).endswith("goes on from there")
    client.prune(checkpoints_after=0)
    assert client.why(run_id).endswith("starts it over, for its checkpoint was removed by retention")


def test_a_run_that_is_being_removed_says_so(client):
    with client.database.write() as session:
        removal.ask(session, [2])
    assert client.why(2) == "run 2 is failed, and is just being removed"


def test_compact_says_what_it_won_and_waits_for_no_run(client, cli):
    blobs.remove(client.database, blobs.stage(client.database, bytes(2**20)))
    code, out, _ = cli("db", "compact")
    assert (code, out.startswith("the database takes "), ", it took 1." in out) == (0, True, True)
    with client.database.write() as session:
        transitions.claim(session, "default", "ada", 7, 60, {})
    code, _, err = cli("db", "compact")
    assert (code, err) == (
        2, "error: a run trains just now, and nobody can write meanwhile; end the yard first: `trainyard down`\n"
    )  # fmt: skip


def test_room_in_the_file_is_hinted_at(client, cli, monkeypatch):
    monkeypatch.setattr("service.cli.retention.SPARE", 10_000)
    blobs.remove(client.database, blobs.stage(client.database, bytes(2**20)))
    assert "`trainyard db compact` gives them back to the disk" in cli("runs", "remove", 1, "--yes")[2]


def test_status_tells_what_takes_the_room(client, cli):
    _, out, err = cli("status")
    assert "for 5 runs\n" in out
    assert "  weights      8.0 KiB\n" in out
    assert err == "`trainyard runs prune --checkpoints-after 0s` could free 1.0 KiB now\n"
    space = json.loads(cli("status", "--json")[1])["space"]
    assert (space["runs"], space["weights"], space["checkpoints"], space["prunable"]) == (5, 8192, 1024, 1024)
    assert space == client.space().json()


def test_a_dataset_that_is_submitted_again_is_not_taken_for_unused(client):
    spec = ROOT / "examples" / "table.yaml"
    first = client.submit(spec)
    client.cancel(first.id)
    client.remove([first.id])
    age(client)
    again = client.submit(spec)  # which finds the dataset in the store, and says that it wants it
    client.cancel(again.id)
    client.remove([again.id])
    assert client.prune().decisions == ()
    age(client)
    assert [decision.what for decision in client.prune().going] == ["dataset"]
    assert client.submit(spec).dataset_sha256 == first.dataset_sha256


def age(client):
    with client.database.write() as session:
        for blob in session.scalars(select(Blob)):
            blob.touched = session.scalar(select(func.min(Run.created))).replace(year=2001)
