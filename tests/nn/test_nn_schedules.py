import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import (
    SCHEDULES,
    ConstantRate,
    CosineDecay,
    ExponentialDecay,
    OneCycle,
    PolynomialDecay,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    warmed,
)

shares = st.floats(0, 1)
parts = st.floats(0.01, 1)
falling = st.one_of(
    st.just(ConstantRate()),
    st.builds(StepDecay, st.integers(1, 5), parts),
    st.builds(ExponentialDecay, parts),
    st.builds(PolynomialDecay, st.floats(0.1, 5), shares),
    st.builds(CosineDecay, shares),
    st.just(ReduceOnPlateau()),
)
bent = st.one_of(
    st.builds(CosineDecay, shares, st.integers(1, 6), st.floats(1, 3)),
    st.builds(OneCycle, st.floats(0, 0.99), parts, shares),
)
epochs = st.integers(1, 12)
epoch_steps = st.integers(1, 20)


def factors(schedule: Schedule, steps: int, steps_per_epoch: int = 1) -> list[float]:
    return [schedule.factor(step, steps, steps_per_epoch) for step in range(steps)]


@law
@given(st.one_of(falling, bent), epochs, epoch_steps)
def test_every_factor_is_a_share(schedule, count, steps_per_epoch):
    found = factors(schedule, count * steps_per_epoch, steps_per_epoch)
    assert all(type(factor) is float and 0 <= factor <= 1 for factor in found)


@law
@given(falling, epochs, epoch_steps)
def test_a_schedule_begins_at_1_and_never_rises(schedule, count, steps_per_epoch):
    found = factors(schedule, count * steps_per_epoch, steps_per_epoch)
    assert found[0] == 1
    assert all(later <= earlier for earlier, later in pairwise(found))


@law
@given(st.builds(StepDecay, st.integers(1, 5), parts), epochs, epoch_steps)
def test_step_drops_after_every_so_many_epochs_and_only_then(schedule, count, steps_per_epoch):
    found = factors(schedule, count * steps_per_epoch, steps_per_epoch)
    assert found == [schedule.gamma ** (step // (steps_per_epoch * schedule.every)) for step in range(len(found))]


@law
@given(parts, epochs, epoch_steps)
def test_exponential_loses_the_same_share_in_every_epoch(gamma, count, steps_per_epoch):
    found = factors(ExponentialDecay(gamma), count * steps_per_epoch, steps_per_epoch)
    assert found[::steps_per_epoch] == pytest.approx([gamma**epoch for epoch in range(count)])


@law
@given(st.sampled_from([PolynomialDecay, CosineDecay]), shares, st.integers(1, 200))
def test_the_step_after_the_last_would_have_the_final_share(kind, final, steps):
    assert kind(final=final).factor(steps, steps, 1) == pytest.approx(final, abs=1e-12)


@law
@given(shares, st.integers(1, 200))
def test_polynomial_of_power_1_is_a_line(final, steps):
    found = factors(PolynomialDecay(final=final), steps)
    assert found == pytest.approx([1 - (1 - final) * step / steps for step in range(steps)])


@law
@given(st.floats(0, 0.9), st.integers(0, 4), st.floats(1, 2), st.integers(100, 500))
def test_cosine_begins_again_as_often_as_told_in_cycles_that_grow(final, restarts, growth, steps):
    found = factors(CosineDecay(final, restarts, growth), steps)
    starts = [step for step, factor in enumerate(found) if factor == 1]
    assert len(starts) == restarts + 1
    lengths = [later - earlier for earlier, later in pairwise([*starts, steps])]
    whole = sum(growth**cycle for cycle in range(restarts + 1))
    assert lengths == pytest.approx([steps * growth**cycle / whole for cycle in range(restarts + 1)], abs=1.001)


@law
@given(st.floats(0, 0.99), parts, shares, st.integers(2, 300))
def test_one_cycle_rises_to_1_once_and_falls_to_its_final_share(rise, start, final, steps):
    found = factors(OneCycle(rise, start, final), steps)
    peak = found.index(max(found))
    assert found[peak] == 1
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert found[0] == (pytest.approx(start) if round(rise * steps) > 1 else 1)
    assert found[-1] == pytest.approx(final, abs=1e-12) or found[-1] == 1  # all of it is rise


@law
@given(st.one_of(falling, bent), st.integers(1, 50), epochs, epoch_steps)
def test_a_warm_up_rises_evenly_to_where_the_schedule_begins(schedule, warmup, count, steps_per_epoch):
    steps = warmup + count * steps_per_epoch
    found = [warmed(schedule, warmup, step, steps, steps_per_epoch) for step in range(steps)]
    rest = factors(schedule, count * steps_per_epoch, steps_per_epoch)
    assert found[:warmup] == pytest.approx([(step + 1) / warmup * rest[0] for step in range(warmup)])
    assert all(earlier < later for earlier, later in pairwise(found[:warmup]))
    assert found[warmup:] == rest


@law
@given(st.one_of(falling, bent), epochs, epoch_steps)
def test_without_a_warm_up_nothing_changes(schedule, count, steps_per_epoch):
    steps = count * steps_per_epoch
    assert [warmed(schedule, 0, step, steps, steps_per_epoch) for step in range(steps)] == factors(
        schedule, steps, steps_per_epoch
    )


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_training_all_of_warm_up_is_no_error(name):
    found = [warmed(SCHEDULES[name](), 10, step, 4, 2) for step in range(4)]
    assert all(0 < factor <= 0.4 for factor in found)


def plateau(schedule: ReduceOnPlateau, values: list[float]) -> list[float]:
    best, waited, scale, scales = None, 0, 1.0, []
    for value in values:
        best, waited, scale = schedule.after(value, best, waited, scale)
        scales.append(scale)
    return scales


def test_a_plateau_lowers_the_scale_after_its_patience_and_begins_to_wait_again():
    schedule = ReduceOnPlateau(gamma=0.5, patience=2)
    assert plateau(schedule, [1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.8, 0.8]) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_getting_better_by_less_than_min_delta_is_a_plateau():
    assert plateau(ReduceOnPlateau(patience=1, min_delta=0.1), [1.0, 0.95, 0.8]) == [1, 0.1, 0.1]


def test_higher_is_better_for_an_accuracy():
    assert plateau(ReduceOnPlateau("val_accuracy", patience=1), [0.5, 0.6, 0.55]) == [1, 1, 0.1]


@law
@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.01, 0.99), st.integers(1, 3), shares)
def test_a_plateaus_scale_never_rises_and_stays_above_its_floor(values, gamma, patience, floor):
    scales = plateau(ReduceOnPlateau(gamma=gamma, patience=patience, floor=floor), values)
    assert all(later <= earlier for earlier, later in pairwise(scales))
    assert all(floor <= scale <= 1 and math.isfinite(scale) for scale in scales)
