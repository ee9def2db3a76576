"""Preparation: scalers, filled gaps, one-hot columns, indicators; all from the training rows alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import FILLS, SCALERS, ByteScaler, Missing, Preparation

NAN = np.nan
features_of = st.integers(0, 999).map(
    lambda seed: np.random.default_rng(seed).normal(seed, 1 + seed, (1 + seed % 40, 3)).astype(np.float32)
)


@law
@given(features_of)
def test_standard_has_mean_0_and_deviation_1(features):
    scaler = SCALERS["standard"]()
    scaled = scaler.apply(features, scaler.fit(features))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-3)
    if len(features) > 1:
        np.testing.assert_allclose(scaled.std(axis=0), 1, rtol=1e-3)


@law
@given(features_of)
def test_minmax_ends_at_0_and_1(features):
    scaler = SCALERS["minmax"]()
    scaled = scaler.apply(features, scaler.fit(features))
    np.testing.assert_allclose(scaled.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled.max(axis=0), 1 if len(features) > 1 else 0, atol=1e-6)


@pytest.mark.parametrize("name", SCALERS)
def test_a_scaler_leaves_its_input_alone_and_gives_finite_float32_for_constants(name):
    features = np.column_stack([np.full(7, 0.1), np.full(7, 1e7), np.arange(7)]).astype(np.float32)
    before, scaler = features.copy(), SCALERS[name]()
    arrays = scaler.fit(features)
    scaled = scaler.apply(features, arrays)
    assert (features == before).all()
    assert scaled.dtype == np.float32
    assert np.isfinite(scaled).all()
    assert all(array.dtype == np.float32 for array in arrays.values())
    if name != "none":
        assert (scaled[:, :2] == 0).all()
        assert not (scaler.apply(features + 1, arrays)[:, 0] == 0).any()


def test_no_scaler_changes_nothing():
    features = np.array([[1.0, -2.0]], np.float32)
    assert SCALERS["none"]().apply(features, {}).tobytes() == features.tobytes()


def test_bytes_are_scaled_by_what_they_can_be():
    features = np.array([[0, 51], [0, 255]], np.uint8)
    scaler = ByteScaler()
    np.testing.assert_allclose(scaler.apply(features, scaler.fit(features)), [[0, 0.2], [0, 1]], rtol=1e-6)


@pytest.mark.parametrize(("name", "value"), [("mean", 4.0), ("median", 2.5), ("most_frequent", 2.0)])
def test_a_gap_is_filled_with_what_the_name_says(name, value):
    assert FILLS[name](np.float32([2, 9, 2, 3])) == value


def rows(*given):
    return np.array(given, np.float32)


def test_numbers_are_scaled_categories_spread_and_gaps_told_at_the_end():
    preparation = Preparation(SCALERS["minmax"](), 3, (0, 3, 0), "mean", (1, 2))
    training = rows([2, 1, 10], [4, 1, NAN], [6, NAN, 30])
    arrays = preparation.fit(training)
    assert arrays["fill"].tolist() == [4, 1, 20]
    assert {name: array.shape for name, array in arrays.items()} == preparation.shapes
    assert preparation.width == 7
    assert preparation.apply(training, arrays).tolist() == [
        [0, 0, 1, 0, 0, 0, 0],
        [0.5, 0, 1, 0, 0.5, 0, 1],
        [1, 0, 1, 0, 1, 1, 0],
    ]
    new = rows([NAN, 2, 10])  # the first column had no gap in training: it is filled, but not told
    assert preparation.apply(new, arrays).tolist() == [[0.5, 0, 0, 1, 0, 0, 0]]


columns_of = st.lists(st.sampled_from([0, 0, 1, 2, 4]), min_size=1, max_size=5).map(tuple)


@law
@given(columns_of, st.sampled_from(sorted(SCALERS)), st.sampled_from(sorted(FILLS)), st.integers(0, 999), st.booleans())
def test_prepared_rows_are_finite_one_hot_is_whole_and_rows_do_not_depend_on_each_other(
    categories, scaler, fill, seed, indicator
):
    rng = np.random.default_rng(seed)
    table = np.column_stack([rng.integers(0, k, 9) if k else rng.normal(5, 3, 9) for k in categories])
    table = table.astype(np.float32)
    table[1:][rng.random((8, len(categories))) < 0.3] = NAN  # the first row keeps every value
    gaps = np.isnan(table)
    indicated = tuple(np.flatnonzero(gaps.any(axis=0)).tolist()) if indicator else ()
    preparation = Preparation(SCALERS[scaler](), len(categories), categories, fill, indicated)
    arrays = preparation.fit(table)
    assert {name: array.shape for name, array in arrays.items()} == preparation.shapes
    inputs = preparation.apply(table, arrays)
    assert inputs.shape == (9, preparation.width)
    assert inputs.dtype == np.float32
    assert np.isfinite(inputs).all()
    place = 0
    for size in categories:
        if size:
            assert (np.sort(inputs[:, place : place + size], axis=1) == np.eye(size)[-1]).all()
        place += size or 1
    assert (inputs[:, place:] == gaps[:, list(indicated)]).all()
    alone = np.concatenate([preparation.apply(row[None], arrays) for row in table])
    assert alone.tobytes() == inputs.tobytes()


@law
@given(features_of, st.sampled_from(sorted(SCALERS)))
def test_numbers_without_gaps_are_the_scalers_alone(features, name):
    scaler, preparation = SCALERS[name](), Preparation(SCALERS[name](), 3)
    arrays = preparation.fit(features)
    assert {name: array.tobytes() for name, array in arrays.items()} == {
        name: array.tobytes() for name, array in scaler.fit(features).items()
    }
    assert preparation.apply(features, arrays).tobytes() == scaler.apply(features, scaler.fit(features)).tobytes()


def test_statistics_are_those_of_the_rows_given():
    preparation = Preparation(SCALERS["none"](), 1, (), "median")
    arrays = preparation.fit(rows([1], [2], [9], [NAN]))
    assert preparation.apply(rows([NAN], [5]), arrays).tolist() == [[2], [5]]


@pytest.mark.parametrize("fill", ["mean", "median", "most_frequent"])
def test_a_gap_among_categories_is_the_most_frequent_of_them(fill):
    preparation = Preparation(SCALERS["none"](), 1, (4,), fill)
    arrays = preparation.fit(rows([3], [0], [3], [0], [1], [3]))
    assert preparation.apply(rows([NAN]), arrays).tolist() == [[0, 0, 0, 1]]


def test_what_cannot_be_filled_is_told():
    with pytest.raises(ValueError, match="column 2 is empty in every training row"):
        Preparation(SCALERS["none"](), 2, (), "mean").fit(rows([1, NAN], [2, NAN]))
    with pytest.raises(ValueError, match="an indicator needs a fill"):
        Missing(indicator=True)
    with pytest.raises(ValueError, match="fill must be one of error, mean, median, most_frequent"):
        Missing("mode")
