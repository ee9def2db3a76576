"""`trainyard lr-find`: a curve of 80 columns, a rate that can be submitted, and a sentence where there is none."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from service.cli import context
from service.cli.main import main
from service.spec import load
from tests.yard import ROOT

SPEC = """\
version: 1
data: {{source: iris}}
network: [{{dense: {{units: 8, activation: relu}}}}]
{rest}
"""


@pytest.fixture
def lr_find(tmp_path, monkeypatch, capsys):
    """The command in this process, in a home of its own and without a yard."""
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(context, "flags", {})
    monkeypatch.chdir(ROOT)

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["lr-find", *map(str, words)])
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def spec(folder: Path, rest: str = "") -> Path:
    file = folder / "s.yaml"
    file.write_text(SPEC.format(rest=rest))
    return file


def test_a_curve_and_a_suggestion_fit_80_columns(lr_find, tmp_path):
    code, out, err = lr_find("examples/digits.yaml")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "loss by learning rate" in out
    assert out.splitlines()[-1].startswith("suggestion: 0.00")
    assert out.endswith(", where the loss falls fastest\n")
    assert err.startswith("try it: trainyard submit examples/digits.yaml --set optimizer.adam.learning_rate=0.00")
    assert not (tmp_path / "home").exists()  # nothing is kept, not even a database


@pytest.mark.parametrize(
    "rest", ["", "optimizer: sgd", "optimizer: {adam: 0.1}", "optimizer: {sgd: {momentum: 0.9, learning_rate: 1}}"]
)
def test_the_command_that_is_suggested_sets_the_rate_that_was_found(lr_find, tmp_path, rest):
    file = spec(tmp_path, rest)
    _, out, err = lr_find(file)
    words = shlex.split(err.removeprefix("try it: "))
    assert words[:3] == ["trainyard", "submit", str(file)]
    found = load(file, [words[4]]).optimizer.build()
    assert out.splitlines()[-1].startswith(f"suggestion: {found.learning_rate:g}, ")
    assert found.kind == load(file).optimizer.name


def test_json_holds_the_rates_and_their_losses(lr_find, tmp_path):
    code, out, err = lr_find(spec(tmp_path), "--json", "--steps", 50, "--lowest", 0.001, "--highest", 0.1)
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert set(found) == {"suggestion", "rates", "losses"}
    assert len(found["rates"]) == len(found["losses"]) == 50
    assert (found["rates"][0], found["rates"][-1]) == pytest.approx((0.001, 0.1))
    assert found["suggestion"] in found["rates"]


def test_the_search_does_not_depend_on_the_rate_in_the_spec_and_is_the_same_twice(lr_find, tmp_path):
    file = spec(tmp_path)
    first, second, other = (
        lr_find(file, "--json", *more)[1]
        for more in ((), (), ("--set", "optimizer.adam.learning_rate=0.5", "--set", "train.epochs=1"))
    )
    assert first == second == other


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--lowest", "1", "--highest", "0.1"), "the rates must grow from above 0: --lowest 1 --highest 0.1 do not"),
        (("--lowest", "0"), "the rates must grow from above 0: --lowest 0 --highest 10 do not"),
        (("--highest", "inf"), "the rates must grow from above 0: --lowest 1e-06 --highest inf do not"),
        (("--lowest", "nan"), "the rates must grow from above 0: --lowest nan --highest 10 do not"),
        (
            ("--lowest", "1e20", "--highest", "1e30"),
            "s: the loss does not fall at any of these learning rates; begin with a lower one",
        ),
        (("--set", "train.epochz=3"), "--set train.epochz=3: unknown key 'train.epochz'; did you mean 'train.epochs'?"),
    ],
)
def test_wrong_input_is_one_sentence_and_exit_2(lr_find, tmp_path, words, sentence):
    code, out, err = lr_find(spec(tmp_path), *words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {sentence}")
    assert err.count("\n") == 1


def test_too_few_steps_are_a_usage_error(lr_find, tmp_path):
    code, _, err = lr_find(spec(tmp_path), "--steps", 5)
    assert code == 2
    assert "must be at least 20" in err
