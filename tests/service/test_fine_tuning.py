"""A run that begins with another's weights: what it takes, what it says, and what cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from service import Client, InputError, RunRecord, Settings, weights
from service.store import transitions
from service.store.tables import Run
from tests.yard import ROOT, settled
from workers import slot

FILE = """\
version: 1
data:
  source: flowers.csv
  target: species
network:
  - dense: {units: 16, activation: relu}
  - dense: {units: 8, activation: relu}
train: {epochs: 2, batch_size: 16, freeze: [1]}
begin: {run: 1}
seed: 9
"""


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with settled() as there:
        yield there.home / "trainyard.db"


@pytest.fixture
def client(template: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of a home with a run in every state; run 1 is of the flowers with two layers of 16."""
    shutil.copy(template, tmp_path)
    shutil.copy(ROOT / "examples" / "flowers.csv", tmp_path)
    client = Client(Settings(home=tmp_path, database_url="", broker_url=""))
    yield client
    client.database.dispose()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fine.yaml"
    path.write_text(FILE)
    return path


def train(client: Client) -> None:
    """The next run, by a slot in this very process."""
    with patch.multiple(slot, settings=client.settings, database=client.database, worker="ada"):
        slot.train_next("default")


def submitted(client: Client, file: Path, *overrides: str) -> RunRecord:
    run = client.submit(file, overrides=overrides)
    train(client)
    return client.run(run.id)


def complaint(client: Client, file: Path, *overrides: str) -> str:
    before = len(client.runs(limit=None))
    with pytest.raises(InputError) as caught:
        client.submit(file, overrides=overrides)
    assert len(client.runs(limit=None)) == before
    return str(caught.value).removeprefix(f"{file.parent}/")


def test_a_frozen_layer_ends_with_the_other_runs_bytes_and_the_rest_learns(client, file):
    run = submitted(client, file)
    assert (run.state, run.epoch) == ("completed", 2)
    before, after = client.weights(1), client.weights(run.id)
    for name in ("1.dense.weight", "1.dense.bias"):
        assert after[name].tobytes() == before[name].tobytes()
    assert after["2.dense.weight"].shape == (16, 8)
    assert client.predict(run.id, ROOT / "examples" / "flowers.csv").height == 150


def test_a_layer_of_another_shape_is_new_and_the_same_as_without_a_beginning(client, file):
    assert "taken from run 1: 1.dense; new: 2.dense, 3.dense.weight" in client.check(file).notes
    slow = "optimizer.adam.learning_rate=1e-30"
    begun, alone = (submitted(client, file, slow, *more) for more in ((), ("begin=null", "train.freeze=[]")))
    one, other = client.weights(begun.id), client.weights(alone.id)
    assert one["2.dense.weight"].tobytes() == other["2.dense.weight"].tobytes()
    assert one["1.dense.weight"].tobytes() != other["1.dense.weight"].tobytes()


def test_a_check_warns_of_rows_that_the_other_run_learned_and_takes_the_short_form(client, file):
    warning = "seed or split differ from that run's on the same data: rows it learned may judge this one"
    flowers = [f"data.source={ROOT / 'examples' / 'flowers.csv'}", "begin=1"]
    same = client.run(1).spec
    assert warning not in client.check(file, [f"seed={same['seed']}"]).notes
    assert warning in client.check(file).notes
    assert client.check(file, ["begin=1"]).notes == client.check(file).notes
    assert warning not in client.check(file, flowers).notes


def test_best_and_last_weights_are_told_apart(client, file):
    alone = ["begin=null", "train.freeze=[]", "network.1.dense.units=16"]
    long = submitted(client, file, *alone, "train.epochs=8", "optimizer.adam.learning_rate=0.3")
    slow = ["optimizer.adam.learning_rate=1e-30", f"begin.run={long.id}", "network.1.dense.units=16", "train.epochs=1"]
    for which in ("best", "last"):
        run = submitted(client, file, *slow, f"begin.weights={which}")
        wanted = client.weights(long.id, last=which == "last")
        assert all(array.tobytes() == wanted[name].tobytes() for name, array in client.weights(run.id).items())
    best, last = client.weights(long.id), client.weights(long.id, last=True)
    assert best["1.dense.weight"].tobytes() != last["1.dense.weight"].tobytes()


