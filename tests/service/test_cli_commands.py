"""The command line in this process: what each command prints, and one sentence and an exit code for what goes wrong."""

from __future__ import annotations

import csv
import json
import os
import platform
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import typer.main
from safetensors.numpy import load
from sqlalchemy import text

import nn
from service.cli import context, evaluate
from service.cli.main import app, main
from service.client import Client
from service.evaluation import Evaluation
from service.settings import Settings
from service.store import workers as worker_store
from service.store.database import Database
from service.store.tables import Summary
from tests.yard import ROOT, settled

RUN = {
    "id", "name", "state", "queue", "priority", "tags", "attempt", "epoch", "epochs", "created", "started", "finished",
    "worker", "error", "spec", "dataset_sha256", "weights_sha256", "metrics", "wish", "note", "cloned_from",
    "fine_tuned_from", "replay_of", "imported_from",
}  # fmt: skip
ATTEMPT = {
    "number", "worker", "pid", "started", "finished", "outcome", "reason", "exit_signal", "first_epoch", "epoch",
    "samples", "seconds", "environment",
}  # fmt: skip
WORKER = {"name", "host", "slots", "busy", "queues", "state", "last_seen"}
WORKER_MORE = {"pid", "silent_seconds", "metrics_url", "set_aside"}
YARD = {"state", "web_url", "database", "broker", "workers", "queues", "notifications", "space"}
FLOWERS = ROOT / "examples" / "flowers.csv"
CLOSED = "redis://:hunter2@127.0.0.1:1/0"


@dataclass
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Cli:
    """`trainyard …` in a home of its own that has a run in every state."""

    home: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: object) -> Answer:
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = self.capsys.readouterr()
        code = ended.value.code
        assert "Traceback" not in out + err
        return Answer(code if isinstance(code, int) else 0, out, err)

    def refused(self, *arguments: object, code: int = 2) -> str:
        """The one sentence that a command is refused with."""
        answer = self(*arguments)
        assert (answer.code, answer.out) == (code, "")
        assert answer.err.startswith("error: ")
        assert answer.err.count("\n") == 1
        return answer.err.removeprefix("error: ").rstrip("\n")

    def execute(self, statement: str) -> None:
        database = Database(Settings(home=self.home).database)
        with database.write() as session:
            session.execute(text(statement))
        database.dispose()


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with settled() as there:
        yield there.home / "trainyard.db"


