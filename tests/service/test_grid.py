"""Grids and files of several specs: what they make, and one sentence for what they cannot."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from service.spec import Spec, SpecError, Specs, parse
from service.spec.several import made

SMALL = {"version": 1, "name": "small", "data": {"source": "iris"}, "network": [{"dense": 8}, "layer_norm"]}
TWO = """version: 1
data: {source: iris}
network: [dense: {units: 8, activation: relu}]
---
version: 1
name: second
data: {source: wine}
network: []
train: {epochs: 3}
---
"""


def specs(grid, overrides=(), given=SMALL):
    return [made(*made_of) for made_of in Specs([given], overrides, grid)]


def documents(grid, overrides=(), given=SMALL):
    return [spec.document() for spec in specs(grid, overrides, given)]


def refusal(grid, given=SMALL):
    with pytest.raises(SpecError) as error:
        specs(grid, given=given)
    return str(error.value)


def test_a_grid_makes_a_spec_of_every_combination_the_last_key_changing_fastest():
    made = documents(["seed=1..2", "optimizer.sgd.learning_rate=0.1,1e-2, 1"], ["train.epochs=7"])
    rates = [document["optimizer"]["sgd"]["learning_rate"] for document in made]
    assert [document["seed"] for document in made] == [1, 1, 1, 2, 2, 2]
    assert rates == [0.1, 0.01, 1, 0.1, 0.01, 1]
    assert {document["train"]["epochs"] for document in made} == {7}


def test_the_length_of_specs_is_known_before_they_are_made():
    assert len(Specs([SMALL, SMALL], (), ["seed=1..1000", "train.epochs=1..50"])) == 100_000


def test_values_are_read_as_set_reads_them():
    grid = ["network[0]={dense: {units: 4, activation: relu}},{dense: 5},dropout: 0.5", "name='a, b',c d"]
    made = documents(grid)
    assert [document["name"] for document in made] == ["a, b", "c d"] * 3
    layers = [document["network"][0] for document in made[::2]]
    assert [next(iter(layer)) for layer in layers] == ["dense", "dense", "dropout"]
    assert layers[0]["dense"]["units"] == 4
    assert [document["train"]["average"] for document in documents(["train.average=null,0.9"])] == [None, 0.9]


def test_ranges_and_values_can_be_mixed_and_go_below_zero():
    assert [document["seed"] for document in documents(["seed=1..3,7,10..11"])] == [1, 2, 3, 7, 10, 11]
    assert "--grid seed=-2: must be at least 0, got -2" in refusal(["seed=-2..-1"])


def test_a_program_gives_a_mapping_with_any_values():
    made = documents({"seed": range(1, 3), "optimizer.adam.learning_rate": np.array([0.5, 0.25])})
    assert [(d["seed"], d["optimizer"]["adam"]["learning_rate"]) for d in made] == [
        (1, 0.5), (1, 0.25), (2, 0.5), (2, 0.25)
    ]  # fmt: skip
    assert len(documents({"seed": (number for number in (4, 5))})) == 2


def test_a_spec_that_was_loaded_and_changed_is_what_is_multiplied():
    spec = parse(json.dumps(SMALL)).model_copy(update={"seed": 9})
    made = documents(["train.epochs=1,2"], given=spec)
    assert [(document["seed"], document["train"]["epochs"]) for document in made] == [(9, 1), (9, 2)]
    assert all(isinstance(spec, Spec) for spec in specs(["seed=1"], given=spec))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (["seed"], "--grid seed: write it as path=value,value or path=first..last, as in --grid seed=1..5"),
        (["=1,2"], "--grid =1,2: write it as path=value,value"),
        (["a..b=1"], "--grid a..b=1: write it as path=value,value"),
        (["seed="], "--grid seed=: there is no value"),
        (["seed=5..1"], "--grid seed=5..1: 5..1 holds no number; write the smaller one first"),
        (["seed=1,2,1"], "--grid seed=1,2,1: '1' is listed twice; the runs would be the same"),
        (["seed=1..5,3"], "--grid seed=1..5,3: '3' is listed twice"),
        (["seed=1,,2"], "--grid seed=1,,2: the values are not YAML: "),
        (["seed=[1,2"], "--grid seed=[1,2: the values are not YAML: a '[' is not closed, or a ',' is missing"),
        (["seed=1],[2"], "--grid seed=1],[2: the values are not YAML: "),
        (["seed=1..999999999999999"], "this makes more than 100,000 runs; make fewer at a time"),
        (["seed=1..1000", "train.epochs=1..101"], "--grid train.epochs=1..101: this makes more than 100,000 runs"),
        (["seed=1", "seed=2"], "--grid seed=2: seed is given twice; put all its values into one --grid"),
        (
            ["optimizer=sgd", "optimizer.sgd.learning_rate=1,2"],
            "optimizer.sgd.learning_rate and optimizer set the same",
        ),
        (["network[7].dense.units=1,2"], "--grid network[7].dense.units=1: there is no 7 in network"),
        (["trian.epochs=1"], "--grid trian.epochs=1: unknown key 'trian'; did you mean 'train'?"),
        (["train.epochs=1,ten"], "--grid train.epochs=ten: expected a whole number, got 'ten'"),
        ({"seed": 5}, "--grid seed=…: expected several values, got 5"),
        ({"name": "ab"}, "--grid name=…: expected several values, got 'ab'"),
        ({"train.l2": [float("nan")]}, "--grid train.l2=…: expected texts, finite numbers"),
        ({"train.l2": [object()]}, "--grid train.l2=…: expected texts, finite numbers"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(grid, message):
    assert message in refusal(grid)


def test_a_problem_of_a_combination_tells_the_combination():
    told = refusal(["seed=1,2", "train.epochs=3,0"])
    assert told == "--grid train.epochs=0: must be at least 1, got 0\nmet with seed=1, train.epochs=0"


@given(text=st.text(st.sampled_from("seed.=1,2[]{}:'\"-. \n\t\0é&*!#"), max_size=24))
@settings(deadline=None, max_examples=150)
def test_whatever_is_typed_makes_specs_or_a_sentence(text):
    try:
        made = documents([text])
    except InputError as error:
        told = str(error)
    else:
        told = ""
        assert len(made) == len(Specs([SMALL], (), [text]))
    assert told.replace("\n", "").isprintable()


def test_a_file_may_hold_several_specs_and_each_knows_its_lines(tmp_path):
    file = tmp_path / "two.yaml"
    file.write_text(TWO)
    first, second = specs((), given=file)
    assert (first.name, second.name) == ("two", "second")  # the empty document at the end is none
    assert first.source_file == tmp_path / "iris"
    file.write_text(TWO.replace("epochs", "epoch").replace("dense:", "dens:"))
    problems = []
    for document, folder in Specs([file]):
        with pytest.raises(SpecError) as error:
            made(document, folder)
        problems.append(str(error.value))
    assert problems[0].startswith(f"{file}:3:11: network[0]: unknown layer 'dens'; did you mean 'dense'?")
    assert problems[1].startswith(f"{file}:9:9: train: unknown key 'epoch'; did you mean 'epochs'?")
    assert problems[1].endswith(f"met in {file}:5:1")


def test_what_is_no_yaml_in_several_files_is_told_at_once(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text("version: 1\n---\nnetwork: [\n")
    (tmp_path / "empty.yaml").write_text("---\n---\n")
    with pytest.raises(SpecError) as error:
        Specs(tmp_path / f"{name}.yaml" for name in ("one", "two", "empty", "none"))
    assert [str(problem).removeprefix(f"{tmp_path}/").split(": ")[0] for problem in error.value.problems] == [
        "one.yaml:4:1", "two.yaml:4:1", "empty.yaml:2:1", "none.yaml"
    ]  # fmt: skip


def test_the_limits_of_a_spec_hold_for_each_of_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("service.spec.document.MOST_NODES", 20)
    file = tmp_path / "many.yaml"
    file.write_text("\n---\n".join([json.dumps({"a": [0] * 12})] * 3))
    assert len(Specs([file])) == 3
    file.write_text(f"a: 1\n---\n{json.dumps([0] * 21)}")
    with pytest.raises(SpecError, match="more than 20 values"):
        Specs([file])
