"""Runs as one portable file: all of them comes through, on every database, and nothing forged does."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from service import Client, InputError, Settings
from service.client.using import NotTrained
from service.datasets import tensors
from service.portable import archive
from service.store import blobs, copies
from service.store.database import Database
from service.store.tables import Base, Run, SpecKey
from service.store.tables import Path as SpecPath
from service.store.transitions import NoSuchRun, WrongState
from tests.yard import ROOT, settled

FLOWERS = ROOT / "examples" / "flowers.csv"
OWN = {"id", "run_id", "not_before", "cloned_from", "fine_tuned_from", "replay_of", "imported_from"}  # by yard
MEMORIES = (  # what the run of a test has lived through, besides training
    "UPDATE runs SET note = 'the first ☀\r\n\tof many' WHERE id = 1",
    "INSERT INTO edits (run_id, at, who, what, before, after) VALUES (1, 1800000000.25, 'ada', 'note', NULL, 'x')",
    "INSERT INTO step_metrics VALUES (1, 'late', 10, 0.1), (1, 'late', 20, NULL), (1, 'late', 25, 9e999)",
    "INSERT INTO metrics VALUES (2, 'loss', 1, NULL), (2, 'loss', 2, 0.30000000000000004), (2, 'loss', 3, NULL)",
    "INSERT INTO summaries (run_id, name, last, last_epoch, best, best_epoch) "
    "VALUES (2, 'loss', NULL, 3, 0.30000000000000004, 2)",
    "UPDATE runs SET cloned_from = 1, replay_of = 77 WHERE id = 2",
    'UPDATE specs SET origin = \'{"user": "ada", "dirty": false}\' WHERE run_id = 1',
)


def client_of(home: Path, url: str = "") -> Client:
    return Client(Settings(home=home, database_url=url, broker_url=""))


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The yard that the runs come from: 1 completed, 2 failed, 3 cancelled, 4 running, 5 queued."""
    home = tmp_path_factory.mktemp("origin")
    with settled() as there:
        shutil.copy(there.home / "trainyard.db", home)
    client = client_of(home)
    with client.database.write() as session:
        for statement in MEMORIES:
            session.execute(text(statement))
    yield client
    client.database.dispose()