@pytest.fixture
def cli(
    template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Cli]:
    shutil.copy(template, tmp_path)
    for name in [name for name in os.environ if name.startswith("TRAINYARD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setattr(context, "flags", {})
    monkeypatch.chdir(ROOT)
    clients: list[Client] = []
    make: Callable[[], Client] = context.client
    monkeypatch.setattr(context, "client", lambda: clients.append(make()) or clients[-1])
    yield Cli(tmp_path, capsys)
    for client in clients:
        if "database" in vars(client):
            client.database.dispose()


def commands(group: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    group = group or typer.main.get_command(app)
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


def parsed(command: Any, words: list[str], parent: Any = None) -> None:
    """Parse a command line to its end without running it; raises what a wrong one raises."""
    with command.make_context(words[0], words[1:], parent=parent) as here:
        if hasattr(command, "commands"):
            name, inner, rest = command.resolve_command(here, [*here._protected_args, *here.args])
            parsed(inner, [name, *rest], here)


# Help


@pytest.mark.parametrize("words", [words for words, _ in commands()], ids=" ".join)
def test_the_help_of_every_command_shows_an_example_that_parses(cli, words):
    answer = cli(*words, "--help")
    assert (answer.code, answer.err) == (0, "")
    [example] = re.findall(r"Example: (trainyard .*)", dict(commands())[words].help)
    assert example in re.sub(r"\s+", " ", answer.out)
    line = shlex.split(example.partition(" > ")[0])
    assert tuple(line[1 : len(words) + 1]) == words
    parsed(typer.main.get_command(app), line)


def test_without_a_command_the_help_is_shown(cli):
    for words in ([], ["runs"], ["workers"], ["db"]):
        assert "Usage: " in cli(*words).out


USAGE = {
    "nonsense": "no such command 'nonsense'; `trainyard --help` says more",
    "runs lst": "no such command 'lst'; did you mean 'list'? `trainyard runs --help` says more",
    "runs list --jsn": "no such option '--jsn'; did you mean '--json'? `trainyard runs list --help` says more",
    "runs show one": "invalid value for 'RUN': must be a whole number; `trainyard runs show --help` says more",
    "runs list --limit 0": "invalid value for '--limit': must be at least 1; `trainyard runs list --help` says more",
    "up --port 65536": "invalid value for '--port': must be at most 65535; `trainyard up --help` says more",
    "lr-find iris --lowest a": "invalid value for '--lowest': must be a number; `trainyard lr-find --help` says more",
    "tokens create": "missing argument 'NAME'; `trainyard tokens create --help` says more",
    "tokens create ada --role boss": "invalid value for '--role': 'boss' is not one of 'viewer', 'submitter', 'admin'; "
    "`trainyard tokens create --help` says more",
    "runs show 1 2": "there is no place for 2; `trainyard runs show --help` says more",
    "runs list --limit": "option '--limit' requires an argument",
}


@pytest.mark.parametrize("debug", ["", "1"], ids=["", "debug"])
def test_words_that_are_no_command_are_told_in_one_sentence_as_all_errors(cli, monkeypatch, debug):
    monkeypatch.setenv("TRAINYARD_DEBUG", debug)
    for words, sentence in USAGE.items():
        assert cli.refused(*words.split()) == sentence


def test_the_version_is_told(cli):
    assert re.fullmatch(r"trainyard \d+\.\d+\.\d+\n", cli("--version").out)


# JSON, for scripts to rely on


def test_a_run_has_the_promised_names(cli):
    runs = cli("runs", "list", "--json").json
    assert [set(run) for run in runs] == [RUN] * 5
    assert [run["state"] for run in runs] == ["queued", "running", "cancelled", "failed", "completed"]
    completed = runs[-1]
    assert set(completed["metrics"]["val_accuracy"]) == {"last", "best", "best_epoch"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", completed["finished"])
    assert re.fullmatch(r"[0-9a-f]{64}", completed["weights_sha256"])
    assert completed["tags"] == ["try"]


def test_a_run_that_is_shown_has_its_history_and_attempts_too(cli):
    run = cli("runs", "show", 1, "--json").json
    assert set(run) == RUN | {"origin", "history", "attempts", "edits"}
    assert [epoch["epoch"] for epoch in run["history"]] == [1, 2, 3]
    assert {"loss", "accuracy", "val_loss", "val_accuracy"} < set(run["history"][0])
    assert [set(attempt) for attempt in run["attempts"]] == [ATTEMPT]


def test_submit_watch_and_check_tell_json(cli):
    submitted = cli("submit", "examples/table.yaml", "--json", "--priority", 3, "--tag", "x", "--set", "train.epochs=2")
    run = submitted.json
    assert set(run) == RUN
    assert (run["id"], run["state"], run["priority"], run["tags"], run["epochs"]) == (6, "queued", 3, ["x"], 2)
    assert set(cli("runs", "watch", 1, "--json").json) == RUN
    report = cli("check", "examples/digits.yaml", "--json").json
    assert (report["parameters"], report["memory_bytes"]) == (17_226, sum(report["memory"].values()))
    assert cli("schema").json["title"]


def test_workers_and_the_yard_have_the_promised_names_and_no_secret(cli, monkeypatch):
    register(cli, "lab-7")
    [worker] = cli("workers", "list", "--json").json
    assert set(worker) == WORKER | WORKER_MORE
    monkeypatch.setenv("TRAINYARD_BROKER_URL", CLOSED)
    status = cli("status", "--json")
    assert set(status.json) == YARD
    assert [set(worker) for worker in status.json["workers"]] == [WORKER | WORKER_MORE]
    assert status.json["broker"] == "redis://:***@127.0.0.1:1/0"
    assert "hunter2" not in status.out + cli("status").out + cli("doctor").out
    assert status.json["queues"] == {
        "default": {"waiting": 0, "oldest_seconds": 0.0},
        "night": {"waiting": 1, "oldest_seconds": status.json["queues"]["night"]["oldest_seconds"]},
    }
    assert (status.json["state"], status.json["web_url"]) == ("down", None)


def register(cli: Cli, name: str) -> None:
    database = Database(Settings(home=cli.home).database)
    with database.write() as session:
        worker_store.register(
            session, name=name, host="lab", pid=7, slots=2, queues=["default", "night"],
            metrics_url="http://lab:9/metrics", lease_seconds=10,
        )  # fmt: skip
        worker_store.report(session, name, 7, slots=2, state="ready")
    database.dispose()


# Tables


def test_the_list_fits_80_columns_and_is_filtered(cli):
    listed = cli("runs", "list")
    lines = listed.out.splitlines()
    assert lines[0].split() == ["RUN", "NAME", "STATE", "EPOCH", "BEST", "TIME", "WORKER"]
    assert [line.split()[0] for line in lines[1:]] == ["5", "4", "3", "2", "1"]
    assert max(map(len, lines)) <= 80
    assert "a-name-that-is-…" in lines[2]
    for flags, found in (
        (["--where", "state in (failed, cancelled)"], ["3", "2"]),
        (["--after", 3], ["2", "1"]),
        (["--limit", 2], ["5", "4"]),
        (["--sort", "id"], ["1", "2", "3", "4", "5"]),
        (["--sort", "queue desc", "--limit", 1], ["5"]),
    ):
        assert [line.split()[0] for line in cli("runs", "list", *flags).out.splitlines()[1:]] == found
    assert cli("runs", "list", "--limit", 2).err == "there are more: --after 4, or --limit\n"
    assert cli("runs", "list", "--where", "tag = 'none'").err == "no run fits\n"


def test_runs_are_asked_for_by_an_expression(cli):
    def numbers(expression):
        return [run["id"] for run in cli("runs", "list", "--json", "--where", expression).json]

    assert numbers("best(val_accuracy) > 0 and state = 'completed' and optimizer.adam.learning_rate > 0") == [1]
    assert numbers("created > '1 h ago' and not state in ('completed', 'failed')") == [5, 4, 3]
    assert cli("runs", "list", "--where", "id > 1", "--limit", 2).err == "there are more: --after 4, or --limit\n"


def test_tags_are_a_column_too_and_what_a_sort_or_a_group_cannot_have(cli):
    cli("runs", "edit", 1, "--tag", "b", "--tag", "a", "--untag", "try")
    asked = "runs", "list", "--where", "id <= 2", "--sort", "id asc", "--columns", "id, tags"
    assert [line.split() for line in cli(*asked).out.splitlines()] == [["id", "tags"], ["1", "a", "b"], ["2", "-"]]
    assert cli(*asked, "--json").json == [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}]
    assert cli(*asked, "--csv").out == "id,tags\n1,a b\n2,\n"
    assert "no value to sort by" in cli("runs", "list", "--sort", "tag").err


def test_columns_are_chosen_and_printed_as_a_table_as_json_and_as_csv(cli):
    asked = (
        "runs",
        "list",
        "--sort",
        "id",
        "--limit",
        2,
        "--columns",
        "id, optimizer, best(val_loss), at(loss, 1), started",
    )
    first, second = cli(*asked, "--json").json
    assert list(first) == ["id", "optimizer", "best(val_loss)", "at(loss, 1)", "started"]
    assert (first["id"], first["optimizer"], second["id"]) == (1, "adam", 2)
    assert isinstance(first["at(loss, 1)"], float)
    assert first["started"].endswith("Z")
    header, *rows = csv.reader(cli(*asked, "--csv").out.splitlines())
    assert header == list(first)
    assert [row[0] for row in rows] == ["1", "2"]
    assert rows[0][3] == str(first["at(loss, 1)"])
    shown = cli(*asked).out.splitlines()
    assert shown[0].split("  ")[0].strip() == "id"
    assert max(map(len, shown)) <= 80
    whole = cli("runs", "list", "--csv").out.splitlines()
    assert next(csv.reader(whole))[:3] == ["id", "name", "state"]
    assert cli("runs", "list", "--csv", "--where", "id < 0").out.splitlines() == whole[:1]
    assert cli("runs", "list", "--csv", "--where", "id < 0", "--columns", "id, tags").out == "id,tags\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["list", "--sort", "tag"], "column 1: a run may have several tags, so 'tag' is no value to sort by"),
        (["list", "--sort", "los"], "column 1: there is no field 'los'; did you mean 'loss'?"),
        (["list", "--columns", "id, train"], "column 5: train is no single value to show; name one inside of it"),
        (["list", "--after", "99"], "there is no run 99; `trainyard runs list` shows those there are"),
        (["list", "--json", "--csv"], "--json or --csv, not both"),
        (["best", "--metric", "duration"], "'duration' is not the name of a metric, such as val_accuracy"),
        (["stats", "--by", "optimizer", "--metric", "name"], "name is a text and cannot be measured; take a number"),
        (["stats", "--by", "tag", "--metric", "loss"], "column 1: a run may have several tags"),
        (["pareto", "loss", "state"], "state is a text and cannot be measured; take a number"),
        (["best", "--metric", "val_los"], "column 1: there is no field 'val_los'; did you mean 'val_loss'?"),
        (["best", "--metric", "best(val_loss)"], "'best(val_loss)': leave out best(), for the best value is meant"),
        (["list", "--columns", ""], "column 1: expected a field such as val_accuracy, got the end"),
        (["stats", "--by", "name", "--metric", "loss", "--json", "--csv"], "--json or --csv, not both"),
        (["edit", "1"], "say what to change: name, note, tag, untag or parents"),
        (["edit", "--note", "x"], "say which runs: their numbers, or --where with an expression, not both"),
        (["edit", "99", "--note", "x"], "there is no run 99"),
        (["edit", "1", "--tag", "no spaces"], "tag 'no spaces': use 1 to 64 letters"),
        (["edit", "1", "--name", " "], "a name has 1 to 200 characters, all on one line"),
        (["edit", "1", "--name", "two\nlines"], r"a name may hold no character such as \n, which cannot be shown"),
        (["edit", "1", "--name", "\x1b[2J"], r"a name may hold no character such as \x1b, which cannot be shown"),
        (["edit", "1", "--note", "a\x1b[2J"], r"a note may hold no control character such as \x1b"),
        (["edit", "1", "--parent", "cloned_from=999"], "cloned_from=999: there is no run 999"),
        (
            ["edit", "1", "--parent", "clone=3"],
            "there is no kind of parent 'clone' (known: cloned_from,",
        ),
        (
            ["edit", "1", "--parent", "cloned_from=x"],
            "--parent cloned_from=x: write KIND=RUN, with the number of",
        ),
    ],
)
def test_what_cannot_be_asked_of_many_runs_is_told(cli, words, sentence):
    answer = cli("runs", *words)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"error: {sentence}")


