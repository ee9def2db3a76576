"""What happens between backward and the end of a step: groups of batches, penalties, clipping, decay, averages."""

import dataclasses

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from nn_tools import assert_close, blobs, law, seeds, slope, small_plan, stacks, trained

from nn import (
    OPTIMIZERS,
    SCHEDULES,
    Adam,
    AdamW,
    BatchNorm,
    Buffers,
    ConstantRate,
    CrossEntropy,
    Data,
    Dense,
    LayerNorm,
    Network,
    Plan,
    Sgd,
    State,
    evaluate,
    train,
    warmed,
)
from nn.descent import average, clip_norm, step
from nn.training import Loop, learning_rate


def plan_of(*layers, frozen=(), **changes) -> Plan:
    network = Network(layers or [Dense(7, "tanh"), Dense(3)], (5,), frozen)
    given = {"optimizer": Sgd(0.1), "epochs": 2, "batch_size": 8, "metrics": ("accuracy",), "seed": 4, **changes}
    return Plan(network, CrossEntropy(), **given)


def ended(plan: Plan, data: Data, validation: Data | None = None) -> State:
    """The state after training in float64."""
    state = State.start(plan, np.float64)
    for _ in train(plan, state, data, validation):
        pass
    return state


def weighted(samples: int, seed: int) -> Data:
    """Blobs of which about a third weigh nothing."""
    weights = np.random.default_rng(seed).choice([0, 0.5, 2], samples).astype(np.float32)
    return dataclasses.replace(blobs(samples), weights=weights)


# Groups of batches


@law
@given(st.integers(1, 6), st.integers(2, 5), st.integers(1, 50), st.booleans(), st.sampled_from([Sgd(0.1), Adam(0.01)]))
def test_a_group_of_batches_is_as_good_as_one_large_batch(size, group, samples, uneven, optimizer):
    data = weighted(samples, 3) if uneven else blobs(samples)
    assume(data.weights is None or data.weights.any())
    grouped = plan_of(batch_size=size, accumulate=group, optimizer=optimizer, l2=0.1, clip_norm=0.5)
    large = dataclasses.replace(grouped, batch_size=size * group, accumulate=1)
    one, other = ended(grouped, data), ended(large, data)
    assert one.step == other.step == 2 * grouped.updates_per_epoch(samples)
    np.testing.assert_allclose(one.parameters.flat, other.parameters.flat, rtol=1e-7, atol=1e-8)
    assert one.samples == other.samples == 2 * samples


def test_a_stop_finds_no_group_half_done_and_a_checkpoint_in_the_middle_of_one_is_refused():
    plan = plan_of(batch_size=4, accumulate=3)
    polls = iter([False, False, True])
    state = State.start(plan)
    assert list(train(plan, state, blobs(60), stop=lambda: next(polls))) == []
    assert (state.cursor, state.step) == (24, 2)
    arrays, counters = state.snapshot()
    counters["cursor"], counters["totals"]["samples"] = 28, 28
    with pytest.raises(ValueError, match="the cursor 28 is not at an update of 12 samples"):
        State.restore(plan, arrays, counters)


# Penalties and decay


@law
@given(stacks, st.floats(0, 1), st.floats(0, 1), seeds)
def test_the_penalties_gradient_is_that_of_the_loss_with_penalties(stack, l1, l2, seed):
    rng = np.random.default_rng(seed)
    plan = plan_of(Dense(4, "tanh"), BatchNorm(), LayerNorm(), Dense(3), optimizer=Sgd(1.0), l1=l1, l2=l2)
    network = plan.network
    parameters = network.initialise([np.random.default_rng(0)] * int(np.prod(stack)) if stack else rng, np.float64)
    flat = np.ascontiguousarray(rng.normal(size=(*stack, network.size)))
    flat[np.abs(flat) < 1e-3] = 0.5  # |w| has no slope at 0
    gradients = rng.normal(size=flat.shape)
    views = type(parameters)(network.parameter_shapes, flat=flat).views

    def penalised() -> float:
        weights = [views[name] for name in ("1.dense.weight", "4.dense.weight")]
        return sum(float(l1 * np.abs(w).sum() + l2 / 2 * np.square(w).sum()) for w in weights)

    wanted = flat - gradients - slope(penalised, flat)
    step(plan, plan.optimizer.init(flat), flat, gradients, 1.0, Buffers())
    assert_close(flat, wanted)