@pytest.fixture(scope="module")
def file(origin: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("file") / "runs.zip"
    origin.export_runs(file, [1, 2, 3])
    return file


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    """Makes yards without a run."""
    made: list[Client] = []

    def make(name: str, url: str = "") -> Client:
        made.append(client_of(tmp_path / name, url))
        return made[-1]

    yield make
    for client in made:
        client.database.dispose()


@pytest.fixture
def here(another: Callable[..., Client]) -> Client:
    return another("here")


def everything(database: Database, run_id: int) -> dict[str, Any]:
    """All rows of a run in all tables and the bytes it points at, but the numbers that its yard has given."""
    found: dict[str, Any] = {}
    with database.read() as session:
        for table in Base.metadata.sorted_tables:
            key = table.c.get("run_id", table.c.id if table.name == "runs" else None)
            if key is None or table.name == "spec_keys":
                continue
            columns = [c for c in table.c if c.name not in OWN and not c.name.endswith(("_id", "lost_by"))]
            rows = session.execute(select(*columns).where(key == run_id))
            found[table.name] = sorted(json.dumps(alike([*row]), sort_keys=True) for row in rows)
        keys = select(SpecPath.path, SpecKey.number, SpecKey.text, SpecKey.truth).join(
            SpecKey, SpecKey.path_id == SpecPath.id
        )
        found["spec_keys"] = sorted(map(repr, session.execute(keys.where(SpecKey.run_id == run_id))))
        row = session.get_one(Run, run_id)
        pointed = (row.weights_id, row.last_weights_id)
        found["bytes"] = [None if blob_id is None else blobs.load(session, blob_id) for blob_id in pointed]
    return found


def alike(value: Any) -> Any:
    """JSON as every database gives it back: PostgreSQL's has its own order, and 1e30 is a whole number there."""
    return json.loads(json.dumps(value, sort_keys=True, default=repr), parse_int=float)


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def counts(client: Client) -> dict[str, int]:
    with client.database.read() as session:
        return {t.name: session.scalar(select(func.count()).select_from(t)) or 0 for t in Base.metadata.sorted_tables}


# There and back


def test_every_row_and_byte_of_a_run_comes_through_on_either_database(origin, file, database_url, another, tmp_path):
    first = another("first", database_url)
    assert [(run.run, run.new) for run in first.import_runs(file)] == [(1, True), (2, True), (3, True)]
    for number in (1, 2, 3):
        assert everything(first.database, number) == everything(origin.database, number)
    again = tmp_path / "again.zip"
    first.export_runs(again, [3, 2, 1])
    before, after = members(file), members(again)
    assert before.keys() == after.keys()
    for name in [name for name in before if not name.endswith(".json")]:
        assert after[name] == before[name]
    assert alike(json.loads(after["2/spec.json"])) == alike(json.loads(before["2/spec.json"]))
    second = another("second")
    assert [run.run for run in second.import_runs(again)] == [1, 2, 3]
    for number in (1, 2, 3):
        assert everything(second.database, number) == everything(origin.database, 4 - number)


def test_the_same_runs_make_the_same_file(origin, file, tmp_path):
    origin.export_runs(tmp_path / "twice.zip", [1, 2, 3, 1])
    assert (tmp_path / "twice.zip").read_bytes() == file.read_bytes()


def test_a_run_that_is_here_already_stays_as_it_is(here, origin, file):
    before = counts(origin)
    assert [(run.run, run.new) for run in origin.import_runs(file)] == [(1, False), (2, False), (3, False)]
    assert counts(origin) == before
    here.import_runs(file)
    before = counts(here)
    assert [(run.run, run.new) for run in here.import_runs(file)] == [(1, False), (2, False), (3, False)]
    assert counts(here) == before


def test_a_file_that_was_imported_in_part_goes_on(here, origin, file, tmp_path):
    origin.export_runs(tmp_path / "part.zip", [2])
    here.import_runs(tmp_path / "part.zip")
    assert [(run.run, run.new) for run in here.import_runs(file)] == [(2, True), (1, False), (3, True)]


def test_a_parent_that_is_here_is_known_by_its_uid_and_another_by_where_it_was(here, origin, file, another, tmp_path):
    here.import_runs(file)
    assert (here.run(2).cloned_from, here.run(2).replay_of) == (1, None)
    assert here.run(2).imported_from.endswith(", cloned from run 1 there, a replay of run 77 there")
    other = another("other")
    origin.export_runs(tmp_path / "child.zip", [2])
    other.import_runs(tmp_path / "child.zip")
    assert other.run(1).cloned_from is None


def test_an_imported_run_serves_like_one_that_was_trained_here(here, origin, file):
    here.import_runs(file)
    assert here.predict(1, FLOWERS).equals(origin.predict(1, FLOWERS))
    assert here.evaluate(1).metrics == origin.evaluate(1).metrics
    assert here.history(1) == origin.history(1)
    assert here.why(1) == origin.why(1)
    cloned = here.clone(1, overrides=["train.epochs=2"])
    assert (cloned.state, cloned.cloned_from, cloned.dataset_sha256) == ("queued", 1, origin.run(1).dataset_sha256)
    assert [run.id for run in here.runs(where="val_loss < 99 and optimizer.adam.learning_rate < 1")] == [1]
    with pytest.raises(NotTrained):
        here.weights_file(3)


def test_a_dataset_that_is_here_need_not_be_in_the_file(here, origin, file, tmp_path):
    origin.export_runs(tmp_path / "without.zip", [1], with_data=False)
    with pytest.raises(InputError, match="is neither in the file nor in this yard; export the run with its data"):
        here.import_runs(tmp_path / "without.zip")
    origin.export_runs(tmp_path / "other.zip", [3])
    here.import_runs(tmp_path / "other.zip")
    assert [run.run for run in here.import_runs(tmp_path / "without.zip")] == [2]
    assert here.predict(2, FLOWERS).equals(origin.predict(1, FLOWERS))


def test_only_runs_that_have_ended_are_exported(origin, tmp_path):
    target = tmp_path / "new.zip"
    for number in (4, 5):
        with pytest.raises(WrongState, match="only a completed, failed or cancelled run can be exported"):
            origin.export_runs(target, [1, number])
    with pytest.raises(NoSuchRun):
        origin.export_runs(target, [99])
    assert origin.ended("id > 1") == [2, 3]
    assert not list(tmp_path.iterdir())


def test_a_file_that_fails_half_way_leaves_the_one_before(origin, file, tmp_path, monkeypatch):
    target = Path(shutil.copy(file, tmp_path))

    def damaged(*_: Any) -> bytes:
        raise blobs.BlobDamaged(1, "it is gone")

    monkeypatch.setattr(blobs, "load", damaged)
    with pytest.raises(blobs.BlobDamaged):
        origin.export_runs(target, [1])
    assert target.read_bytes() == file.read_bytes()
    assert list(tmp_path.iterdir()) == [target]


# Distrust


def forged(file: Path, target: Path, change: Callable[[dict[str, bytes]], Any]) -> Path:
    """The file with other members, and with a manifest that fits them as a forger would make it."""
    content = members(file)
    manifest = json.loads(content.pop("manifest.json"))
    change(content)
    told = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in content.items()}
    manifest["members"] = told
    manifest["runs"] = sorted({int(name.partition("/")[0]) for name in told if name[0].isdigit()})
    with zipfile.ZipFile(target, "w") as opened:
        for name, data in {**content, "manifest.json": json.dumps(manifest).encode()}.items():
            kind = zipfile.ZIP_STORED if name.endswith(("tensors", "manifest.json")) else zipfile.ZIP_DEFLATED
            opened.writestr(name, data, kind)
    return target