def test_the_best_runs_their_groups_and_the_front_are_told(cli):
    [best] = cli("runs", "best", "--metric", "val_accuracy", "--json").json
    assert best["id"] == 1
    header, row = cli("runs", "best", "--metric", "val_accuracy").out.splitlines()
    assert header.split() == ["RUN", "NAME", "STATE", "val_accuracy", "AT", "EPOCH", "TIME"]
    assert row.split()[0] == "1"
    [group] = cli("runs", "stats", "--by", "optimizer", "--metric", "val_accuracy", "--json").json
    expected = {"group": {"optimizer": "adam"}, "count": 1, "deviation": None, "run_id": 1}
    assert group == expected | dict.fromkeys(("mean", "best"), best["metrics"]["val_accuracy"]["last"])
    assert cli("runs", "stats", "--by", "optimizer", "--metric", "val_accuracy").out.splitlines()[1].split()[:2] == [
        "adam",
        "1",
    ]
    assert [run["id"] for run in cli("runs", "pareto", "best(val_accuracy)", "duration", "--json").json] == [1]
    for words in (["best", "--metric", "roc_auc"], ["stats", "--by", "name", "--metric", "roc_auc"]):
        assert cli("runs", *words).err == "no run that fits has roc_auc\n"
    header, row = csv.reader(
        cli("runs", "stats", "--by", "optimizer, name", "--metric", "val_loss", "--csv").out.splitlines()
    )
    assert header == ["optimizer", "name", "count", "mean", "deviation", "best", "run_id"]
    assert (row[0], row[2], row[4], row[6]) == ("adam", "1", "", "1")
    assert row[5] == str(best["metrics"]["val_loss"]["best"])
    whole = cli("runs", "stats", "--by", "seed, optimizer.adam.learning_rate", "--metric", "val_loss", "--csv").out
    assert whole.splitlines()[1].startswith("0,0.001,1,")
    assert cli("runs", "best", "--metric", "val_accuracy").err == ""
    with Client(Settings(home=cli.home, database_url="", broker_url="")) as client, client.database.write() as session:
        session.add(Summary(run_id=2, name="val_accuracy", last=0.1, last_epoch=1, best=0.1, best_epoch=1))
    assert cli("runs", "best", "--metric", "val_accuracy").err.endswith("trainyard runs compare 1 2\n")


def test_runs_are_edited_by_number_and_by_fit_and_what_was_edited_is_shown(cli):
    assert (
        cli("runs", "edit", 1, "--note", "the first", "--tag", "keep", "--parent", "cloned_from=2").out
        == "1 run changed\n"
    )
    assert cli("runs", "edit", "--where", "state in (failed, cancelled)", "--tag", "gone").out == "2 runs changed\n"
    for which in ((1,), ("--where", "id = 1")):
        assert cli("runs", "edit", *which, "--tag", "keep").err == "nothing changed: it is so already\n"
    assert cli("runs", "edit", "--where", "id < 0", "--tag", "keep").err == "nothing changed: no run fits\n"
    run = cli("runs", "show", 1, "--json").json
    assert (run["note"], run["cloned_from"], "keep" in run["tags"]) == ("the first", 2, True)
    assert [edit["what"] for edit in run["edits"]] == ["cloned_from", "note", "tag"]
    shown = cli("runs", "show", 1).out
    assert "note         the first" in shown
    assert "cloned from  run 2" in shown
    assert re.search(r"tag +- +keep", shown)
    assert max(map(len, shown.splitlines())) <= 80