def test_neither_biases_nor_norms_nor_frozen_layers_decay():
    layers = [Dense(4), BatchNorm(), Dense(4), LayerNorm(), Dense(3)]
    for changes in ({"l2": 0.1}, {"l1": 0.1}, {"optimizer": Sgd(0.1, weight_decay=0.3)}):
        plan = plan_of(*layers, frozen=(3,), **changes)
        parameters = plan.network.parameters(np.ones(plan.network.size))
        plan_step(plan, parameters.flat, np.zeros(plan.network.size))
        moved = {name for name, view in parameters.views.items() if (view != 1).any()}
        assert moved == {"1.dense.weight", "5.dense.weight"}


def plan_step(plan: Plan, parameters, gradients, rate=0.1) -> None:
    step(plan, plan.optimizer.init(parameters), parameters, gradients, rate, Buffers())


@given(seeds, st.floats(0.001, 0.5), st.floats(0, 0.5))
def test_decoupled_weight_decay_is_pytorchs(seed, rate, decay):
    """p *= 1 - lr * decay, then the update: in plain Python, for a weight and a bias."""
    rng = np.random.default_rng(seed)
    network = Network([Dense(1)], (1,))
    for optimizer in (Sgd(rate, weight_decay=decay), AdamW(rate, weight_decay=decay)):
        plan = Plan(network, CrossEntropy(), optimizer)
        parameters = rng.normal(size=2)
        weight, bias = parameters.tolist()
        gradients, mean, square = rng.normal(size=(5, 2)), [0.0, 0.0], [0.0, 0.0]
        state = optimizer.init(parameters)
        for number, (slope_of_weight, slope_of_bias) in enumerate(gradients.tolist(), 1):
            weight *= 1 - rate * decay
            moves = []
            for place, g in enumerate((slope_of_weight, slope_of_bias)):
                mean[place] = 0.9 * mean[place] + 0.1 * g
                square[place] = 0.999 * square[place] + 0.001 * g * g
                corrected = (square[place] / (1 - 0.999**number)) ** 0.5 + 1e-8
                adam = mean[place] / (1 - 0.9**number) / corrected
                moves.append(rate * (g if optimizer.kind == "sgd" else adam))
            weight, bias = weight - moves[0], bias - moves[1]
            state = step(plan, state, parameters, gradients[number - 1].copy(), rate, Buffers())
        np.testing.assert_allclose(parameters, [weight, bias], rtol=1e-9)


# Clipping


@law
@given(st.integers(1, 4), st.integers(1, 400), st.floats(0.01, 10), seeds)
def test_each_network_of_a_stack_is_clipped_to_its_own_length_and_to_the_bytes_it_has_alone(members, size, most, seed):
    rng = np.random.default_rng(seed)
    scales = rng.choice([0, 1e-3, 1, 1e3], (members, 1))
    together = (rng.normal(size=(members, size)) * scales).astype(np.float32)
    before, alone = together.copy(), [member.copy() for member in together]
    clip_norm(together, most)
    for member, single, whole in zip(together, alone, before, strict=True):
        clip_norm(single, most)
        assert single.tobytes() == member.tobytes()
        length = float(np.linalg.norm(whole.astype(np.float64)))
        np.testing.assert_allclose(member, whole * min(1, most / max(length, 1e-30)), rtol=1e-5)


def test_entries_are_clipped_before_the_length_and_both_after_the_penalties():
    plan = plan_of(Dense(3), optimizer=Sgd(1.0), l2=10.0, clip_value=0.5, clip_norm=1.0)
    parameters = np.ones(plan.network.size)
    plan_step(plan, parameters, np.full(plan.network.size, -0.1), rate=1.0)
    moves = 1 - parameters
    clipped = np.where(np.arange(18) < 15, 0.5, -0.1)  # 15 weights with the slope 9.9, 3 biases with -0.1
    np.testing.assert_allclose(moves, clipped / np.linalg.norm(clipped))


# The average


def test_the_average_soon_forgets_the_first_weights_and_then_moves_slowly():
    averaged, wanted, scratch = np.zeros(3), 0.0, np.empty(3)
    for number in range(1, 200):
        value = float(np.sin(number))
        average(averaged, np.full(3, value), 0.9, number, scratch)
        decay = min(0.9, (1 + number) / (10 + number))
        wanted = decay * wanted + (1 - decay) * value
        np.testing.assert_allclose(averaged, wanted, rtol=1e-9, atol=1e-12)