def setting(member: str, **values: Any) -> Callable[[dict[str, bytes]], None]:
    def change(content: dict[str, bytes]) -> None:
        content[member] = json.dumps(json.loads(content[member]) | values).encode()

    return change


def replacing(member: str, old: bytes, new: bytes) -> Callable[[dict[str, bytes]], None]:
    def change(content: dict[str, bytes]) -> None:
        assert old in content[member]
        content[member] = content[member].replace(old, new, 1)

    return change


def other_weights(content: dict[str, bytes]) -> None:
    arrays, document = tensors.unpack(content["1/weights.safetensors"], "it")
    changed = {"1.dense.weight": arrays["1.dense.weight"] + 1}
    content["1/weights.safetensors"] = tensors.pack(arrays | changed, document)


def other_classes(content: dict[str, bytes]) -> None:
    arrays, document = tensors.unpack(content["1/last.safetensors"], "it")
    schema = document["schema"] | {"classes": document["schema"]["classes"][::-1]}
    content["1/last.safetensors"] = tensors.pack(arrays, document | {"schema": schema})


def other_data(content: dict[str, bytes]) -> None:
    (name,) = (name for name in content if name.startswith("datasets/"))
    arrays, document = tensors.unpack(content[name], "it")
    features = arrays["features"].copy()
    features[0, 0] += 1
    content[name] = tensors.pack(arrays | {"features": features}, document)


def twice(content: dict[str, bytes]) -> None:
    for name in [name for name in content if name.startswith("1/")]:
        content[f"8{name[1:]}"] = content[name]
    setting("8/run.json", number=8)(content)