def test_a_wrong_expression_is_told_with_a_mark_at_its_place(cli):
    answer = cli("runs", "list", "--where", "id > 0 and state = 'complete'")
    assert (answer.code, answer.out) == (2, "")
    first, second, third = answer.err.splitlines()
    assert first.startswith("error: column 20: state is never 'complete'; did you mean 'completed'?")
    assert (second, third) == ("  id > 0 and state = 'complete'", "                     ^^^^^^^^^^")


@pytest.mark.parametrize(
    "words", [["status"], ["workers", "list"], ["check", "examples/digits.yaml"], ["runs", "show", "1"]], ids=" ".join
)
def test_what_people_read_fits_80_columns(cli, words):
    register(cli, "lab-7")
    answer = cli(*words)
    assert answer.code == 0
    paths = str(cli.home)
    assert max(len(line.rstrip()) for line in answer.out.splitlines() if paths not in line) <= 80


def test_a_run_is_shown_with_who_submitted_it_and_where(cli):
    run = cli("submit", "examples/table.yaml").out.strip()
    origin = cli("runs", "show", run, "--json").json["origin"]
    told = re.search(r"^submitted +(.*)$", cli("runs", "show", run).out, re.M)
    assert told is not None
    assert told[1].startswith(f"by {origin['user']} on {origin['host']}")


def test_many_runs_are_submitted_with_ranges_of_their_numbers_and_without_being_followed(cli):
    grid = ("--grid", "seed=1..3", "--grid", "train.epochs=1,2")
    submitted = cli("submit", "examples/table.yaml", "examples/digits.yaml", *grid, "--tag", "many", "--queue", "q")
    first = int(cli("runs", "list", "--where", "tag = many", "--json").json[-1]["id"])
    assert submitted.out == f"12 runs queued: {first} to {first + 11}\n"
    assert cli("submit", "examples/table.yaml", *grid, "--json").json == list(range(first + 12, first + 18))
    assert cli("submit", "examples/table.yaml", "--grid", "seed=5").out == f"{first + 18}\n"
    sentence = "--watch follows one run, and these are 6; `trainyard status` counts them"
    assert cli.refused("submit", "examples/table.yaml", *grid, "--watch") == sentence
    assert len(cli("runs", "list", "--json", "--where", "seed = 3 and train.epochs = 2 and queue = q").json) == 2


def test_a_run_is_shown_with_its_metrics_and_attempts(cli):
    shown = cli("runs", "show", 1).out
    assert shown.startswith("run 1 completed on ada after 3 epochs")
    assert re.search(r"^tags +try *$", shown, re.M)
    assert re.search(r"^network +dense 16 relu, dense 16 relu, dense 3$", shown, re.M)
    assert re.search(r"^optimizer +adam, learning_rate 0.001, batches of 16, seed 0$", shown, re.M)
    assert re.search(r"^val_accuracy +0\.\d+ +0\.\d+ +\d ", shown, re.M)
    assert re.search(r"^ +1  ada +.* ago +3  completed", shown, re.M)


# Acting


def test_submit_without_a_broker_stores_the_run_and_gives_a_hint(cli):
    for flags in ([], ["--broker", CLOSED]):
        answer = cli(*flags, "submit", "examples/table.yaml")
        assert (answer.code, answer.out) == (0, f"{6 + bool(flags)}\n")
        assert answer.err.startswith("the run is stored and will start as soon as a worker finds it; ")
        assert answer.err.count("\n") == 1
        assert "hunter2" not in answer.err
    assert [run["state"] for run in cli("runs", "list", "--json", "--limit", 2).json] == ["queued", "queued"]


def test_cancel_takes_several_runs_and_retry_brings_one_back(cli):
    assert cli("submit", "examples/table.yaml").code == 0
    assert cli("runs", "cancel", 5, 6).out == "run 5 is cancelled\nrun 6 is cancelled\n"
    assert cli("runs", "retry", 5).out == "run 5 is queued\n"
    assert cli("runs", "show", 5, "--json").json["state"] == "queued"


def test_a_run_that_waits_is_paused_and_resumed(cli):
    assert cli("runs", "pause", 5).out == "run 5 is paused\n"
    assert cli("runs", "why", 5).out == (
        "run 5 is paused before it started; `trainyard runs resume 5` queues it again\n"
    )
    assert cli("runs", "resume", 5).out == "run 5 is queued\n"


def test_runs_that_fit_an_expression_are_asked_all_at_once(cli):
    for _ in range(3):
        assert cli("submit", "examples/table.yaml", "--tag", "mass").code == 0
    where = ("--where", "tag = 'mass' and state = 'queued'")
    assert cli("runs", "pause", *where).out == "3 runs are paused\n"
    nobody = cli("runs", "pause", *where)
    assert (nobody.code, nobody.out) == (0, "")
    assert nobody.err == "no run fits and is in a state for it; `trainyard runs list --where` shows those that fit\n"
    assert cli("runs", "resume", "--where", "tag = 'mass' and id = 6").out == "1 run is queued\n"
    assert cli("runs", "cancel", "--where", "tag = 'mass'").out == "3 runs are cancelled\n"
    assert cli("runs", "retry", "--where", "tag = 'mass'").out == "3 runs are queued\n"
    assert cli("runs", "show", 5, "--json").json["state"] == "queued"


def test_a_run_is_cloned_with_keys_changed_and_tells_where_it_comes_from(cli):
    assert cli("runs", "clone", 1, "--set", "train.epochs=7").out == "6\n"
    clone = cli("runs", "show", 6, "--json").json
    assert (clone["epochs"], clone["tags"], clone["cloned_from"], clone["state"]) == (7, ["try"], 1, "queued")
    assert clone["spec"]["network"] == cli("runs", "show", 1, "--json").json["spec"]["network"]
    assert re.search(r"^cloned from +run 1 *$", cli("runs", "show", 6).out, re.M)


