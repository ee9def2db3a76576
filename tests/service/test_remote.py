"""The command line and the client through a yard's API: the same words, codes and records as beside the database."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC
from pathlib import Path
from threading import Event
from typing import Any, BinaryIO
from unittest.mock import patch

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from test_client import WRONG

from nn import Array
from service.cli import context
from service.cli.main import main
from service.client import Client
from service.errors import InputError, TrainyardError, Unreachable
from service.inspection import Inside
from service.origin import Origin, shared
from service.remote import RemoteClient
from service.remote.connection import NotRemote
from service.remote.records import made
from service.settings import Settings, load_settings
from service.store.records import AttemptRecord, LogRecord, Record, RunRecord, WorkerRecord
from service.store.transitions import NoSuchRun, WrongState
from service.web.api import moving
from service.yard import _listen, _web
from tests.yard import ROOT, settled
from workers import slot

Ask = Callable[..., tuple[int, str, str]]
DEADLINE = 20  # seconds
IMAGES = """
version: 1
data: {source: digits, split: {test: 0.2}}
network: [{dense: {units: 4, activation: relu}}]
train: {epochs: 1}
"""

QUESTIONS = [
    "runs list", "runs list --limit 2", "runs list --json", "runs list --csv",
    "runs list --where state=completed --sort created", "runs list --columns id,tags,optimizer,created",
    "runs list --where nonsense=", "runs list --where learning_rate>1", "runs list --after 99999",
    "runs best --metric val_accuracy", "runs best --metric val_accuracy --json", "runs best --metric id",
    "runs stats --by optimizer --metric val_accuracy", "runs stats --by optimizer --metric val_accuracy --json",
    "runs stats --by optimizer --metric epoch --json", "runs stats --by seed --metric epoch --csv",
    "runs pareto val_loss duration", "runs show 1", "runs show 1 --json", "runs show 99999",
    "runs why 1", "runs why 2", "runs why 99999", "runs compare 1 2", "runs compare 1 2 --json", "runs compare 1 99999",
    "runs logs 1", "runs logs 1 --tail 2", "runs logs 1 --json", "runs logs 99999", "runs evaluate 1",
    "runs evaluate 1 --json", "runs evaluate 1 --split nonsense", "workers list", "workers list --all --json",
    "workers drain nobody", "workers trust nobody", "runs cancel 1", "runs cancel 99999", "runs retry 1",
    "runs pause 1", "runs import nothing.zip", "runs export --where id>99999 -o no.zip", "workers drain a?b",
    "runs edit 99999 --tag a", "runs remove 99999 --yes", "runs prune --checkpoints-after 0s --dry-run",
    "evaluate 1", "evaluate 1 --json", "evaluate 2", "runs inside 1 --gradients", "runs inside 1 --gradients --json",
    "runs inside 2", "runs inside 99999 --gradients", "check examples/digits.yaml",
    "check examples/digits.yaml --set begin.run=1", "check examples/digits.yaml --set begin.run=99999",
    "check examples/digits.yaml --set begin.run=2",
    "check examples/digits.yaml --set begin.run=1 --set begin.sha256=" + "0" * 64,
    "runs import README.md examples/digits.yaml", "submit nothing.yaml", "tokens list", "tokens revoke nobody",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("yard")
    with settled() as there:
        shutil.copy(there.home / "trainyard.db", folder)
    return folder


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with Client(Settings(home=home)) as client, _listen("127.0.0.1", 0) as listener, _web(client, listener) as address:
        yield address


@pytest.fixture
def remote(url: str, tmp_path: Path) -> Iterator[Client]:
    with Client(Settings(home=tmp_path, url=url)) as client:
        yield client


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """A command with these variables and no others: exit code, output, errors."""
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(context, "flags", {})
    monkeypatch.chdir(ROOT)

    def run(line: str, **variables: object) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name, value in variables.items():
                patch.setenv(f"TRAINYARD_{name.upper()}", str(value))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main(line.split())
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize("line", QUESTIONS)
def test_a_command_says_the_same_through_the_api(ask: Ask, home: Path, url: str, tmp_path: Path, line: str):
    here = ask(line, home=home)
    there = ask(line, home=tmp_path, url=url)
    assert _ageless(there) == _ageless(here)
    assert not (tmp_path / "trainyard.db").exists()


def _ageless(answer: tuple[int, str, str]) -> tuple[int, str, str]:
    """Without what the clock changes between two looks, and the room that it takes in a table."""
    code, out, err = answer
    return code, re.sub(r"\s+", " ", re.sub(r"[0-9.]+ m?s\b|(_seconds\": )[0-9.]+", r"\1", out)), err


def test_runs_are_exported_and_come_back_as_those_that_are_here(remote: Client, tmp_path: Path):
    remote.export_runs(tmp_path / "runs.zip", [1, 2])
    assert [(found.run, found.new) for found in remote.import_runs(tmp_path / "runs.zip")] == [(1, False), (2, False)]
    with pytest.raises(InputError, match="there is no run 4711"):
        remote.export_runs(tmp_path / "no.zip", [4711])
    (tmp_path / "bad.zip").write_bytes(b"no archive")
    with pytest.raises(InputError):
        remote.import_runs(tmp_path / "bad.zip")


def test_an_exported_file_is_written_part_by_part_and_whole_or_not_at_all(
    remote: Client, home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    with Client(Settings(home=home)) as near:
        near.export_runs(tmp_path / "near.zip", [1, 2])
    whole = (tmp_path / "near.zip").read_bytes()
    monkeypatch.setattr(moving, "PART", 1000)
    real, arrived = moving._parts, Event()

    def waited_for(file: BinaryIO) -> Iterator[bytes]:
        with closing(real(file)) as sent:  # type: ignore[type-var]
            yield next(sent)
            assert arrived.wait(DEADLINE), "the first part was not written before the second was sent"
            yield from sent

    class Parts(io.BytesIO):
        def write(self, part: bytes) -> int:
            arrived.set()
            return super().write(part)

    monkeypatch.setattr(moving, "_parts", waited_for)
    parts = Parts()
    remote.export_runs(parts, [1, 2])
    assert parts.getvalue() == whole

    cuts = [1, 2]

    def cut(file: BinaryIO) -> Iterator[bytes]:
        with closing(real(file)) as sent:  # type: ignore[type-var]
            yield next(sent)
            if cuts:
                raise ConnectionError(f"cut {cuts.pop()}")
            yield from sent

    monkeypatch.setattr(moving, "_parts", cut)
    remote.export_runs(tmp_path / "far.zip", [1, 2])  # sent again until it arrives
    assert ((tmp_path / "far.zip").read_bytes(), cuts) == (whole, [])
    monkeypatch.setattr("service.remote.connection.PAUSES", ())
    cuts.append(3)
    with pytest.raises(Unreachable, match="does not answer"):
        remote.export_runs(tmp_path / "no.zip", [1, 2])
    assert not list(tmp_path.glob("no.zip*"))


def test_what_mlflow_is_given_is_the_same_through_the_api(remote: Client, home: Path, tmp_path: Path):
    remote.edit(2, parents={"cloned_from": 1})
    with Client(Settings(home=home)) as near:
        for client in (near, remote):
            client.export_mlflow(tmp_path / "mlruns", [1, 2, 3], experiment="far")
            (tmp_path / "mlruns").rename(tmp_path / type(client).__name__)
    here, there = (_files(tmp_path / name) for name in ("Client", "RemoteClient"))
    assert len(here) > 100
    assert there == here


def _files(folder: Path) -> dict[str, object]:
    """What is in the files of a folder, by their paths; JSON without its order."""
    return {
        str(file.relative_to(folder)): json.loads(file.read_bytes()) if file.suffix == ".json" else file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_frames_are_those_that_the_database_makes(remote: Client, home: Path):
    with Client(Settings(home=home)) as near:
        asked = {"columns": ["id", "tags", "created", "duration", "best(val_loss)"], "where": "id <= 3", "sort": "id"}
        here, there = near.frame(**asked), remote.frame(**asked)
        assert there.schema == here.schema
        assert there.drop("created").equals(here.drop("created"))
        assert remote.frame("id <= 3").schema == near.frame("id <= 3").schema
        assert remote.metrics_frame("id = 1").equals(near.metrics_frame("id = 1"))
        assert remote.metrics_frame([1], ["val_loss"]).equals(near.metrics_frame([1], ["val_loss"]))
        assert remote.steps(1) == near.steps(1)
        assert remote.ended() == near.ended()
        assert remote.ended("id = 1 or id = 5") == [1]


@pytest.mark.parametrize(("question", "sentence"), WRONG)
def test_a_question_of_the_wrong_kind_is_refused_as_beside_the_yard(remote: Client, question: Any, sentence: str):
    with pytest.raises(InputError, match=sentence):
        question(remote)


def test_fields_come_as_a_list_too(remote: Client):
    assert remote.stats("val_loss", ["optimizer", "seed"]) == remote.stats("val_loss", "optimizer, seed")


def test_the_yard_is_seen_as_from_beside_it(remote: Client, home: Path):
    with Client(Settings(home=home)) as near:
        told, known = remote.glance(), near.glance()
        assert [run.json() for run in told.running] == [run.json() for run in known.running]
        assert told.paces == known.paces
        assert remote.layers(1) == near.layers(1)
        assert remote.undelivered() == near.undelivered()
        assert remote.ended_since(near.run(1).created) == near.ended_since(near.run(1).created)
        with pytest.raises(InputError, match="no notifications are set up"):
            remote.notify_test()


def test_a_run_is_submitted_with_its_data_and_acted_on(ask: Ask, url: str, tmp_path: Path, remote: Client):
    spec = tmp_path / "table.yaml"
    shutil.copy(ROOT / "examples" / "flowers.csv", tmp_path)
    text = (ROOT / "examples" / "table.yaml").read_text()
    spec.write_text(text)
    code, out, _ = ask(f"submit {spec} --tag far", home=tmp_path, url=url)
    assert code == 0
    run = remote.run(int(out))
    assert (run.tags, run.state) == (("far",), "queued")
    assert remote.pause(run.id).state == "paused"
    assert remote.resume(run.id).state == "queued"
    assert remote.edit(run.id, note="seen") == [run.id]
    assert [edit.what for edit in remote.edits(run.id)] == ["note"]
    again = remote.clone(run.id, overrides=["train.epochs=2"])
    assert (again.epochs, again.dataset_sha256) == (2, run.dataset_sha256)
    assert set(remote.cancel_all("tag = far").values()) == {"cancelled"}
    assert [found.id for found in remote.watch_all([run.id, again.id])] == [run.id, again.id]


def test_images_are_sent_with_their_labels_from_a_folder_or_by_their_name(home: Path, remote: Client, tmp_path: Path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for number, folder in enumerate(folders):
        folder.mkdir()
        for name, header, body in (
            ("train-images-idx3-ubyte", b"\0\0\x08\3" + struct.pack(">3I", 40, 2, 2), bytes(range(160))),
            ("train-labels-idx1-ubyte", b"\0\0\x08\1" + struct.pack(">I", 40), bytes([number, 5] * 20)),
            ("t10k-images-idx3-ubyte", b"", b"not needed"),
        ):
            (folder / name).write_bytes(header + body)
    sources = [folders[0], folders[1], folders[1] / "train-images-idx3-ubyte"]
    specs = [
        {"version": 1, "data": {"source": str(source)}, "network": [], "train": {"batch_size": 4}} for source in sources
    ]
    far = [remote.run(number) for number in remote.submit_many(specs)]
    assert [run.spec["data"]["source"] for run in far] == [
        "train-images-idx3-ubyte", "2-train-images-idx3-ubyte", "4-train-images-idx3-ubyte"
    ]  # fmt: skip
    with Client(Settings(home=home)) as near:
        told = [run.dataset_sha256 for run in map(near.run, near.submit_many(specs))]
    assert [run.dataset_sha256 for run in far] == told
    assert len(set(told)) == 2
    remote.cancel_all("state = queued")


def test_what_is_wrong_with_a_spec_is_told_with_its_place_before_anything_is_sent(ask: Ask, url: str, tmp_path: Path):
    spec = tmp_path / "wrong.yaml"
    spec.write_text("version: 1\ndata: {source: flowers.csv, target: x}\nnetwork: []\n")
    here, there = (ask(f"submit {spec}", home=tmp_path, **where) for where in ({}, {"url": url}))
    assert here == there
    assert here[0] == 2


@pytest.fixture
def lost(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Response]:
    """The answer to the first request that changes something, which nobody hears."""
    real, answers = httpx.Client.request, list[httpx.Response]()

    def request(self: httpx.Client, method: str, path: str, **given: object) -> httpx.Response:
        answer = real(self, method, path, **given)  # type: ignore[arg-type]
        if method == "POST" and not answers:
            answers.append(answer)
            raise httpx.ReadError("cut")
        return answer

    monkeypatch.setattr(httpx.Client, "request", request)
    return answers


@pytest.mark.parametrize(("spec", "address"), [("digits.yaml", "/runs"), ("table.yaml", "/runs/with-data")])
def test_a_submit_whose_answer_is_lost_is_sent_again_and_not_done_twice(
    remote: Client, lost: list[httpx.Response], spec: str, address: str
):
    before = len(remote.runs(limit=None))
    run = remote.submit(ROOT / "examples" / spec)
    assert lost[0].url.path.endswith(address)
    assert lost[0].json()["runs"] == [run.id]
    assert len(remote.runs(limit=None)) == before + 1
    assert shared([Origin(ROOT / "examples").facts()]).items() <= remote.origin(run.id).items()  # the commit of here
    remote.cancel(run.id)


@pytest.mark.parametrize("again", ["clone", "replay"])
def test_a_clone_or_replay_whose_answer_is_lost_is_not_made_twice(
    remote: Client, lost: list[httpx.Response], again: str
):
    done = remote.runs("state = completed", limit=1)[0].id
    before = len(remote.runs(limit=None))
    run = getattr(remote, again)(done)
    assert lost[0].json()["runs"] == [run.id]
    assert len(remote.runs(limit=None)) == before + 1
    assert done in (run.cloned_from, run.replay_of)
    remote.cancel(run.id)


def test_of_runs_from_several_folders_what_they_have_in_common_is_told():
    one, two = ({"user": "ada", "commit": "1a2b3c4", "branch": branch, "dirty": False} for branch in ("main", "try"))
    assert shared([one, two]) == {"commit": "1a2b3c4", "dirty": False}


def test_weights_and_predictions_are_those_of_the_yard(remote: Client, home: Path):
    done = remote.runs("state = completed", limit=1)[0].id
    with Client(Settings(home=home)) as near:
        assert remote.weights_file(done) == near.weights_file(done)
        assert remote.compare([done]).curves == near.compare([done]).curves
        assert remote.run(done).json() == near.run(done).json()


def test_what_is_inside_a_network_is_seen_from_afar(remote: Client, home: Path, tmp_path: Path):
    with Client(Settings(home=home)) as client:
        assert remote.inside(1).document() == client.inside(1).document()  # of a table: no pictures

    (tmp_path / "images.yaml").write_text(IMAGES)
    settings = Settings(home=tmp_path, database_url="", broker_url="")
    shutil.copy(home / "trainyard.db", tmp_path)
    with Client(settings) as client, _listen("127.0.0.1", 0) as listener, _web(client, listener) as url:
        run = client.submit(tmp_path / "images.yaml", queue="images").id
        with patch.multiple(slot, settings=settings, database=client.database, worker="ada"):
            slot.train_next("images")
        near = client.inside(run)
        with Client(Settings(home=tmp_path / "far", url=url)) as there:
            far = there.inside(run)
    assert len(near.filters) == 4
    assert near.mistakes
    assert near.evaluation is not None
    assert far.document() == near.document()
    for here, there in zip((*near.filters, *_images(near)), (*far.filters, *_images(far)), strict=True):
        assert there.dtype == here.dtype
        assert there.tolist() == here.tolist()


def _images(found: Inside) -> list[Array]:
    return [mistake.image for mistake in found.mistakes]


def test_errors_come_back_as_what_they_were(remote: Client, tmp_path: Path):
    with pytest.raises(NoSuchRun, match="there is no run 4711"):
        remote.run(4711)
    for ask in (remote.cancel, remote.pause, remote.resume, remote.retry):
        with pytest.raises(NoSuchRun, match="there is no run 4711"):
            ask(4711)
    done = remote.runs("state = completed", limit=1)[0].id
    refused = remote.ask_each("cancel", [4711, done])
    assert [type(error) for error in refused.values()] == [NoSuchRun, WrongState]
    with pytest.raises(NotRemote, match="TRAINYARD_URL"):
        remote.compact()
    assert isinstance(remote, RemoteClient)


def test_a_token_is_asked_for_where_the_yard_wants_one(home: Path, ask: Ask, tmp_path: Path):
    settings = Settings(home=home, require_tokens=True)
    with Client(settings) as near, _listen("127.0.0.1", 0) as listener, _web(near, listener) as url:
        secret, _ = near.create_token("ada", "viewer")
        code, out, err = ask("runs list", home=tmp_path, url=url)
        assert (code, out) == (2, "")
        assert "TRAINYARD_TOKEN" in err
        code, _, err = ask("runs list", home=tmp_path, url=url, token="x" * 40)
        assert code == 2
        assert "not valid" in err
        assert ask("runs list", home=tmp_path, url=url, token=secret)[0] == 0
        code, _, err = ask("runs cancel 2", home=tmp_path, url=url, token=secret)
        assert code == 2
        assert "it takes the role submitter" in err
        assert secret not in repr(Settings(url=url, token=secret))


@pytest.mark.parametrize(
    ("line", "code", "told"),
    [
        ("up", 2, "TRAINYARD_URL"),
        ("db upgrade", 2, "TRAINYARD_URL"),
        ("workers start", 2, "TRAINYARD_URL"),
        ("demo", 2, "TRAINYARD_URL"),
        ("runs list", 3, "does not answer: Connection refused"),
    ],
)
def test_what_cannot_be_done_from_afar_is_told(ask: Ask, tmp_path: Path, monkeypatch, line: str, code: int, told: str):
    monkeypatch.setattr("service.remote.connection.PAUSES", ())
    found, out, err = ask(line, home=tmp_path, url="http://127.0.0.1:1")
    assert (found, out) == (code, "")
    assert told in err
    assert err.count("\n") == 1


def test_a_yard_is_named_in_one_way(tmp_path: Path):
    with pytest.raises(TrainyardError, match="TRAINYARD_URL and TRAINYARD_DATABASE_URL are both set"):
        load_settings(home=tmp_path, url="http://lab", database_url="sqlite:///x.db")
    with pytest.raises(TrainyardError, match="TRAINYARD_TOKEN for the token"):
        load_settings(home=tmp_path, url="http://ada:secret@lab")


@pytest.mark.parametrize("status", [200, 404])
def test_what_is_no_yard_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int):
    def answer(self: httpx.Client, *_: object, **__: object) -> httpx.Response:
        return httpx.Response(status, html="<h1>nothing here</h1>")

    monkeypatch.setattr(httpx.Client, "request", answer)
    with Client(Settings(home=tmp_path, url="http://lab")) as client, pytest.raises(TrainyardError, match="is no yard"):
        client.run(1)


moments = some.datetimes(timezones=some.just(UTC)).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000))


def records(kind: type[Record]) -> some.SearchStrategy[Record]:
    kinds = {"datetime": moments, "datetime | None": some.none() | moments, "dict[str, Any]": some.just({"seed": 1})}
    told = {name: kinds[str(field.type)] for name, field in kind.__dataclass_fields__.items() if field.type in kinds}
    return some.builds(kind, **told)


@given(some.one_of(*map(records, (RunRecord, AttemptRecord, WorkerRecord, LogRecord))))
def test_a_record_is_the_same_after_its_way_through_json(record: Record):
    sent = json.loads(json.dumps(record.json()))
    assert made(type(record), {**sent, "new": "what a later version tells"}).json() == sent
