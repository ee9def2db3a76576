import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import SCALERS, Data, split_indices
from nn.data import minibatches

labels_of = st.lists(st.integers(0, 4), min_size=3, max_size=80).map(np.array)
parts = st.floats(0, 0.45)


@law
@given(labels_of, parts, parts, st.booleans(), st.integers(0, 99))
def test_a_split_has_every_sample_once_in_order_and_the_same_for_the_same_seed(
    labels, validation, test, stratify, seed
):
    counts = [int(len(labels) * part) for part in (validation, test)]
    if stratify and len(labels) - sum(counts) < len(np.unique(labels)):
        with pytest.raises(ValueError, match="too few to keep one of each"):
            split_indices(labels, *counts, True, seed)
        return
    split = split_indices(labels, *counts, stratify, seed)
    assert sorted(np.concatenate(split)) == list(range(len(labels)))
    assert all((np.diff(part) > 0).all() for part in split)
    assert [len(split[1]), len(split[2])] == counts
    assert not stratify or set(labels[split[0]]) == set(labels)
    again = split_indices(labels, *counts, stratify, seed)
    assert all((first == second).all() for first, second in zip(split, again, strict=True))


@law
@given(
    st.lists(st.integers(10, 40), min_size=1, max_size=6), st.floats(0.1, 0.3), st.floats(0.1, 0.3), st.integers(0, 99)
)
def test_a_stratified_split_has_each_class_in_its_share_within_one(counts, validation, test, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    split = split_indices(labels, validation, test, True, seed)
    assert [len(part) for part in split[1:]] == [int(len(labels) * part + 0.5) for part in (validation, test)]
    for label, count in enumerate(counts):
        for part in split[1:]:
            assert abs((labels[part] == label).sum() - len(part) * count / len(labels)) < 1


def test_larger_classes_stand_in_for_those_with_one_sample():
    labels = np.array([0] * 90 + list(range(1, 11)))
    train, validation, test = split_indices(labels, 0.2, 0.1, True, 0)
    assert set(labels[train]) == set(range(11))
    assert (len(validation), len(test)) == (20, 10)


def test_a_split_may_be_counted_and_another_seed_gives_another():
    labels = np.arange(100) % 4
    one, two = (split_indices(labels, 20, 8, True, seed) for seed in (0, 1))
    assert [len(part) for part in one] == [72, 20, 8]
    assert any((first != second).any() for first, second in zip(one, two, strict=True))


def test_no_validation_and_no_test_is_a_split_too():
    train, validation, test = split_indices(np.arange(5) % 2, 0, 0.0, True, 0)
    assert (len(train), len(validation), len(test)) == (5, 0, 0)


@pytest.mark.parametrize(
    ("labels", "validation", "test", "sentence"),
    [
        ([0, 1], 0.5, 0.5, "too few"),
        ([0, 1, 2, 3], 0.5, 0.0, "too few to keep one of each of 4 classes"),
        ([0] * 20, 0.001, 0.0, "0.001 of them for validation is none"),
        ([0] * 20, 1.5, 0.0, "validation is a fraction"),
        ([0] * 20, 0.1, -1, "test is a fraction"),
        ([0] * 20, 30, 0, "too few"),
        ([0.5] * 20, 0.1, 0.1, "stratify needs class labels"),
    ],
)
def test_an_impossible_split_is_told_in_a_sentence(labels, validation, test, sentence):
    with pytest.raises(ValueError, match=sentence):
        split_indices(np.array(labels), validation, test, True, 0)


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


def test_labels_are_classes_if_whole_and_targets_if_not():
    features = np.zeros((3, 2))
    assert Data(features, [0, 1, 2]).labels.dtype == np.int64
    assert Data(features, [0.0, 1.0, 2.0]).labels.shape == (3, 1)
    assert Data(features, np.zeros((3, 4))).labels.dtype == np.float32
    assert len(Data(features, [0, 1, 2]).take(np.array([2, 0]))) == 2


@pytest.mark.parametrize("features", [np.zeros(3), np.zeros((2, 2))])
def test_data_of_other_lengths_is_refused(features):
    with pytest.raises(ValueError, match="n labels"):
        Data(features, [0, 1, 2])


@law
@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 400), st.integers(0, 5))
def test_mini_batches_are_the_order_cut_in_pieces_from_any_batch_on(samples, batch_size, chunk, skipped):
    features, order = np.arange(samples)[:, None], np.random.default_rng(0).permutation(samples)
    start = min(skipped * batch_size, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nn.data.CHUNK", chunk)
        batches = list(minibatches(features, features[:, 0], order, batch_size, start))
    assert [len(x) for x, _ in batches[:-1]] == [batch_size] * max(0, len(batches) - 1)
    assert [int(value) for x, _ in batches for value in x[:, 0]] == list(order[start:])
    assert all((x[:, 0] == y).all() for x, y in batches)