def test_the_log_of_a_run_is_printed_whole_in_part_or_for_programs(cli):
    whole = cli("runs", "logs", 2).out.splitlines()
    assert re.match(r"[0-9]{4}-[0-9-]+ [0-9:]+  attempt 1 begins: worker ada on ", whole[0])
    assert "  error: failed: diverged in epoch 1" in whole[-1]
    assert cli("runs", "logs", 2, "--attempt", 1, "--tail", 1, "--follow").out.splitlines() == whole[-1:]
    assert cli("runs", "logs", 2, "--follow").out.splitlines() == whole
    told = cli("runs", "logs", 2, "--json").json
    assert [line["number"] for line in told] == list(range(1, len(whole) + 1))
    assert set(told[0]) == {"attempt", "number", "at", "level", "text"}
    assert [json.loads(line) for line in cli("runs", "logs", 2, "-f", "--json").out.splitlines()] == told
    assert cli("runs", "logs", 5).err.startswith("run 5 is queued and has no log yet; `trainyard runs why 5`")
    assert cli.refused("runs", "logs", 1, "--attempt", 2) == "run 1 has no attempt 2; there was one attempt"


def test_watching_an_ended_run_tells_its_last_epoch_and_exits_1_unless_it_completed(cli):
    watched = cli("runs", "watch", 1)
    assert watched.code == 0
    assert re.fullmatch(r"epoch 3/3 loss [0-9.]+ val_loss [0-9.]+ val_accuracy [0-9.]+\n", watched.err)
    assert watched.out.startswith("run 1 completed")
    assert cli("runs", "watch", 2).code == 1
    assert cli("runs", "watch", 3).code == 1


def test_why_answers_for_every_state(cli):
    for run, sentence in (
        (1, r"run 1 completed on ada after 3 epochs"),
        (2, r"run 2 failed on ada after 0 of 80 epochs: diverged in epoch 1 at step 2: "),
        (3, r"run 3 was cancelled before it started; `trainyard runs retry 3` queues it again"),
        (4, r"run 4 trains on bob \(attempt 1\), 0 of 80 epochs are done"),
        (5, r"run 5 waits because no worker serves queue 'night'; start one: "),
    ):
        answer = cli("runs", "why", run)
        assert answer.code == 0
        assert re.match(sentence, answer.out), answer.out
        assert answer.out.count("\n") == 1


def test_weights_are_written_whole_as_safetensors(cli):
    file, last = cli.home / "best.safetensors", cli.home / "last.safetensors"
    assert cli("runs", "weights", 1, "-o", file).code == 0
    assert cli("runs", "weights", 1, "--last", "-o", last).code == 0
    assert load(file.read_bytes())["1.dense.weight"].shape == (4, 16)
    assert set(load(last.read_bytes())) == set(load(file.read_bytes()))
    assert {path.name for path in cli.home.glob("*.safetensors*")} == {file.name, last.name}


def test_runs_are_exported_and_imported_and_told_where_they_came_from(cli, tmp_path):
    file, there = tmp_path / "runs.zip", ("--home", tmp_path / "there")
    written = cli("runs", "export", "--where", "id > 0", "-o", file)
    assert (written.code, written.out, written.err) == (0, "", f"3 runs written to {file}\n")
    host = platform.node()
    assert cli(*there, "runs", "import", file).out == "".join(
        f"run {number}: flowers, was run {number} on {host}\n" for number in (1, 2, 3)
    )
    assert cli(*there, "runs", "import", file, file).out == 2 * "".join(
        f"run {number} is here already\n" for number in (1, 2, 3)
    )
    assert re.search(rf"^imported +from run 1 on {host} *$", cli(*there, "runs", "show", 1).out, re.M)
    [first, *_] = cli(*there, "runs", "import", file, "--json").json
    assert set(first) == {"run", "uid", "name", "imported_from", "new"}
    assert (first["run"], first["new"]) == (1, False)


def test_runs_are_written_for_mlflow(cli, tmp_path):
    written = cli("runs", "export", 1, 2, "--mlflow", tmp_path / "mlruns", "--experiment", "mine")
    assert (written.code, written.out, written.err) == (0, "", f"2 runs written to {tmp_path / 'mlruns'}\n")
    [experiment] = (tmp_path / "mlruns").iterdir()
    assert "name: mine\n" in (experiment / "meta.yaml").read_text()
    assert len([place for place in experiment.iterdir() if place.is_dir()]) == 2


def test_evaluate_shows_metrics_classes_and_what_is_taken_for_what(cli):
    shown = cli("evaluate", 1)
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == "run 1, its best weights on 15 test rows"
    assert max(map(len, lines)) <= 80
    found = cli("evaluate", 1, "--json").json
    assert set(found) == {"run", "weights", "split", "rows", "metrics", "classes", "confusion"}
    assert (found["run"], found["weights"], found["split"], found["rows"]) == (1, "best", "test", 15)
    for name, value in found["metrics"].items():
        assert re.search(rf"^{name} +{re.escape(f'{value:.4g}')}$", shown.out, re.M)
    for place, (row, counts) in enumerate(zip(found["classes"], found["confusion"], strict=True)):
        assert set(row) == {"name", "precision", "recall", "f1", "support"}
        assert sum(counts) == row["support"]
        ratios = " +".join(f"{row[key]:.3f}" for key in ("precision", "recall", "f1"))
        assert re.search(rf"^{row['name']} +{ratios} +{row['support']}$", shown.out, re.M)
        assert lines[-3 + place].split() == [row["name"], *map(str, counts)]