FORGERIES: dict[str, tuple[Callable[[dict[str, bytes]], Any], str]] = {
    "a state that has not ended": (setting("1/run.json", state="running"), "state: Input should be 'completed'"),
    "a key too many": (setting("1/run.json", wish="cancel"), "wish: Extra inputs are not permitted"),
    "a NUL": (setting("1/run.json", note="a\0b"), "1/run.json: note: a text may hold no control character"),
    "an escape": (setting("1/run.json", name="\x1b[2J"), r"json: name: a line may hold no character such as \\x1b"),
    "an escape in a note": (
        setting("1/run.json", note="a\x9b2J"),
        r"no control character such as \\x9b",
    ),
    "half a pair": (replacing("1/run.json", b'"flowers"', b'"\\ud800"'), "Invalid JSON"),
    "a queue that is no name": (setting("1/run.json", queue="a b"), "json: queue: name 'a b'"),
    "a time out of time": (setting("1/run.json", created="9999-12-31T00:00:00Z"), "a time before 1970 or after 2200"),
    "a number too large": (setting("1/run.json", priority=2**40), "priority: Input should be less than"),
    "a number in the spec": (setting("1/spec.json", seed=10**400), "a number is too large"),
    "a seed in the spec": (setting("1/spec.json", seed=10**30), "seed"),
    "an infinity in the origin": (
        replacing("1/run.json", b'"dirty": false', b'"dirty": Infinity'),
        "a number is too large, or none",
    ),
    "more epochs": (setting("1/run.json", epochs=4), "run 1 does not fit its spec"),
    "attempts without end": (setting("2/run.json", attempt=0), "the attempts or the number of run 2 do not fit it"),
    "an unknown key of the spec": (setting("1/spec.json", plugin="os.system"), "unknown key 'plugin'"),
    "another network": (replacing("1/spec.json", b'"units": 16', b'"units": 17'), "is of another network or another"),
    "no spec": (lambda content: content.pop("1/spec.json"), "1/spec.json is missing"),
    "an epoch twice": (replacing("1/metrics.csv", b"loss,2", b"loss,1"), "the epochs of .* are not in order"),
    "an epoch too late": (replacing("1/metrics.csv", b"loss,3", b"loss,4"), "not in order, or beyond 3"),
    "a metric that is none": (replacing("1/metrics.csv", b"val_loss", b"val_luck"), "luck"),
    "a name that is a path": (replacing("1/steps.csv", b"loss", b"../loss"), "a metric has a name that is none"),
    "a value that is none": (replacing("1/steps.csv", b"0.1", b"zero"), "could not convert string to float"),
    "four columns": (replacing("1/steps.csv", b"0.1", b"0.1,2"), "too many values to unpack"),
    "no text": (replacing("1/steps.csv", b"loss", b"\xff"), "codec can't decode"),
    "other weights": (other_weights, "1/weights.safetensors has not the hash that its run has"),
    "weights that are none": (replacing("1/last.safetensors", b"F32", b"F16"), "is damaged"),
    "weights of other classes": (other_classes, "is of another network or another dataset than its run"),
    "other data": (other_data, "its content has another hash"),
    "a member of no run": (lambda content: content.update({"../../x.py": b"1"}), "../../x.py belongs to no run of it"),
    "data of no run": (lambda content: content.update({"datasets/a": b"1"}), "datasets/a belongs to no run of it"),
    "a run twice": (twice, "a run is there twice"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_what_a_forger_makes_is_refused_and_nothing_stored(here, file, tmp_path, kind):
    change, sentence = FORGERIES[kind]
    before = counts(here)
    with pytest.raises(InputError, match=sentence) as refused:
        here.import_runs(forged(file, tmp_path / "forged.zip", change))
    assert refused.value.exit_code == 2
    assert counts(here) == before


def test_a_forger_who_changes_nothing_is_believed(here, file, tmp_path):
    """Else the refusals above might mean nothing."""
    assert len(here.import_runs(forged(file, tmp_path / "same.zip", dict))) == 3


def test_a_member_that_was_changed_without_its_manifest_is_refused(here, file, tmp_path):
    content = members(file)
    replacing("1/metrics.csv", b",0.", b",1.")(content)
    with zipfile.ZipFile(tmp_path / "changed.zip", "w") as opened:
        for name, data in content.items():
            opened.writestr(name, data)
    with pytest.raises(InputError, match=r"1/metrics.csv is not what its manifest says; nothing of it was stored"):
        here.import_runs(tmp_path / "changed.zip")


@pytest.mark.parametrize(
    ("limit", "value"), [("MOST_BYTES", {".json": 10**6, ".csv": 10}), ("SPARE", -(10**7)), ("READ", (3,))]
)
def test_members_beyond_their_size_and_later_versions_are_refused(here, file, monkeypatch, limit, value):
    monkeypatch.setattr(archive, limit, value)
    with pytest.raises(
        InputError, match=r"is too large|larger than such a file|is of version 2, this Trainyard reads up to 2"
    ):
        here.import_runs(file)


def test_a_file_of_version_1_which_had_no_logs_is_read(here, file, tmp_path):
    told = members(file)
    logs = [name for name in told if name.endswith("/log.json")]
    assert "1/log.json" in logs
    for name in logs:
        del told[name]
    manifest = json.loads(told["manifest.json"]) | {"version": 1}
    manifest["members"] = {name: about for name, about in manifest["members"].items() if name not in logs}
    told["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as old:
        for name, data in told.items():
            old.writestr(name, data)
    assert [run.new for run in here.import_runs(tmp_path / "old.zip")] == [True] * 3
    assert here.logs(1) == []


def test_a_damaged_file_is_refused_wherever_the_damage_is(here, file, another, tmp_path):
    whole, target, draw = file.read_bytes(), tmp_path / "damaged.zip", random.Random(5)
    before, whole_ones = counts(here), 0
    there = another("there")
    there.import_runs(file)
    after = counts(there)
    spots = [draw.randrange(len(whole)) for _ in range(60)]
    for data in [b"", b"PK", whole[:-40], whole[: len(whole) // 2], *(_flipped(whole, spot) for spot in spots)]:
        target.write_bytes(data)
        with suppress(InputError):  # unless it is a byte of the zip's own that says nothing, such as a date
            here.import_runs(target)
            whole_ones += 1
        assert counts(here) in (before, after)
    assert whole_ones < 10


def _flipped(data: bytes, spot: int) -> bytes:
    return data[:spot] + bytes([data[spot] ^ 0x15]) + data[spot + 1 :]


def test_a_file_that_is_not_there_is_told_so(here, tmp_path):
    with pytest.raises(InputError, match=r"no\.zip cannot be read: no such file"):
        here.import_runs(tmp_path / "no.zip")


# The store's side


def test_parents_among_the_copies_get_their_new_numbers_in_the_spec_too(yard):
    old = yard.submit(spec={"begin": None}, uid="a" * 32)
    child = yard.submit(spec={"begin": {"run": old, "sha256": None}}, fine_tuned_from=old, uid="b" * 32)
    for number in (old, child):
        yard.cancel(number)
    found = yard.ask(copies.read, [child, old, 99])
    assert [copy.number for copy in found] == [child, old]
    with yard.database.write() as session:
        for table in ("spec_keys", "tags", "specs", "runs"):
            session.execute(text(f"DELETE FROM {table}"))
    numbers = yard.do(copies.add, found)
    assert min(numbers) > child
    assert yard.run(numbers[0]).fine_tuned_from == numbers[1]
    assert yard.run(numbers[0]).spec["begin"]["run"] == numbers[1]
    assert yard.submit() not in numbers


def test_a_parent_that_a_person_has_named_is_not_what_the_spec_begins_with(yard):
    old = yard.submit(uid="a" * 32)
    child = yard.submit(fine_tuned_from=old)
    yard.cancel(child)
    [found] = yard.ask(copies.read, [child])
    spec = {"begin": {"run": 77, "sha256": None}}
    [number] = yard.do(copies.add, [replace(found, submitted=replace(found.submitted, spec=spec, uid="b" * 32))])
    assert yard.run(number).fine_tuned_from == old
    assert yard.run(number).spec["begin"]["run"] == 77