def test_the_average_is_what_is_judged_and_kept_as_best_and_as_last():
    plan, data, other = small_plan(Adam(0.05), epochs=6, average=0.9), blobs(40), blobs(30, seed=7)
    plain = dataclasses.replace(plan, average=None)
    state, history = trained(plan, data, other)
    beside, _ = trained(plain, data, other)
    assert state.parameters.flat.tobytes() == beside.parameters.flat.tobytes()  # it does not touch the training
    assert state.last_parameters is state.average
    assert state.average.flat.tobytes() != state.parameters.flat.tobytes()
    assert evaluate(plan, state.last_parameters, other)["loss"] == history[-1]["val_loss"]
    assert evaluate(plan, state.best_parameters, other)["loss"] == min(entry["val_loss"] for entry in history)


# The learning rate


@pytest.mark.parametrize("warmup", [0.0, 0.5, 1.4, 9.0])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_and_its_warmup_reach_the_optimizer(name, warmup):
    rates = []

    @dataclasses.dataclass(frozen=True)
    class Spy(Sgd):
        def update(self, state, parameters, gradients, learning_rate=None):
            rates.append(learning_rate)
            return super().update(state, parameters, gradients, learning_rate)

    schedule = SCHEDULES[name]() if name != "reduce_on_plateau" else SCHEDULES[name](monitor="loss")
    plan = plan_of(optimizer=Spy(0.2), schedule=schedule, warmup=warmup, epochs=4, batch_size=10, accumulate=2)
    trained(plan, blobs(95))
    updates, first = 5, round(warmup * 5)  # 95 samples in groups of 20
    assert rates == [0.2 * warmed(schedule, first, number, 4 * updates, updates) for number in range(4 * updates)]


def test_a_constant_rate_that_a_spec_built_is_known_as_one():
    plan = plan_of(schedule=ConstantRate())
    assert plan.rate_stays
    assert not dataclasses.replace(plan, warmup=1.0).rate_stays
    assert learning_rate(plan, State.start(plan), 5) == plan.optimizer.learning_rate


def test_a_plateau_makes_the_learning_rate_smaller_and_never_larger():
    schedule = SCHEDULES["reduce_on_plateau"](monitor="val_loss", gamma=0.5, patience=1, min_delta=1e6, floor=0.2)
    plan = plan_of(schedule=schedule, epochs=5, warmup=0.0)
    state, found = State.start(plan), []
    loop = Loop(plan, state, blobs(30))
    for _ in train(plan, state, blobs(30), blobs(10, seed=1)):
        found.append(learning_rate(plan, state, loop.updates))
    assert found == pytest.approx([0.1, 0.05, 0.025, 0.02, 0.02])


# What does nothing


@pytest.mark.parametrize(
    "changes",
    [{"l1": 0.1}, {"l2": 0.1}, {"clip_norm": 0.01}, {"clip_value": 0.001}, {"optimizer": Sgd(0.1, weight_decay=0.5)}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_step_that_is_more_than_the_optimizers_is_known_as_such(changes):
    assert plan_of().plain
    assert not plan_of(**changes).plain
    assert (
        ended(plan_of(**changes), blobs()).parameters.flat.tobytes()
        != ended(plan_of(), blobs()).parameters.flat.tobytes()
    )


def test_every_optimizer_gives_the_stacks_vectors_to_the_same_steps():
    """(members, size) vectors of small networks are one piece; each member's bytes are those of its own vector."""
    rng = np.random.default_rng(0)
    for optimizer in (part(0.01) for part in OPTIMIZERS.values()):
        together = rng.normal(size=(3, 50)).astype(np.float32)
        alone = [member.copy() for member in together]
        gradients = rng.normal(size=(4, 3, 50)).astype(np.float32)
        state, states = optimizer.init(together), [optimizer.init(member) for member in alone]
        for gradient in gradients:
            state = optimizer.update(state, together, gradient.copy())
            for place, member in enumerate(alone):
                states[place] = optimizer.update(states[place], member, gradient[place].copy())
        assert [member.tobytes() for member in together] == [member.tobytes() for member in alone]
