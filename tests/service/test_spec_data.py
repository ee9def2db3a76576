"""The data section of a spec: short forms, and what cannot stand together."""

import pytest

from service.spec import Spec, SpecError, parse

HEAD = "version: 1\ndata: {source: t.csv, target: y, "


def data_of(keys):
    spec = parse(f"{HEAD}{keys}}}\nnetwork: []\n", "s.yaml")
    assert Spec.from_document(spec.document()) == spec
    return spec.document()["data"]


@pytest.mark.parametrize("fill", ["error", "mean", "median", "most_frequent"])
def test_a_fill_may_stand_alone(fill):
    assert data_of(f"missing: {fill}")["missing"] == {"fill": fill, "indicator": False}
    assert data_of(f"missing: {{fill: {fill}}}") == data_of(f"missing: {fill}")


def test_augmentation_may_be_the_shift_alone():
    assert data_of("augment: 2")["augment"] == {"shift": 2, "flip": "none", "rotate": 0.0, "noise": 0.0}


def test_what_says_the_split_itself_takes_the_place_of_the_shares():
    split = data_of("split: {column: part}")["split"]
    assert (split["validation"], split["test"]) == (0, 0)
    split = data_of("split: {folds: 5, fold: 2}")["split"]
    assert (split["validation"], split["test"], split["fold"]) == (0, 0.1, 2)
    assert data_of("split: {folds: 5, test: 0}")["split"]["test"] == 0


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("split: {column: c, test: 0.1}", "s.yaml:2:53: data.split: 'test' cannot stand beside 'column'"),
        ("split: {column: c, folds: 5}", "2:53: data.split: 'folds' cannot stand beside 'column'"),
        ("split: {column: c, stratify: true}", "2:53: data.split: 'stratify' cannot stand beside 'column'"),
        ("split: {folds: 5, validation: 0.1}", "2:52: data.split: 'validation' cannot stand beside 'folds'"),
        ("split: {folds: 5, fold: 6}", "2:52: data.split: 'fold' is counted from 1 to 'folds'"),
        ("split: {folds: 1}", "2:49: data.split.folds: must be at least 2, got 1"),
        ("split: {fold: 2}", "2:42: data.split: 'fold' needs 'folds', how many there are"),
        ("split: {group: g, stratify: true}", "2:52: data.split: 'stratify' cannot stand beside 'group'"),
        ("missing: mode", "data.missing.fill: must be error, mean, median or most_frequent, got 'mode'"),
        ("missing: {indicator: true}", "2:34: data: an indicator needs a fill: mean, median or most_frequent"),
        ("missing: {fil: mean}", "2:44: data.missing: unknown key 'fil'; did you mean 'fill'?"),
        ("augment: {shift: 1.5}", "data.augment.shift: expected a whole number, got 1.5"),
        ("augment: {flip: up}", "data.augment.flip: must be none, horizontal, vertical or both, got 'up'"),
        ("weights: y", "2:34: data: 'y' cannot be both data.target and data.weights"),
        ("features: [a], split: {group: a}", "data: 'a' cannot be both data.features and data.split.group"),
        ("weights: '{a}', split: {column: '{a}'}", "data: '{a}' cannot be both data.weights and data.split.column"),
        ("one_hot: [a, a]", "data.one_hot: 'a' is listed twice"),
    ],
)
def test_what_makes_no_sense_is_told_at_its_place(keys, message):
    with pytest.raises(SpecError) as caught:
        data_of(keys)
    assert message in str(caught.value)