def test_evaluate_takes_the_split_and_the_weights_it_is_told(cli):
    last = cli("evaluate", 1, "--split", "validation", "--last", "--json").json
    assert (last["split"], last["weights"], last["rows"]) == ("validation", "last", 30)
    run = cli("runs", "show", 1, "--json").json
    assert last["metrics"]["loss"] == run["metrics"]["val_loss"]["last"]
    assert cli("evaluate", 1, "--json").json["metrics"]["loss"] == run["metrics"]["test_loss"]["last"]
    assert cli.refused("evaluate", 1, "--split", "tset").startswith("unknown split 'tset'; did you mean 'test'?")
    assert "has no weights" in cli.refused("evaluate", 2)
    assert "there is no run 99" in cli.refused("evaluate", 99)


def test_the_confusion_matrix_is_drawn_as_a_picture_or_shown(cli):
    file = cli.home / "confusion.png"
    assert cli("runs", "plot", 1, "--kind", "confusion", "--split", "train", "-o", file).code == 0
    assert file.read_bytes().startswith(b"\x89PNG")
    found = cli("runs", "plot", 1, "--kind", "confusion", "--json").json
    assert (found["run"], found["split"]) == (1, "test")
    rows = [[row["name"], *map(str, counts)] for row, counts in zip(found["classes"], found["confusion"], strict=True)]
    assert [line.split() for line in cli("runs", "plot", 1, "--kind", "confusion").out.splitlines()[-3:]] == rows


def test_many_classes_are_told_by_their_most_frequent_confusions(cli, capsys):
    names = tuple(f"class-{number:02}" for number in range(30))
    confusion = np.diag(np.arange(1, 31))
    confusion[3, 7], confusion[28, 0] = 5, 1234
    everything = Evaluation("test", int(confusion.sum()), {"loss": 1.0}, names, nn.per_class(confusion), confusion)
    evaluate.show(everything)
    out, err = capsys.readouterr()
    assert out.endswith("\n\nclass-28 → class-00: 1,234\nclass-03 → class-07: 5\n")
    assert re.search(r"CLASS .*\nclass-00 +0.001 +1.000 +0.002 +1\n", out)
    assert err == "the 20 of 30 classes with the lowest F1; --json has all\n"
    assert "class-05" in out
    assert "class-29 " not in out


def test_points_of_steps_are_shown_as_curves_and_printed_when_asked_for(cli):
    shown = cli("runs", "show", 1).out
    table = shown.partition("BY STEP")[2].splitlines()
    assert [line.split()[0] for line in table[1:4]] == ["gradient_norm", "learning_rate", "loss"]
    assert all("█" in table[place] for place in (1, 3))
    assert max(map(len, shown.splitlines())) <= 80
    assert "BY STEP" not in cli("runs", "show", 2).out
    assert "steps" not in cli("runs", "show", 1, "--json").json
    steps = [row for row in cli("runs", "show", 1, "--json", "--steps").json["steps"] if row["name"] == "loss"]
    assert [row["step"] for row in steps] == list(range(1, len(steps) + 1))
    assert cli("runs", "show", 5, "--json", "--steps").json["steps"] == []


def test_what_a_run_was_trained_on_is_shown_and_what_changed_between_its_attempts(cli):
    shown = cli("runs", "show", 1).out
    for name in ("host", "CPU", "BLAS", "versions", "system"):
        assert re.search(rf"^{name} +\S", shown, re.M)
    assert "threads 1" in shown
    assert "ran elsewhere" not in shown
    copied = "run_id, 2, worker, pid, started, outcome, samples, seconds, json_set(environment, '$.numpy', '3.0')"
    columns = "run_id, number, worker, pid, started, outcome, samples, seconds, environment"
    cli.execute(f"INSERT INTO attempts ({columns}) SELECT {copied} FROM attempts WHERE run_id = 1")
    shown = cli("runs", "show", 1).out
    assert re.search(r"^versions .*, NumPy 3\.0$", shown, re.M)
    assert re.search(r"^try 2 ran elsewhere: numpy: \S+ -> 3\.0$", shown, re.M)


def test_a_replay_can_be_submitted_now_and_compared_later(cli):
    assert cli("runs", "replay", 1, "--no-watch", "--queue", "night").out == "6\n"
    replay = cli("runs", "show", 6, "--json").json
    assert (replay["replay_of"], replay["queue"], replay["tags"], replay["state"]) == (1, "night", [], "queued")
    assert replay["spec"] == cli("runs", "show", 1, "--json").json["spec"]
    assert re.search(r"^replay of +run 1 *$", cli("runs", "show", 6).out, re.M)
    cli("runs", "cancel", 6)
    cancelled = cli("runs", "replay", 1, "--against", 6)
    assert cancelled.code == 1
    assert cancelled.out.startswith("run 6 was cancelled before it started; ")
    assert "\nthey first differ at epoch 1:\n" in cancelled.out
    assert cli("runs", "replay", 1, "--against", 1).code == 0
    assert cli.refused("runs", "replay", 2) == "run 2 is failed; only a completed run can be replayed"
    assert "run 2 is no replay of run 1" in cli.refused("runs", "replay", 1, "--against", 2)
    assert "there is no run 9" in cli.refused("runs", "replay", 1, "--against", 9)


def test_predictions_go_to_the_output_or_a_file(cli):
    shown = cli("predict", 1, FLOWERS)
    header, *rows = shown.out.splitlines()
    assert header.split(",")[0] == "prediction"
    assert len(rows) == len(FLOWERS.read_text().splitlines()) - 1
    for name, read in (("out.csv", pl.read_csv), ("out.parquet", pl.read_parquet)):
        assert cli("predict", 1, FLOWERS, "-o", cli.home / name).out == ""
        assert read(cli.home / name).height == len(rows)


def test_the_doctor_finds_a_machine_that_is_well_and_a_worker_that_went_silent(cli):
    well = cli("doctor")
    assert well.code == 0
    assert {"python", "blas", "home", "sqlite", "database", "broker", "workers"} <= set(well.out.split())
    assert "wrong" not in well.out.split()
    register(cli, "lab-7")
    cli.execute("UPDATE workers SET last_seen = last_seen - 3600")
    assert "lab-7 went silent without saying goodbye" in cli("doctor").out
    cli.execute("UPDATE alembic_version SET version_num = '0000'")
    sick = cli("doctor")
    assert sick.code == 1
    assert re.search(r"^wrong +database +the database is at schema 0000", sick.out, re.M)


