"""`--set` lays values over the file, and is blamed for what they break."""

import pytest

from service.spec import SpecError, parse

TEXT = """\
version: 1
data: {source: iris}
network:
  - dense: {units: 16, activation: relu}
  - dropout: 0.2
optimizer: adam
train: {early_stopping: val_loss}
"""


def spec(*overrides):
    return parse(TEXT, "s.yaml", overrides).document()


def complaint(*overrides):
    with pytest.raises(SpecError) as caught:
        spec(*overrides)
    return str(caught.value)


def test_values_are_yaml_and_paths_reach_everywhere():
    made = spec(
        "train.epochs=5",
        "network[0].dense.units=64",
        "network.1.dropout.rate=0.5",
        "optimizer.adam.learning_rate=1e-2",
        "train.early_stopping.patience=9",
        "data.split={test: 0.2}",
        "name= a b",
        "loss=mse",
    )
    assert made["train"]["epochs"] == 5
    assert made["network"] == [
        {"dense": {"units": 64, "activation": "relu", "initializer": None, "bias": True}},
        {"dropout": {"rate": 0.5}},
    ]
    assert made["optimizer"]["adam"]["learning_rate"] == 0.01
    assert made["train"]["early_stopping"] == {"monitor": "val_loss", "patience": 9, "min_delta": 0.0}
    assert made["data"]["split"]["test"] == 0.2
    assert made["name"] == "a b"
    assert made["loss"] == {"mse": {}}


def test_setting_inside_another_choice_replaces_the_choice():
    assert spec("optimizer.sgd.learning_rate=0.5")["optimizer"]["sgd"]["learning_rate"] == 0.5
    assert spec("optimizer=sgd", "optimizer.sgd.momentum=0.5")["optimizer"]["sgd"]["momentum"] == 0.5
    assert spec("network.1.dense.units=4")["network"][1]["dense"]["units"] == 4


def test_later_overrides_win():
    assert spec("seed=1", "seed=2")["seed"] == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epoch=5", "--set train.epoch=5: unknown key 'train.epoch'; did you mean 'train.epochs'?"),
        ("trian.epochs=5", "--set trian.epochs=5: unknown key 'trian'; did you mean 'train'?"),
        ("train.epochs=ten", "--set train.epochs=ten: expected a whole number, got 'ten'"),
        ("train.epochs=0", "--set train.epochs=0: must be at least 1, got 0"),
        ("optimizer=sdg", "--set optimizer=sdg: unknown optimizer 'sdg'; did you mean 'sgd'?"),
        ("optimizer.adm.beta1=0.5", "--set optimizer.adm.beta1=0.5: optimizer: unknown optimizer 'adm'"),
        ("optimizer.sgd.nesterov=true", "--set optimizer.sgd.nesterov=true: optimizer.sgd: nesterov needs a momentum"),
        ("network.7.dropout=0.5", "--set network.7.dropout=0.5: there is no 7 in network, which has 2 items"),
        ("network.dense=5", "--set network.dense=5: there is no 'dense' in network"),
        ("seed.x=1", "--set seed.x=1: unknown"),
        ("version.x=1", "--set version.x=1: version is 1, which has nothing inside to set"),
        ("data.0=1", "--set data.0=1: data is not a list"),
        ("train", "--set train: write it as path=value, as in --set train.epochs=5"),
        ("=5", "--set =5: write it as path=value"),
        ("a..b=5", "--set a..b=5: write it as path=value"),
        ("a.=5", "--set a.=5: write it as path=value"),
        ("seed=[1", "--set seed=[1: the value is not YAML: a '[' is not closed"),
        ("seed=.nan", "--set seed=.nan: the value is not YAML: expected a finite number"),
    ],
)
def test_an_override_is_named_in_its_errors(override, message):
    if override == "seed.x=1":
        message = "--set seed.x=1: seed: expected a whole number, got a mapping of keys"
    assert message in complaint(override)


def test_mistakes_of_the_file_keep_their_place_beside_overrides():
    with pytest.raises(SpecError) as caught:
        parse(TEXT.replace("source: iris", "scale: none"), "s.yaml", ["data.scale=minmax"])
    assert str(caught.value) == "s.yaml:2:7: data: missing key 'source'; write 'source: digits'"


def test_every_bad_override_is_told():
    assert len(complaint("x", "y", "train.epochs=5").splitlines()) == 2