def test_the_inputs_are_scaled_as_the_other_run_had_them(client, file):
    """Another seed splits the rows differently; a scaler measured anew would give the kept layers other inputs."""
    run = submitted(client, file)
    first, second = (weights.unpack(client.weights_file(number)).scaler for number in (1, run.id))
    assert first["shift"].tobytes() == second["shift"].tobytes()
    assert first["scale"].tobytes() == second["scale"].tobytes()
    alone = submitted(client, file, "begin=null", "train.freeze=[]")
    assert weights.unpack(client.weights_file(alone.id)).scaler["shift"].tobytes() != first["shift"].tobytes()


def test_the_spec_records_the_hash_of_what_it_begins_with(client, file):
    run = client.submit(file)
    assert run.spec["begin"] == {"run": 1, "weights": "best", "sha256": client.run(1).weights_sha256}


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (("begin.run=77",), "there is no run 77; `trainyard runs list` shows those there are"),
        (("begin.run=2",), "run 2 is failed and has no weights to begin with"),
        (("begin.run=4", "begin.weights=last"), "run 4 is running and has no weights to begin with"),
        (("begin.sha256=" + "a" * 64,), "run 1 has other weights now than this spec was made with"),
        (("begin.run=0",), "begin.run"),
        (("begin.weights=worst",), "begin.weights"),
        (("train.freeze=[2]",), "2.dense is frozen but not taken from run 1"),
        (("train.freeze=[7]",), "there is no layer 7; the network has 3, the output layer included"),
        (("train.freeze=[1, 2, 3]",), "every layer with parameters is frozen; there is nothing to train"),
        (("network.0.dense.units=17",), "no layer has the name and shape of one of run 1 (1.dense.weight"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_stored(client, file, overrides, sentence):
    assert sentence in complaint(client, file, *overrides)


def test_a_wrong_run_is_told_at_its_place_in_the_file(client, file):
    file.write_text(FILE.replace("run: 1", "run: 77"))
    assert complaint(client, file).startswith("fine.yaml:9:14: begin.run: there is no run 77;")
    file.write_text(FILE.replace("freeze: [1]", "freeze: [1, 3]").replace("units: 8", "units: 16"))
    assert "fine" in client.submit(file).name
    file.write_text(FILE.replace("freeze: [1]", "freeze: [1, 2]"))
    assert complaint(client, file).startswith(
        "fine.yaml:8:44: train.freeze: 2.dense is frozen but not taken from run 1"
    )


def test_a_layer_taken_in_part_is_told_as_such(client, file):
    assert client.check(file, ["network.0.dense.bias=false"]).notes[-2].startswith("taken from run 1: 1.dense;")
    bare = submitted(client, file, "network.0.dense.bias=false")
    note = client.check(file, [f"begin.run={bare.id}", "train.freeze=[]"]).notes[-1]
    assert note == f"taken from run {bare.id}: 2.dense, 3.dense; new: 1.dense.bias"


def test_a_run_whose_beginning_is_gone_by_the_time_it_trains_fails_with_that_sentence(client, file):
    run = client.submit(file)
    with client.database.write() as session:
        session.get_one(Run, 1).weights_id = None
    train(client)
    record = client.run(run.id)
    assert record.state == "failed"
    assert "run 1 is completed and has no weights to begin with" in record.error
    assert record.error in client.why(run.id)


def test_other_weights_than_those_submitted_with_are_refused_by_the_worker(client, file):
    run = client.submit(file)
    with client.database.write() as session:
        session.get_one(Run, 1).weights_id = session.get_one(Run, 1).last_weights_id
        session.flush()
    other = client.submit(file, overrides=["begin=null", "train.freeze=[]", "network.1.dense.units=16"])
    with client.database.write() as session:
        transitions.only(session, run.id, transitions.cancel)
    train(client)
    with client.database.write() as session:
        session.get_one(Run, 1).weights_id = session.get_one(Run, other.id).weights_id
        transitions.only(session, run.id, transitions.retry)
    train(client)
    assert "run 1 has other weights now than this spec was made with" in (client.run(run.id).error or "")


# Finding a learning rate


def test_a_rate_is_found_for_a_spec_that_begins_with_a_run(client, file):
    found = client.find_rate(file, steps=60)
    new = client.find_rate(file, ["begin=null", "train.freeze=[]"], steps=60)
    assert found.losses.tobytes() != new.losses.tobytes()
    assert np.isfinite(found.losses).all()
    with pytest.raises(InputError, match="fine: the loss does not fall at any of these learning rates"):
        client.find_rate(file, lowest=1e20, highest=1e30)