def test_the_database_is_checked_and_upgraded(cli):
    assert cli("db", "check").out == "the database is at schema 0006, the one this version needs\n"
    assert cli("db", "upgrade").out == "the database is at schema 0006\n"
    url = f"sqlite:///{cli.home / 'new.db'}"
    made = cli("--database", url, "db", "upgrade")
    assert (made.code, made.out) == (0, "the database is at schema 0006, upgraded from nothing\n")
    assert cli("--database", url, "runs", "list").code == 0


def test_down_without_a_yard_is_no_error(cli):
    answer = cli("down")
    assert (answer.code, answer.out, answer.err) == (0, "no yard runs in this home\n", "")


# Refusals: one sentence, nothing changed


@pytest.mark.parametrize(
    "words", ["show", "why", "watch", "cancel", "retry", "weights -o w.safetensors"], ids=lambda words: words[:7]
)
def test_a_run_that_is_not_there_is_named(cli, words):
    verb, *flags = words.split()
    assert cli.refused("runs", verb, 99, *flags) == "there is no run 99; `trainyard runs list` shows those there are"


def test_a_verb_that_does_not_fit_the_state_says_which_would(cli):
    assert cli.refused("runs", "retry", 1) == "run 1 is completed; only a failed or cancelled run can be retried"
    cancelled = "run 1 is completed; only a queued, paused or running run can be cancelled"
    assert cli.refused("runs", "cancel", 1) == cancelled


@pytest.mark.parametrize("verb", ["cancel", "pause", "resume", "retry"])
def test_which_runs_are_meant_must_be_said_in_one_way(cli, verb):
    sentence = "say which runs: their numbers, or --where with an expression, not both"
    assert cli.refused("runs", verb) == sentence
    assert cli.refused("runs", verb, 1, "--where", "id = 1") == sentence


def test_a_clone_is_refused_what_its_rows_do_not_allow_and_what_is_wrong_in_its_spec(cli):
    assert cli.refused("runs", "clone", 1, "--set", "data.source=iris") == (
        "a clone trains on the rows that run 1 was submitted with, so data.source cannot be changed; "
        "submit the spec's file again with --set instead"
    )
    assert "did you mean 'train.epochs'?" in cli.refused("runs", "clone", 1, "--set", "train.epoch=3")
    assert cli.refused("runs", "clone", 99).startswith("there is no run 99")
    assert len(cli("runs", "list", "--json").json) == 5


def test_what_is_exported_and_where_to_must_be_said_in_one_way(cli, tmp_path):
    file = tmp_path / "runs.zip"
    which = "say which runs: their numbers, or --where with an expression, not both"
    assert cli.refused("runs", "export", "-o", file) == which
    assert cli.refused("runs", "export", 1, "--where", "id = 1", "-o", file) == which
    where = "say where to: -o with a file for another yard, or --mlflow with a folder"
    assert cli.refused("runs", "export", 1) == where
    assert cli.refused("runs", "export", 1, "-o", file, "--mlflow", tmp_path) == where
    assert cli.refused("runs", "export", 1, "-o", file, "--experiment", "a").startswith("--experiment belongs to")
    assert cli.refused("runs", "export", "--where", "state = queued", "-o", file).startswith("no run that fits has")
    assert cli.refused("runs", "export", 5, "-o", file) == (
        "run 5 is queued; only a completed, failed or cancelled run can be exported"
    )
    assert not file.exists()


def test_a_file_without_runs_is_refused(cli, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"PK nothing")
    assert cli.refused("runs", "import", tmp_path / "a.zip") == "a.zip is no file of runs, or only a part of one"
    assert cli.refused("runs", "import", tmp_path / "b.zip").endswith("b.zip cannot be read: no such file or directory")


def test_a_worker_that_is_not_set_aside_is_not_taken_back(cli):
    nobody = "there is no worker 'lab-77'{}; `trainyard workers list --all` shows all there are"
    assert cli.refused("workers", "trust", "lab-77") == nobody.format("")
    register(cli, "lab-7")
    assert cli.refused("workers", "trust", "lab-77") == nobody.format("; did you mean 'lab-7'?")
    sentence = "worker 'lab-7' is not set aside; `trainyard workers list` shows those that are"
    assert cli.refused("workers", "trust", "lab-7") == sentence


@pytest.mark.parametrize("run", [2, 3, 5])
def test_a_run_without_weights_says_so_and_no_file_is_left(cli, run):
    state = {2: "failed", 3: "cancelled", 5: "queued"}[run]
    sentence = f"run {run} is {state} and has no weights; `trainyard runs why {run}` says more"
    file = cli.home / "w.safetensors"
    assert cli.refused("runs", "weights", run, "-o", file) == sentence
    assert cli.refused("predict", run, FLOWERS, "-o", cli.home / "p.csv") == sentence
    assert not (cli.home / "p.csv").exists()
    assert not file.exists()


def test_a_folder_that_is_not_there_is_named(cli):
    nowhere = cli.home / "nowhere" / "w.safetensors"
    assert str(nowhere.parent) in cli.refused("runs", "weights", 1, "-o", nowhere)


def test_a_table_with_the_wrong_columns_is_refused_and_nothing_is_written(cli):
    table, out = cli.home / "rows.csv", cli.home / "out.csv"
    table.write_text("petal_length,petal_widht,sepal_length,sepal_width\n1,2,3,4\n")
    assert cli.refused("predict", 1, table, "-o", out) == (
        "rows.csv lacks the column 'petal_width'; rename 'petal_widht' if that is meant"
    )
    assert not out.exists()
    assert "nothere.csv" in cli.refused("predict", 1, cli.home / "nothere.csv")


