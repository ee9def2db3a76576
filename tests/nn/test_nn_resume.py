"""A training that was stopped, written down and continued ends with the bytes of one that was not."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import blobs, law, small_plan, through_json, trained

from nn import (
    Adam,
    AmsGrad,
    CrossEntropy,
    Dense,
    EarlyStopping,
    Nadam,
    Nesterov,
    Network,
    Plan,
    RmsProp,
    Sgd,
    State,
    train,
)

OPTIMIZERS = [Sgd(0.1), Nesterov(0.05), RmsProp(0.01, momentum=0.5), Adam(0.01), AmsGrad(0.01), Nadam(0.01)]
DATA, VALIDATION = blobs(44), blobs(20, seed=1)  # 6 steps an epoch, the last with 4 samples
STEPS = 18


def stop_after(steps: int):
    """A poll that lets this many steps through."""
    polls = itertools.count()
    return lambda: next(polls) >= steps


def continued(plan: Plan, stops: list[int]) -> tuple[State, list[dict[str, float]]]:
    """Train in pieces of so many steps, each from what the last one wrote down, then to the end."""
    state, history = State.start(plan), []
    for steps in [*stops, 10**6]:
        history += [epoch.metrics for epoch in train(plan, state, DATA, VALIDATION, stop_after(steps))]
        state = through_json(plan, state)
    return state, history


def same(first: State, second: State) -> bool:
    (arrays, counters), (others, numbers) = first.snapshot(), second.snapshot()
    vectors = {name: array.tobytes() for name, array in arrays.items()}
    return vectors == {name: array.tobytes() for name, array in others.items()} and counters == {
        **numbers,
        "seconds": counters["seconds"],
        "elapsed": counters["elapsed"],
    }


@law
@given(st.integers(0, STEPS), st.sampled_from(OPTIMIZERS))
def test_stopping_at_any_step_changes_no_byte_and_no_metric(step, optimizer):
    plan = small_plan(optimizer)
    whole, history = trained(plan, DATA, VALIDATION)
    pieces, records = continued(plan, [step])
    assert same(whole, pieces)
    assert records == history


@law
@given(st.lists(st.integers(0, 5), max_size=6))
def test_stopping_again_and_again_changes_no_byte_and_no_metric(stops):
    plan = small_plan(Adam(0.02), epochs=8, early_stopping=EarlyStopping(patience=1))
    whole, history = trained(plan, DATA, VALIDATION)
    pieces, records = continued(plan, stops)
    assert same(whole, pieces)
    assert records == history


@law
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=4), st.sampled_from([1, 2, 7]))
def test_the_steps_that_are_logged_are_those_of_an_undisturbed_training_to_the_last_bit(stops, every):
    """Also after a death, with which all since the last snapshot is done again; a point of a step is told the same."""
    plan = small_plan(Adam(0.02), log_every=every, clip_norm=0.5)
    whole: dict[int, dict[str, float]] = {}
    list(train(plan, State.start(plan), DATA, log=whole.__setitem__))
    assert list(whole) == list(range(every, STEPS + 1, every))
    told: dict[int, dict[str, float]] = {}

    def log(step: int, values: dict[str, float]) -> None:
        assert told.setdefault(step, values) == values

    saved = State.start(plan)
    for steps, dies in stops:
        state = through_json(plan, saved)
        list(train(plan, state, DATA, stop=stop_after(steps), log=log))
        saved = saved if dies else state
    list(train(plan, through_json(plan, saved), DATA, log=log))
    assert {step: told[step] for step in sorted(told)} == whole


def test_a_stop_is_asked_before_every_step_and_leaves_the_state_between_two():
    plan = small_plan()
    state = State.start(plan)
    assert list(train(plan, state, DATA, None, stop_after(4))) == []
    assert (state.epoch, state.step, state.cursor, state.samples) == (0, 4, 32, 32)
    assert not state.finished
    assert list(train(plan, state, DATA, None, lambda: True)) == []
    assert state.step == 4


def test_a_stop_at_an_epochs_last_step_still_ends_the_epoch():
    plan = small_plan()
    state = State.start(plan)
    assert [epoch.epoch for epoch in train(plan, state, DATA, None, stop_after(6))] == [1]
    assert (state.epoch, state.cursor) == (1, 0)


def test_a_snapshot_is_a_copy():
    plan = small_plan()
    state = State.start(plan)
    arrays, counters = state.snapshot()
    before = arrays["parameters"].tobytes()
    for _ in train(plan, state, DATA):
        pass
    assert arrays["parameters"].tobytes() == before
    assert counters["epoch"] == 0
    assert counters["totals"] == {"samples": 0, "weight": 0.0, "loss": 0.0, "statistics": {}}


def test_a_restored_state_does_not_share_the_arrays_it_was_given():
    plan, state = small_plan(Adam()), State.start(small_plan(Adam()))
    arrays, counters = state.snapshot()
    restored = State.restore(plan, arrays, counters)
    list(train(plan, restored, DATA))
    assert all((array == state.snapshot()[0][name]).all() for name, array in arrays.items())


def damaged(**changes):
    return lambda arrays, counters: counters.update(changes)


def totals(**changes):
    return lambda arrays, counters: counters["totals"].update(changes)


def lose(name):
    return lambda arrays, counters: arrays.pop(name)


def replace(name, array):
    return lambda arrays, counters: arrays.update({name: array})


SIZE = 66  # numbers in the small plan's network: 5 * 7 + 7 + 7 * 3 + 3


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lose("parameters"), "'parameters' is missing"),
        (lose("best"), "the arrays are"),
        (lose("optimizer.mean"), "the arrays are"),
        (replace("extra", np.zeros(1)), "the arrays are"),
        (replace("parameters", np.zeros(SIZE + 1, np.float32)), "shape"),
        (replace("parameters", np.zeros((1, SIZE), np.float32)), "shape"),
        (replace("parameters", np.zeros(SIZE, np.int32)), "int32"),
        (replace("optimizer.square", np.zeros(SIZE, np.float64)), "float64 and should be float32"),
        (replace("best", np.zeros(3, np.float32)), "shape"),
        (lambda arrays, counters: counters.pop("epoch"), "the counters are"),
        (damaged(surprise=1), "the counters are"),
        (damaged(layout={"1.dense.weight": [5, 8]}), "another network"),
        (damaged(epoch=-1), "epoch is -1"),
        (damaged(epoch=1.0), "epoch is 1.0"),
        (damaged(epoch=True), "epoch is True"),
        (damaged(epoch=9), "9 epochs are done of 3"),
        (damaged(step="4"), "step is '4'"),
        (damaged(cursor=3), "cursor 3"),
        (damaged(best_value=math.nan), "best_value is nan"),
        (damaged(best_value=None), "do not go together"),
        (damaged(best_epoch=3), "best epoch is 3 after 1"),
        (damaged(ended="epochs"), "says epochs after 1 epochs"),
        (damaged(ended="boredom"), "ended is 'boredom'"),
        (damaged(epoch=3), "says None after 3 epochs"),
        (damaged(rate_scale=math.inf), "rate_scale is inf"),
        (damaged(totals=7), "totals should be a table"),
        (totals(samples=-1), "totals of -1 samples"),
        (totals(samples=8), "the totals should be of accuracy"),
        (totals(statistics={"accuracy": [1.0]}), "the totals should be of accuracy"),
        (totals(samples=8, statistics={"accuracy": 1.0}), "total accuracy is 1.0, not a list"),
        (totals(samples=8, statistics={"accuracy": [math.inf]}), "total accuracy is inf"),
        (totals(loss=math.nan), "loss is nan"),
        (damaged(generators={}), "generators"),
        (damaged(generators={"shuffle": 1, "noise": 2}), "generator's state is damaged"),
        (damaged(generators={"shuffle": {"kind": "MT19937"}, "noise": {}}), "generator's state is damaged"),
    ],
)
def test_a_checkpoint_is_distrusted(damage, sentence):
    plan = small_plan(Adam())
    state = State.start(plan)
    next(train(plan, state, DATA))
    arrays, counters = state.snapshot()
    State.restore(plan, arrays, counters)
    damage(arrays, counters)
    with pytest.raises(ValueError, match=sentence):
        State.restore(plan, arrays, counters)


def test_a_checkpoint_of_another_network_of_the_same_size_is_refused():
    def plan(first: int, second: int) -> Plan:
        network = Network([Dense(first, bias=False), Dense(second, bias=False)], (3,))
        return Plan(network, CrossEntropy(), Sgd())

    assert plan(5, 6).network.size == plan(9, 2).network.size
    with pytest.raises(ValueError, match="another network"):
        State.restore(plan(5, 6), *State.start(plan(9, 2)).snapshot())


def test_a_checkpoint_of_another_optimizer_is_refused():
    with pytest.raises(ValueError, match="the arrays are"):
        State.restore(small_plan(Adam()), *State.start(small_plan(Sgd())).snapshot())
