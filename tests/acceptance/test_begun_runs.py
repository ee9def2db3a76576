"""One run begins with another's weights, on a real yard and by the command line."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow

FINE = """
version: 1
name: fine
data: {{source: digits, split: {{validation: 0.2, test: 0.1}}, scale: minmax}}
network:
  - dense: {{units: 32, activation: relu}}
  - dropout: 0.2
optimizer: {{adam: 0.002}}
train: {{epochs: 2, freeze: [{freeze}]}}
begin: {{run: {run}, weights: last}}
seed: 2
"""


def test_a_run_begins_with_another_and_its_frozen_layer_keeps_the_others_bytes(yard):
    [donor] = yard.completed(yard.submit(epochs=3))
    file = yard.home / "specs" / "fine.yaml"
    file.write_text(FINE.format(run=donor.id, freeze=1))
    told = yard.cli("check", file)
    assert told.returncode == 0
    assert f"note: taken from run {donor.id}: 1.dense, 3.dense\n" in told.stderr
    answer = yard.cli("submit", file, "--watch")
    assert answer.returncode == 0, answer.stderr
    [run] = [int(number) for number in re.findall(r"^run (\d+) completed", answer.stdout, flags=re.MULTILINE)]
    before, after = yard.client.weights(donor.id, last=True), yard.client.weights(run, last=True)
    assert after["1.dense.weight"].tobytes() == before["1.dense.weight"].tobytes()
    assert after["3.dense.weight"].tobytes() != before["3.dense.weight"].tobytes()
    first = yard.client.history(run)[0]
    assert first["val_loss"] < yard.client.history(donor.id)[0]["val_loss"]


def test_a_wrong_beginning_is_told_at_its_place_with_exit_2_and_stores_nothing(yard):
    [donor] = yard.completed(yard.submit(epochs=1))
    file = yard.home / "specs" / "wrong.yaml"
    before = len(yard.client.runs(limit=None))
    for changes, place, sentence in (
        ({"run": 9999, "freeze": 1}, "10:14: begin.run", "there is no run 9999"),
        ({"run": donor.id, "freeze": 9}, "9:29: train.freeze[0]", "there is no layer 9"),
    ):
        file.write_text(FINE.format(**changes))
        for command in ("check", "submit"):
            answer = yard.cli(command, file)
            assert (answer.returncode, answer.stdout) == (2, "")
            assert f"wrong.yaml:{place}: {sentence}" in answer.stderr
    assert len(yard.client.runs(limit=None)) == before