@pytest.mark.parametrize("command", ["check", "submit"])
def test_a_wrong_spec_is_told_with_its_place_and_stores_nothing(cli, command):
    file = cli.home / "spec.yaml"
    assert cli.refused(command, file) == f"{file}: there is no such file"
    assert cli.refused(command, cli.home) == f"{cli.home}: is a directory"
    file.write_text("version: 1\ndata: {source: iris}\nnetwork:\n  - dense: {unit: 16}\n")
    assert cli.refused(command, file).startswith(
        f"{file}:4:13: network[0].dense: unknown key 'unit'; did you mean 'units'?"
    )
    file.write_bytes(b"\xff\xfe\x00")
    assert cli.refused(command, file) == f"{file}:1:1: the text is not UTF-8"
    sentence = cli.refused(command, "examples/table.yaml", "--set", "train.epoch=3")
    assert sentence == "--set train.epoch=3: unknown key 'train.epoch'; did you mean 'train.epochs'?"
    assert [run["id"] for run in cli("runs", "list", "--json", "--limit", 1).json] == [5]


@pytest.mark.parametrize("flags", [["--queue", "a/b"], ["--tag", ""], ["--tag", "a" * 65]], ids=lambda flags: flags[0])
def test_a_name_that_cannot_be_one_is_refused(cli, flags):
    what = flags[0].strip("-")
    assert cli.refused("submit", "examples/table.yaml", *flags).startswith(f"{what} '{flags[1]}': use 1 to 64 letters")


@pytest.mark.parametrize("words", ["scale nobody 2", "drain nobody", "stop nobody"])
def test_a_worker_that_is_not_there_is_named(cli, words):
    nobody = "there is no running worker 'nobody'; "
    assert cli.refused("workers", *words.split()) == nobody + "there is none; start one: trainyard workers start"
    register(cli, "lab-7")
    assert cli.refused("workers", *words.split()) == nobody + "those there are: lab-7"


@pytest.mark.parametrize("words", ["runs list", "submit examples/table.yaml", "status", "workers list", "db check"])
def test_a_database_of_another_version_is_refused(cli, words):
    for version, advice in (("0000", "run `trainyard db upgrade`"), ("9999", "update Trainyard")):
        cli.execute(f"UPDATE alembic_version SET version_num = '{version}'")
        sentence = cli.refused(*words.split())
        assert sentence.startswith(f"the database is at schema {version}, ")
        assert sentence.endswith(advice)


@pytest.mark.parametrize("words", ["runs list", "submit examples/table.yaml", "status", "db upgrade"])
def test_a_database_that_cannot_be_reached_exits_3_without_its_password(cli, words):
    url = "postgresql://ada:hunter2@127.0.0.1:1/yard"
    sentence = cli.refused("--database", url, *words.split(), code=3)
    assert sentence.startswith("the database postgresql+psycopg://ada:***@127.0.0.1:1/yard cannot be reached: ")


def test_a_file_that_is_no_database_is_told(cli):
    (cli.home / "trainyard.db").write_bytes(b"not a database, but long enough to be taken for one" * 100)
    assert "file is not a database" in cli.refused("runs", "list", code=3)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--database", "mysql://x"], "setting database_url (TRAINYARD_DATABASE_URL): 'mysql' is no database"),
        (["--database", "postgresql://u:hunter2@h:x/y"], "setting database_url (TRAINYARD_DATABASE_URL): it is no URL"),
        (["--broker", "amqp://x"], "setting broker_url (TRAINYARD_BROKER_URL): 'amqp' is no broker Trainyard knows"),
        (["--broker", "redis://:hunter2@h:99999/0"], "setting broker_url (TRAINYARD_BROKER_URL): it is no URL"),
        (["--broker", "redis+cluster://h"], "setting broker_url (TRAINYARD_BROKER_URL): Redis Cluster cannot carry"),
    ],
    ids=lambda value: value[1] if isinstance(value, list) else "",
)
def test_a_setting_that_cannot_be_is_named(cli, flags, sentence):
    told = cli.refused(*flags, "runs", "list")
    assert told.startswith(sentence)
    assert "hunter2" not in told


def test_an_error_that_should_not_happen_is_one_sentence_too(cli, monkeypatch):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(Client, "runs", broken)
    assert cli.refused("runs", "list", code=1) == (
        "an error that should not happen (ZeroDivisionError: division by zero); "
        "run it again with TRAINYARD_DEBUG=1 and report what it prints"
    )
    monkeypatch.setenv("TRAINYARD_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["runs", "list"])


# Tokens


def test_a_token_is_shown_once_and_listed_without_its_secret(cli):
    answer = cli("tokens", "create", "ada", "--role", "admin")
    assert answer.out.startswith("ty_")
    assert answer.err == "keep it safe, it is not shown again; ada is an admin, until it is revoked\n"
    made = cli("tokens", "create", "bob", "--expires", "12 h", "--json").json
    assert (made["name"], made["role"], made["token"][:3]) == ("bob", "viewer", "ty_")
    listed = cli("tokens", "list")
    assert [line.split()[:2] for line in listed.out.splitlines()[1:]] == [["ada", "admin"], ["bob", "viewer"]]
    names = [set(token) for token in cli("tokens", "list", "--json").json]
    assert names == [{"name", "role", "created", "expires"}] * 2
    assert cli("tokens", "revoke", "ada").out == "the token ada is revoked\n"
    assert [token["name"] for token in cli("tokens", "list", "--json").json] == ["bob"]


def test_tokens_that_cannot_be_are_refused(cli):
    assert "is no duration" in cli.refused("tokens", "create", "ada", "--expires", "soon")
    assert "valid for up to" in cli.refused("tokens", "create", "ada", "--expires", "99999999 days")
    assert "use 1 to 64 letters" in cli.refused("tokens", "create", "a b")
    assert "there is no token 'ada'" in cli.refused("tokens", "revoke", "ada")
    cli("tokens", "create", "ada")
    assert "there is a token 'ada' already" in cli.refused("tokens", "create", "ada")


def test_a_page_for_other_machines_wants_a_token_first(cli):
    sentence = cli.refused("up", "--host", "0.0.0.0", "--port", "0", "--workers", "0")
    assert sentence.endswith("make one first: trainyard tokens create NAME --role admin")
