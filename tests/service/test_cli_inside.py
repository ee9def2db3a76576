"""`trainyard runs inside`: what is shown of weights and gradients is what they are, in 80 columns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from service.cli import context
from service.cli.main import main
from service.client import Client
from service.display import bars
from service.settings import Settings
from tests.yard import settled


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with settled() as there:
        shutil.copy(there.home / "trainyard.db", tmp_path)
    with Client(Settings(home=tmp_path, database_url="", broker_url="")) as client:
        yield client


@pytest.fixture
def inside(client: Client, tmp_path: Path, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("TRAINYARD_HOME", str(tmp_path))
    monkeypatch.setattr(context, "flags", {})

    def run(*words: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["runs", "inside", *map(str, words)])
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


def test_every_array_is_told_in_two_lines_of_80_columns(inside, client):
    code, out, err = inside(1)
    arrays = client.weights(1)
    head, *lines = out.splitlines()
    assert (code, err) == (0, "")
    assert head.endswith(f"{sum(view.size for view in arrays.values()):,} parameters in {len(arrays)} arrays")
    assert max(map(len, lines)) <= 80
    for blank, about, drawn, (name, view) in zip(lines[::3], lines[1::3], lines[2::3], arrays.items(), strict=True):
        assert blank == ""
        assert about.startswith(f"{name}  ")
        assert f"{view.size:,} parameter" in about
        assert f"{view.min():.4g} " in drawn
        assert f"mean {view.mean(dtype=float):.4g}, deviation {view.std(dtype=float):.4g}" in drawn


def test_gradients_are_told_behind_the_weights_with_what_they_are_of(inside, client):
    _, out, _ = inside(1, "--gradients")
    assert "The gradient of the mean loss of its" in out
    assert max(map(len, out.splitlines())) <= 80
    told = json.loads(inside(1, "--gradients", "--json")[1])
    arrays = client.weights(1)
    assert [array["name"] for array in told["weights"]] == list(arrays)
    assert told["weights"][0]["mean"] == pytest.approx(arrays[told["weights"][0]["name"]].mean(dtype=float))
    found = client.gradients(1)
    assert [array["counts"] for array in told["gradients"]["spreads"]] == [list(each.counts) for each in found.spreads]
    assert json.loads(inside(1, "--json")[1])["gradients"] is None


def test_a_run_without_weights_has_nothing_inside(inside):
    code, out, err = inside(2, "--gradients")
    assert (code, out) == (2, "")
    assert "run 2 is failed and has no weights" in err


def test_a_histogram_shows_every_bin_that_is_not_empty():
    counts, _ = np.histogram(np.r_[np.zeros(10**6), 5.0], 40)
    drawn = bars(counts.tolist())
    assert (len(drawn), drawn[0], drawn[-1], drawn[1:-1].strip()) == (20, "█", "▁", "")
    assert bars([0] * 40) == " " * 20
