"""Every way in which a training ends, and the sentence that says so."""

import dataclasses

import numpy as np
import pytest
from nn_tools import blobs, small_plan, through_json, trained

from nn import (
    Adam,
    BinaryCrossEntropy,
    Data,
    Dense,
    EarlyStopping,
    Network,
    Plan,
    ReduceOnPlateau,
    Sgd,
    State,
    Target,
    evaluate,
    is_better,
    train,
)
from nn.state import ENDINGS

BOTH = blobs(70)
DATA, OTHER = BOTH.take(np.arange(40)), BOTH.take(np.arange(40, 70))


def endings(plan: Plan, data: Data = DATA, validation: Data | None = OTHER):
    state, history = trained(plan, data, validation)
    return state.ended, plan.why_ended(state.ended), history, state


def test_the_last_epoch_needs_no_sentence():
    ended, sentence, history, _ = endings(small_plan(epochs=2))
    assert (ended, sentence, len(history)) == ("epochs", None, 2)


def test_early_stopping_says_what_had_not_improved():
    early = EarlyStopping("val_accuracy", patience=2)
    ended, sentence, history, _ = endings(small_plan(Adam(0.05), epochs=60, early_stopping=early))
    assert (ended, sentence) == ("early_stopping", "val_accuracy had not improved for 2 epochs")
    best = int(np.argmax([entry["val_accuracy"] for entry in history]))
    assert len(history) == best + 3


@pytest.mark.parametrize(("monitor", "value"), [("loss", 0.7), ("val_accuracy", 0.8), ("accuracy", 0.7)])
def test_a_target_ends_the_training_at_the_first_epoch_that_is_as_good(monitor, value):
    plan = small_plan(Adam(0.02), epochs=60, target=Target(monitor, value))
    ended, sentence, history, _ = endings(plan)
    assert (ended, sentence) == ("target", f"{monitor} reached {value}")
    *before, last = [entry[monitor] for entry in history]
    assert before
    assert all(is_better(monitor, value, than=found) for found in before)
    assert not is_better(monitor, value, than=last)


def test_a_target_met_exactly_is_met_and_comes_before_the_last_epoch():
    _, _, history, _ = endings(small_plan(epochs=3))
    exactly = Target("loss", history[-1]["loss"])
    assert endings(small_plan(epochs=3, target=exactly))[0] == "target"


def test_an_impossible_target_ends_with_the_epochs():
    assert endings(small_plan(target=Target("loss", -1.0)))[:2] == ("epochs", None)


def test_max_seconds_count_all_finished_epochs_of_all_attempts():
    plan = small_plan(epochs=50, max_seconds=1000.0)
    state = State.start(plan)
    next(train(plan, state, DATA))
    assert state.ended is None
    state.elapsed = 999.99999999
    state = through_json(plan, state)
    assert [epoch.epoch for epoch in train(plan, state, DATA)] == [2]
    assert (state.ended, plan.why_ended(state.ended)) == ("max_seconds", "1000 s of training were used up")
    assert through_json(plan, state).finished


@pytest.mark.parametrize(
    "part", [{"max_seconds": 1e-9}, {"target": Target("loss", 100.0)}], ids=lambda part: next(iter(part))
)
def test_with_early_stopping_every_ending_goes_back_to_the_best_weights(part):
    plan = small_plan(epochs=5, early_stopping=EarlyStopping(), **part)
    ended, _, history, state = endings(plan)
    assert (ended, len(history)) == (*part, 1)
    assert state.parameters.flat.tobytes() == state.best_parameters.flat.tobytes()


def test_with_an_average_the_best_of_it_is_what_early_stopping_goes_back_to():
    plan = small_plan(Adam(0.05), epochs=40, average=0.5, early_stopping=EarlyStopping(patience=2))
    ended, _, history, state = endings(plan, validation=blobs(30, seed=7))
    assert ended == "early_stopping"
    assert state.best_epoch == len(history) - 2
    best = state.best_parameters.flat.tobytes()
    assert state.last_parameters.flat.tobytes() == state.parameters.flat.tobytes() == best


def test_there_is_a_sentence_for_every_ending_but_the_usual():
    plan = small_plan(early_stopping=EarlyStopping(), target=Target("loss", 1.0), max_seconds=1.5)
    sentences = [plan.why_ended(ended) for ended in ENDINGS]
    assert sentences[0] is None
    assert sentences[1:] == [
        "val_loss had not improved for 5 epochs", "loss reached 1", "1.5 s of training were used up",
    ]  # fmt: skip
    assert plan.why_ended(None) is None
    impatient = small_plan(early_stopping=EarlyStopping(patience=1))
    assert impatient.why_ended("early_stopping") == "val_loss had not improved for 1 epoch"


@pytest.mark.parametrize("ended", ENDINGS[1:])
def test_a_checkpoint_ended_by_what_the_plan_does_not_have_is_refused(ended):
    plan, (arrays, counters) = small_plan(), State.start(small_plan()).snapshot()
    with pytest.raises(ValueError, match=f"it was ended by {ended}, which is not in the plan"):
        State.restore(plan, arrays, {**counters, "ended": ended})


# What is watched


def test_a_metric_that_needs_the_whole_split_can_be_watched_on_validation():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(80, 4))
    data = Data(points[:50], (points[:50, 0] + rng.normal(size=50) > 0).astype(np.float32)[:, None])
    other = Data(points[50:], (points[50:, 0] + rng.normal(size=30) > 0).astype(np.float32)[:, None])
    early = EarlyStopping("val_roc_auc", patience=3)
    plan = Plan(
        Network([Dense(6, "relu"), Dense(1)], (4,)), BinaryCrossEntropy(), Adam(0.02), epochs=60, batch_size=8,
        metrics=("roc_auc", "accuracy"), early_stopping=early, seed=3,
    )  # fmt: skip
    state, history = trained(plan, data, other)
    watched = [entry["val_roc_auc"] for entry in history]
    assert "roc_auc" not in history[0]
    assert state.ended == "early_stopping"
    assert len(watched) == int(np.argmax(watched)) + 4
    assert state.best_value == max(watched) == evaluate(plan, state.best_parameters, other)["roc_auc"]


@pytest.mark.parametrize(
    ("changes", "validated", "sentence"),
    [
        ({"target": Target("val_loss", 1.0)}, False, "target watches val_loss, and there is no validation split"),
        ({"target": Target("test_loss", 1.0)}, True, "target watches test_loss, and the test split is not for"),
        ({"schedule": ReduceOnPlateau()}, False, "schedule watches val_loss, and there is no validation split"),
        (
            {"early_stopping": EarlyStopping("roc_auc"), "metrics": ("roc_auc",)}, True,
            "early_stopping watches roc_auc, which is measured on validation only; use val_roc_auc",
        ),
    ],
)  # fmt: skip
def test_what_is_not_measured_every_epoch_cannot_be_watched(changes, validated, sentence):
    plan = (
        dataclasses.replace(small_plan(Sgd(0.1)), loss=BinaryCrossEntropy()) if "metrics" in changes else small_plan()
    )
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(plan, **changes).monitor(validated)


def test_the_best_weights_are_those_of_what_early_stopping_watches_and_of_the_loss_otherwise():
    assert small_plan().monitor(validated=True) == "val_loss"
    assert small_plan().monitor(validated=False) == "loss"
    assert small_plan(early_stopping=EarlyStopping("accuracy")).monitor(validated=True) == "accuracy"


def test_a_target_without_a_monitor_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="target: val_mae is not measured, only loss, accuracy"):
        small_plan(target=Target("val_mae", 0.1))
