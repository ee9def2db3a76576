"""Runs beside each other: records and curves in, what differs out; and the questions that bring them."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest

from service.client import Client
from service.comparison import compare, judging, leaves, short_names, telling
from service.errors import InputError
from service.settings import Settings
from service.store import history
from service.store.points import Point
from service.store.records import MetricSummary, RunRecord
from service.store.tables import State
from service.store.transitions import NoSuchRun

SOME_DAY = datetime(2026, 5, 1, tzinfo=UTC)


def record(number, spec=None, metrics=None, **changes):
    same = {
        "name": "digits", "state": State.COMPLETED, "queue": "default", "priority": 0, "tags": (), "attempt": 1,
        "epoch": 5, "epochs": 5, "created": SOME_DAY, "started": SOME_DAY, "finished": SOME_DAY, "worker": "ada",
        "error": None, "dataset_sha256": "d" * 64, "weights_sha256": None,
    }  # fmt: skip
    summaries = {name: MetricSummary(best, best, 1) for name, best in (metrics or {}).items()}
    return RunRecord(**same | {"id": number, "spec": spec or {}, "metrics": summaries} | changes)


def beside(*runs, environments=None, metric=None, curves=None):
    return compare(runs, environments or {}, metric, curves or {})


# What differs


def test_the_keys_that_differ_stand_in_the_order_of_a_spec_with_a_gap_where_there_is_none():
    dense = {"dense": {"units": 64, "bias": True}}
    one = {"data": {"source": "digits"}, "network": [dense, dense], "optimizer": {"adam": {"learning_rate": 0.001}}}
    two = one | {
        "network": [{"dense": {"units": 32, "bias": True}}, {"dropout": {"rate": 0.2}}, dense],
        "optimizer": {"sgd": {"learning_rate": 0.1}},
        "seed": 7,
    }
    assert list(beside(record(1, one), record(2, two)).spec.items()) == [
        ("network (length)", (2, 3)),
        ("network[0].dense.units", (64, 32)),
        ("network[1] (name)", ("dense", "dropout")),
        ("network[1].dense.units", (64, None)),
        ("network[1].dense.bias", (True, None)),
        ("network[1].dropout.rate", (None, 0.2)),
        ("network[2] (name)", (None, "dense")),
        ("network[2].dense.units", (None, 64)),
        ("network[2].dense.bias", (None, True)),
        ("optimizer (name)", ("adam", "sgd")),
        ("optimizer.adam.learning_rate", (0.001, None)),
        ("optimizer.sgd.learning_rate", (None, 0.1)),
        ("seed", (None, 7)),
    ]


def test_a_key_of_an_early_layer_that_only_a_later_run_has_stands_with_its_layer():
    one = {"network": [{"dense": {"units": 1}}] * 11}
    two = {"network": [{"dense": {"units": 2, "bias": True}}] * 11}
    assert list(beside(record(1, one), record(2, two)).spec) == [
        f"network[{number}].dense.{key}" for number in range(11) for key in ("units", "bias")
    ]


@pytest.mark.parametrize(("one", "two", "differ"), [(1, 1.0, False), (1, True, True), (1, "1", True), (None, 0, True)])
def test_a_value_differs_from_another_kind_of_it_but_not_from_the_same_number(one, two, differ):
    assert bool(beside(record(1, {"seed": one}), record(2, {"seed": two})).spec) is differ


def test_a_list_of_words_is_one_value():
    assert dict(leaves({"metrics": ["accuracy", "f1"], "freeze": [], "begin": None})) == {
        "metrics": "accuracy, f1", "freeze": "none",
    }  # fmt: skip


def test_what_differs_around_the_spec_is_told_and_the_name_once():
    runs = (
        record(1, {"name": "a"}, name="a", tags=("x", "y"), epoch=3),
        record(2, {"name": "b"}, name="b", cloned_from=1),
    )
    found = beside(*runs, environments={1: {"host": "vm", "cpus": 2}, 2: {"host": "vm", "cpus": 8}})
    assert found.spec == {}
    assert found.facts == {
        "name": ("a", "b"), "tags": ("x, y", None), "epochs done": (3, 5), "cloned from": (None, 1), "cpus": (2, 8),
    }  # fmt: skip


# Metrics


def test_the_best_run_is_the_highest_or_the_lowest_as_the_metric_wants_and_never_one_that_diverged():
    metrics = [
        {"val_loss": math.nan},
        {},
        {"val_loss": 0.5, "val_accuracy": 0.5},
        {"val_loss": 0.2, "val_accuracy": 0.9},
    ]
    found = beside(*(record(number, metrics=values) for number, values in enumerate(metrics, 1)))
    assert (found.best("val_loss"), found.best("val_accuracy")) == (3, 3)
    assert found.ranked("val_loss") == found.ranked("val_accuracy") == [3, 2, 0, 1]


def test_of_a_metric_that_this_version_does_not_know_no_run_is_best():
    assert beside(record(1, metrics={"elegance": 1.0}), record(2, metrics={"elegance": 2.0})).best("elegance") is None


def test_runs_are_judged_by_what_counts_for_most_of_them_on_validation_rows_unless_told():
    by_accuracy = record(
        1, {"metrics": ["accuracy"]}, {"accuracy": 1, "val_accuracy": 1, "test_accuracy": 1, "loss": 1}
    )
    by_loss = record(2, {"metrics": []}, {"loss": 1, "val_loss": 1})
    assert judging([by_accuracy, by_accuracy, by_loss]) == "val_accuracy"
    assert judging([by_accuracy, by_loss, by_loss]) == "val_loss"
    assert judging([by_accuracy, by_loss], "test_accuracy") == "test_accuracy"
    assert judging([record(3)]) is None


def test_a_metric_that_no_run_has_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="unknown metric 'val_los'; did you mean 'val_loss'"):
        judging([record(1, metrics={"loss": 1, "val_loss": 1})], "val_los")
    with pytest.raises(InputError, match="none of these runs has a metric yet, so no loss"):
        judging([record(1)], "loss")


def test_keys_are_shortened_to_what_tells_them_apart():
    assert short_names(
        ["optimizer.adam.learning_rate", "optimizer.sgd.learning_rate", "network[0].dense.units", "network (length)",
         "network[10].dense.units", "train.epochs", "seed"]
    ) == [
        "adam.learning_rate", "sgd.learning_rate", "[0].dense.units", "network (length)", "[10].dense.units", "epochs",
        "seed",
    ]  # fmt: skip


def test_a_key_tells_something_if_it_varies_or_is_how_a_part_was_chosen_or_has_a_counterpart():
    adam = {"adam": {"learning_rate": 0.001, "beta1": 0.9}}
    sgd = {"sgd": {"learning_rate": 0.1, "momentum": 0.0}}
    spec = beside(*(record(1, {"optimizer": part, "seed": seed}) for seed, part in enumerate((adam, sgd, sgd)))).spec
    assert set(spec) - set(telling(spec)) == {"optimizer.adam.beta1", "optimizer.sgd.momentum"}


def test_a_comparison_is_plain_json_without_nan():
    runs = record(1, {"seed": 1}, {"val_loss": math.nan}), record(2, {"seed": 2}, {"val_loss": 0.5})
    curves = {1: {"val_loss": ((1, 2.0), (2, math.nan))}, 2: {"val_loss": ((1, 0.5),), "loss": ((1, 0.4),)}}
    document = beside(*runs, metric="val_loss", curves=curves).document()
    assert json.loads(json.dumps(document, allow_nan=False)) == {
        "runs": [{"id": number, "name": "digits", "state": "completed"} for number in (1, 2)],
        "spec": {"seed": [1, 2]},
        "facts": {},
        "metric": "val_loss",
        "metrics": {"val_loss": {"last": [None, 0.5], "best": [None, 0.5], "best_epoch": [1, 1], "best_run": 2}},
        "curves": {
            "loss": [{"epochs": [], "values": []}, {"epochs": [1], "values": [0.4]}],
            "val_loss": [{"epochs": [1, 2], "values": [2.0, None]}, {"epochs": [1], "values": [0.5]}],
        },
    }


# What the store is asked


def trained(yard, *losses, **changes):
    claim = yard.claimed(**changes)
    yard.record(claim, *(Point("val_loss", epoch, loss, False) for epoch, loss in enumerate(losses, 1)))
    yard.finish(claim)
    return claim.run_id


def test_runs_are_compared_in_the_order_they_are_named_each_once(yard, database_url):
    one, two = trained(yard, 2.0, 1.0, spec={"seed": 1}), trained(yard, 3.0, math.nan, spec={"seed": 2})
    client = Client(Settings(database_url=database_url))
    found = client.compare([two, one, two])
    assert [run.id for run in found.runs] == [two, one]
    assert found.spec["seed"] == (2, 1)
    assert found.metric == "val_loss"
    assert found.curves["val_loss"][1] == ((1, 2.0), (2, 1.0))
    assert math.isnan(found.curves["val_loss"][0][1][1])
    with pytest.raises(NoSuchRun, match="there is no run 77"):
        client.compare([one, 77])
    client.database.dispose()


def test_the_environment_is_that_of_the_last_attempt(yard):
    run_id = trained(yard, 1.0)
    waiting = yard.submit()
    assert yard.ask(history.environments, [run_id, waiting]) == {run_id: {"cpu": "any"}}
