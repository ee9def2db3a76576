"""Many runs at once: checked one by one or not at all, stored together, and where they come from."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import random_specs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from nn import OPTIMIZERS
from service import batch as batches
from service.assembly import outline, resolving
from service.assembly.resolving import Resolver
from service.client import Client
from service.datasets import load, sources
from service.display import ranges
from service.errors import DataError, InputError, TrainyardError
from service.origin import Origin, read_status, sentence
from service.settings import Settings
from service.spec import SpecError, parse, several
from service.store import transitions
from service.store.tables import Run
from tests.yard import ROOT

DIGITS, TABLE = ROOT / "examples" / "digits.yaml", ROOT / "examples" / "table.yaml"
GRID = ["seed=1..3", "optimizer.adam.learning_rate=0.1,0.01"]


@pytest.fixture
def client(database, tmp_path):
    told: list[str] = []
    settings = Settings(home=tmp_path, database_url=database.url, broker_url="redis://127.0.0.1:1/0")
    client = Client(settings, notify=told.append)
    client.__dict__.update(database=database, told=told)
    return client


def count(client) -> int:
    with client.database.read() as session:
        return session.scalar(select(func.count()).select_from(Run)) or 0


def test_many_runs_are_as_if_each_had_been_submitted_by_itself(client):
    numbers = client.submit_many([DIGITS, TABLE], grid=GRID, overrides=["train.epochs=2"], tags=["a"], priority=3)
    assert len(numbers) == 12
    assert client.told == [client.told[0]]
    assert client.told[0].startswith("the runs are stored and will start as soon as a worker finds them; ")
    for number, file, seed, rate in ((numbers[1], DIGITS, 1, 0.01), (numbers[10], TABLE, 3, 0.1)):
        overrides = ["train.epochs=2", f"seed={seed}", f"optimizer.adam.learning_rate={rate}"]
        alone = client.submit(file, overrides=overrides, tags=["a"], priority=3).json()
        many = client.run(number).json()
        assert many | {"id": 0, "created": ""} == alone | {"id": 0, "created": ""}


def test_what_differs_is_found_by_an_expression(client):
    numbers = client.submit_many(DIGITS, grid=GRID)
    found = client.runs(where="optimizer.adam.learning_rate = 0.01 and seed >= 2")
    assert [run.id for run in found] == [numbers[5], numbers[3]]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (
            ["seed=1,2", "train.batch_size=32,5000"],
            "--grid train.batch_size=5000: a batch of 5000 is larger than the 1258 training rows; lower it\n"
            "met with seed=1, train.batch_size=5000",
        ),
        (
            ["data.source=digits,digit"],
            "--grid data.source=digit: no dataset is called 'digit'; did you mean 'digits'?",
        ),
        (["optimizer.sgd.momentum=0.1,0.2", "optimizer.adam.beta1=0.1,0.2"], "the same run as with optimizer.sgd.mom"),
        (["seed=-1,-2", "train.epochs=0,1"], "--grid seed=-2: must be at least 0, got -2"),
    ],
)
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_one_wrong_combination_keeps_all_from_being_stored(client, grid, message):
    with pytest.raises(InputError) as error:
        client.submit_many(DIGITS, grid=grid)
    assert message in str(error.value)
    assert count(client) == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_the_same_problem_in_many_combinations_is_told_once(client, monkeypatch):
    looked = []
    monkeypatch.setattr(batches, "made", lambda *given: looked.append(1) or several.made(*given))
    with pytest.raises(SpecError) as error:
        client.submit_many(DIGITS, grid=["seed=1..500", "optimizer.adam.learning_rate=-1"])
    assert len(error.value.problems) == 1
    assert len(looked) == batches.MOST_FAULTY


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_dataset_is_read_once_for_all_that_read_the_same_of_it(client, monkeypatch):
    read = []
    monkeypatch.setattr(sources, "built_in", lambda name, load=sources.built_in: read.append(name) or load(name))
    grid = ["data.split.validation=0.2,0.3", "data.scale=none,minmax", "data.source=iris,wine"]
    client.submit_many({"version": 1, "data": {"source": "iris"}, "network": []}, grid=grid)
    assert sorted(read) == ["iris", "wine"]
    read.clear()
    grid = ["data.features=[petal_length],[sepal_length]", "seed=1,2"]
    client.submit_many({"version": 1, "data": {"source": "iris"}, "network": []}, grid=grid)
    assert len(read) == 2


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_disk_that_fills_up_half_way_is_told_with_what_is_stored(client, monkeypatch):
    monkeypatch.setattr(batches, "AT_ONCE", 2)
    submit = transitions.submit

    def full(session, runs):
        if count(client) == 4:
            raise TrainyardError("the disk is full")
        return submit(session, runs)

    monkeypatch.setattr(transitions, "submit", full)
    with pytest.raises(TrainyardError, match="the disk is full"):
        client.submit_many(DIGITS, grid=["seed=1..6"])
    assert client.told[0] == "4 of the 6 runs are queued: 1 to 4"


OTHERS = st.fixed_dictionaries({"seed": st.integers(0, 3), "optimizer": random_specs.parts(OPTIMIZERS)})


@given(document=random_specs.documents(), other=OTHERS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_what_a_resolver_knows_already_is_what_would_be_found_anew(folder, document, other):
    if document["data"]["source"] != "iris":
        document["data"]["source"] = str(folder / document["data"]["source"])
    try:
        specs = [parse(json.dumps(document | changes)) for changes in (other, {})]
        dataset = load(specs[0])
    except (SpecError, DataError):
        return
    resolver = Resolver(dataset)
    for spec in specs:
        assert _told(lambda spec=spec: resolver.document(spec)) == _told(
            lambda spec=spec: outline(spec, dataset).spec.document()
        )


def _told(do):
    try:
        return do()
    except (SpecError, DataError) as error:
        return str(error)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("data")
    random_specs.write_datasets(made)
    return made


@pytest.mark.parametrize(
    ("keys", "checks"),
    [
        ("features: [floor]}", 1),
        ("features: [size], missing: mean}", 2),  # which rows train decides whether there is a cell to fill from
        ("features: [floor], split: {group: house}}", 2),
        ("features: [floor], weights: sure}", 2),
        ("features: [floor]}\ntrain: {class_weights: balanced}", 2),
    ],
)
def test_what_depends_on_which_rows_train_is_checked_for_each_seed(folder, monkeypatch, keys, checks):
    text = f"version: 1\nnetwork: []\ndata: {{source: {folder / 'flats.csv'}, target: kind, {keys}"
    assert _checks(monkeypatch, [text, f"{text}\nseed: 7"]) == checks


def test_a_seed_or_a_rate_alone_is_not_checked_again(monkeypatch):
    text = "version: 1\ndata: {source: iris}\nnetwork: []\n"
    rate = "optimizer: {adam: {learning_rate: 0.5}}\n"
    assert _checks(monkeypatch, [text, f"{text}seed: 7", text + rate, f"name: b\n{text}{rate}"]) == 1
    assert _checks(monkeypatch, [text, f"{text}optimizer: sgd"]) == 2  # which keeps no vectors
    assert _checks(monkeypatch, [text, f"{text}train: {{l2: 0.1}}"]) == 2


def _checks(monkeypatch, texts):
    """How many outlines it takes to resolve these specs."""
    made = []
    monkeypatch.setattr(resolving, "outline", lambda *given: made.append(1) or outline(*given))
    resolver = Resolver(load(parse(texts[0])))
    for text in texts:
        resolver.document(parse(text))
    return len(made)


@pytest.mark.parametrize(
    ("numbers", "told"), [([3], "3"), ([2, 1, 3], "1 to 3"), ([1, 2, 4, 6, 7], "1 to 2, 4, 6 to 7"), ([], "")]
)
def test_numbers_are_told_as_ranges(numbers, told):
    assert ranges(numbers) == told


def git(folder: Path, *arguments: str) -> None:
    named = ["-c", "user.name=ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *named, *arguments], cwd=folder, check=True, capture_output=True)


def test_a_run_knows_who_submitted_it_and_at_which_commit_of_its_specs_folder(client, tmp_path, monkeypatch):
    monkeypatch.setattr("service.origin.KNOWN_SECONDS", -1.0)
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "table.yaml").write_text(DIGITS.read_text())
    git(folder, "init", "--quiet", "--initial-branch=main")
    first = client.origin(client.submit(folder / "table.yaml").id)
    assert first.keys() >= {"user", "host", "trainyard", "python"}
    assert "commit" not in first  # there is none yet
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "first")
    clean = client.origin(client.submit(folder / "table.yaml").id)
    assert (len(clean["commit"]), clean["branch"], clean["dirty"]) == (40, "main", False)
    with (folder / "table.yaml").open("a") as file:
        file.write("# changed\n")
    (dirty, other) = (client.origin(number) for number in client.submit_many([folder / "table.yaml", DIGITS]))
    assert dirty == clean | {"dirty": True}
    assert other.get("commit") != clean["commit"]
    assert str(tmp_path) not in json.dumps([clean, dirty])
    copy = client.clone(1, overrides=["seed=5"])
    assert client.origin(copy.id)["user"] == clean["user"]


def test_git_is_asked_once_by_many_submits_at_once(monkeypatch, tmp_path):
    (tmp_path / "git").write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("service.origin.KNOWN_SECONDS", 3600.0)
    assert Origin(tmp_path).facts() == Origin(tmp_path).facts()
    assert (tmp_path / "asked").read_text() == "asked\n"
    monkeypatch.setattr("service.origin.KNOWN_SECONDS", -1.0)
    Origin(tmp_path).facts()
    assert (tmp_path / "asked").read_text() == "asked\n" * 2


def test_without_git_or_a_user_a_run_is_submitted_all_the_same(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("getpass.getuser", lambda: (_ for _ in ()).throw(KeyError("uid 4711")))
    assert Origin(tmp_path).facts().keys() == {"host", "trainyard", "python"}


def test_a_git_that_hangs_is_not_waited_for(monkeypatch, tmp_path):
    (tmp_path / "git").write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("service.origin.GIT_SECONDS", 0.05)
    origin = Origin(tmp_path)
    assert "commit" not in origin.facts()


def test_a_detached_head_has_no_branch():
    status = "# branch.oid 1a2b3c4d\n# branch.head (detached)\n1 .M N... 100644 100644 100644 a b file\n"
    assert read_status(status) == {"commit": "1a2b3c4d", "dirty": True}


def test_an_origin_is_told_in_a_sentence():
    facts = {"user": "ada", "host": "lab-1", "commit": "1a2b3c4d5e6f", "dirty": True}
    assert sentence(facts) == "by ada on lab-1, commit 1a2b3c4 (changed)"
    assert sentence({"host": "lab-1"}) == "on lab-1"
    assert sentence({}) == ""
