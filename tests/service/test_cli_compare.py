"""`runs compare` and `runs plot` as they are typed: what they print, the files they write, and what they refuse."""

from __future__ import annotations

import json
import math

import pytest

from service.cli import context
from service.cli.main import main
from service.cli.output import blocks
from service.store.points import Point


@pytest.fixture
def cli(database_url, yard, monkeypatch, tmp_path, capsys):
    """Code, output and error of a command; the clients it makes are closed."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setattr(context, "flags", {})
    clients, make = [], context.client
    monkeypatch.setattr(context, "client", lambda: clients.append(make()) or clients[-1])

    def command(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--database", database_url, "runs", *map(str, words)])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return ended.value.code or 0, out, err

    yield command
    for client in clients:
        if "database" in vars(client):
            client.database.dispose()


def train(yard, count=1, epochs=4):
    """Runs that differ in two keys; their losses and accuracies differ, too."""
    numbers = []
    for number in range(count):
        spec = {
            "optimizer": {"adam": {"learning_rate": 10 ** -(number % 4 + 1)}},
            "train": {"batch_size": 2**number % 97},
        }
        claim = yard.claimed(spec=spec | {"metrics": ["accuracy"]}, tags=["some"])
        points = [
            Point(name, epoch, value, higher)
            for epoch in range(1, epochs + 1)
            for name, value, higher in (
                ("val_loss", (number % 4 + 1) / epoch, False),
                ("loss", math.nan if number == 3 else 1 / epoch, False),
                ("val_accuracy", 1 - 1 / (epoch + number), True),
            )
        ]
        yard.record(claim, *points, epoch=epochs)
        yard.finish(claim)
        numbers.append(claim.run_id)
    return numbers


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("count", [2, 3, 8, 20])
def test_a_comparison_fits_80_columns_and_tells_every_run(cli, yard, count):
    numbers = train(yard, count)
    code, out, _ = cli("compare", *numbers)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "learning_rate" in out
    assert "val_accuracy best" in out
    for number in numbers:
        assert f"RUN {number} " in out.splitlines()[0] + " " if count < 4 else f"\n{number:3}  " in out
    assert "by epoch" in out or "val_accuracy of" in out


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_below_each_other_runs_lose_keys_that_say_little_and_it_is_told(cli, yard):
    parts = [{"adam": {"learning_rate": 0.1, "beta1": 0.9}}, {"sgd": {"learning_rate": 0.1, "momentum": 0.5}}]
    runs = [yard.submit(spec={"optimizer": parts[number % 2], "seed": number}) for number in range(12)]
    _, out, err = cli("compare", *runs)
    assert "adam.learning_rate" in out
    assert "momentum" not in out
    assert err.startswith("left out: 2 keys that have one value in the runs that have them; --json has all\n")


def test_columns_are_packed_into_blocks_that_are_no_wider_than_the_room():
    assert list(blocks([10] * 7, 65)) == [range(5), range(5, 7)]
    assert list(blocks([10] * 2, 5)) == [range(1), range(1, 2)]
    assert list(blocks([], 5)) == []


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_comparison_marks_the_best_and_shows_a_gap_where_a_run_has_none(cli, yard):
    one, two = train(yard, 2)
    bare = yard.submit(spec={"seed": 3})
    _, out, err = cli("compare", one, two, bare, "--metric", "val_loss")
    rows = {line.split("  ")[0]: line.split()[-3:] for line in out.splitlines() if not line.startswith("│")}
    assert rows["val_loss best"] == ["*0.25", "0.5", "-"]
    assert rows["val_accuracy best"] == ["0.75", "*0.8", "-"]
    assert rows["optimizer.adam.learning_rate"] == ["0.1", "0.01", "-"]
    assert rows["state"] == ["completed", "completed", "queued"]
    assert err == ""
    code, out, err = cli("compare", bare, yard.submit(spec={"seed": 3}))
    assert (code, out) == (0, "")
    assert "nothing differs" in err


def test_runs_that_fit_an_expression_are_compared_and_told_as_json(cli, yard):
    numbers = train(yard, 3)
    code, out, err = cli("compare", "--where", "tag = some", "--limit", 2, "--json")
    document = json.loads(out)
    assert (code, [run["id"] for run in document["runs"]]) == (0, numbers[1:])
    assert err == "more runs fit; these are the newest 2, --limit takes more\n"
    assert set(document) == {"runs", "spec", "facts", "metric", "metrics", "curves"}
    assert document["spec"]["optimizer.adam.learning_rate"] == [0.01, 0.001]
    assert document["metrics"]["val_loss"]["best_run"] == numbers[1]
    assert document["curves"]["val_accuracy"][0]["epochs"] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_plots_are_drawn_in_the_terminal_or_written_whole(cli, yard, tmp_path):
    train(yard, 9)
    _, out, err = cli("plot", "--where", "tag = some", "--metric", "val_loss")
    assert max(map(len, out.splitlines())) <= 80
    assert out.splitlines()[-1].split("   ")[-1].startswith("ff run ")
    assert err.startswith("these are the 6 best of 9")
    for kind in ("curves", "parallel", "importance"):
        file = tmp_path / f"{kind}.png"
        code, out, err = cli("plot", "--where", "tag = some", "--kind", kind, "-o", file)
        assert (code, out) == (0, "")
        assert err.endswith(f" written to {file}\n")
        assert file.read_bytes().startswith(b"\x89PNG")
    code, _, _ = cli("plot", 1, "-o", tmp_path / "one.html")
    assert (tmp_path / "one.html").read_bytes().startswith(b"<!doctype html>")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_the_importance_is_a_table_and_json(cli, yard):
    train(yard, 12)
    _, out, _ = cli("plot", "--where", "tag = some", "--kind", "importance", "--metric", "val_loss")
    assert out.splitlines()[2].split() == ["KEY", "IMPORTANCE"]
    assert out.splitlines()[3].startswith("optimizer.adam.learning_rate")
    assert max(map(len, out.splitlines())) <= 80
    document = json.loads(cli("plot", "--where", "tag = some", "--kind", "importance", "--json")[1])
    assert set(document) == {"metric", "direction", "runs", "importance"}
    assert (document["metric"], document["direction"], document["runs"]) == ("val_accuracy", "higher", 12)
    document = json.loads(cli("plot", 1, "--json")[1])
    assert document["curves"]["val_accuracy"][0]["epochs"] == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["compare"], "say which runs: their numbers, or --where with an expression, not both"),
        (["compare", 1], "a comparison takes two runs or more; you named one"),
        (["compare", 1, 1], "a comparison takes two runs or more; you named one"),
        (["compare", "--where", "tag = none"], "a comparison takes two runs or more; the expression fits none"),
        (["compare", 1, 9], "there is no run 9; `trainyard runs list` shows those there are"),
        (["compare", 1, 2, "--metric", "val_los"], "unknown metric 'val_los'; did you mean 'val_loss'?"),
        (["plot", 1, "-o", "a.svg"], "a.svg: a plot can be written as .png, .html"),
        (["plot", 1, "-o", "no/a.png"], "no/a.png cannot be written: no such file or directory"),
        (["plot", 1, "-o", "a.png", "--json"], "--json prints the numbers of a plot and -o draws it"),
        (["plot", 1, "--split", "test"], "--split is for --kind confusion"),
        (["plot", 1, 2, "--kind", "confusion"], "a confusion matrix is of one run, and these are 2"),
        (["plot", 1, "--kind", "confusion"], "run 1 is completed and has no weights"),
        (["plot", 1, 2, "--kind", "parallel"], "parallel coordinates need a file: -o FILE.png"),
        (["plot", 1, 2, "--kind", "importance"], "importance takes 8 runs or more with val_accuracy; 2 of these"),
        (["plot", "--where", "tag = none"], "no run fits the expression"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_or_drawn_is_told_in_a_sentence(cli, yard, monkeypatch, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    train(yard, 2)
    code, out, err = cli(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert not list(tmp_path.glob("a.*"))
