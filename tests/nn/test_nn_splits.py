"""Splits: every sample once, groups whole, shares exact, folds a partition, and the rows of earlier versions."""

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn.splits import fold_indices, given_indices, grouped_indices, split_indices

labels_of = st.lists(st.integers(0, 4), min_size=3, max_size=80).map(np.array)
groups_of = st.lists(st.integers(0, 12), min_size=6, max_size=80).map(np.array)
parts = st.floats(0, 0.45)


def every_sample_once_in_order(split, samples):
    return sorted(np.concatenate(split)) == list(range(samples)) and all((np.diff(part) > 0).all() for part in split)


@pytest.mark.parametrize(
    ("labels", "validation", "test", "stratify", "seed", "digest"),
    [
        (np.arange(150) // 50, 0.2, 0.1, True, 0, "ab8e662fa0b63922"),
        (np.arange(150) // 50, 0.2, 0.1, False, 3, "89386102d203f6ee"),
        (np.arange(40) % 7, 9, 4, True, 5, "0284bdb10ed94d41"),
    ],
)
def test_the_rows_of_a_split_are_those_of_version_0_1(labels, validation, test, stratify, seed, digest):
    split = split_indices(labels, validation, test, stratify, seed)
    content = b"|".join(part.astype("<i8").tobytes() for part in split)
    assert hashlib.sha256(content).hexdigest()[:16] == digest


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


@law
@given(groups_of, parts, parts, st.integers(0, 99))
def test_groups_are_never_split_and_no_part_exceeds_its_share_by_a_whole_group(groups, validation, test, seed):
    wanted = [int(len(groups) * part) for part in (validation, test)]
    numbers, counts = np.unique(groups, return_counts=True)
    needed = 1 + sum(size > 0 for size in wanted)
    if len(numbers) < needed:
        with pytest.raises(ValueError, match=rf"{needed} parts need {needed} groups at least, and there are"):
            grouped_indices(groups, *wanted, seed)
        return
    split = grouped_indices(groups, *wanted, seed)
    assert every_sample_once_in_order(split, len(groups))
    assert sum(len(np.unique(groups[part])) for part in split) == len(numbers)
    for part, size in zip(split, (len(groups) - sum(wanted), *wanted), strict=True):
        assert (len(part) > 0) == (size > 0)
        assert len(part) < size + counts.max()
    again = grouped_indices(groups, *wanted, seed)
    assert all((first == second).all() for first, second in zip(split, again, strict=True))


def test_equal_groups_come_out_in_their_shares_and_another_seed_gives_others():
    groups = np.repeat(np.arange(50), 4)
    one, two = (grouped_indices(groups, 0.2, 0.1, seed) for seed in (0, 1))
    assert [len(part) for part in one] == [140, 40, 20]
    assert any((first != second).any() for first, second in zip(one, two, strict=True))


def test_a_split_that_the_data_states_is_taken():
    split = given_indices(np.array([2, 0, 1, 0]))
    assert [part.tolist() for part in split] == [[1, 3], [2], [0]]
    with pytest.raises(ValueError, match="no sample is for training"):
        given_indices(np.array([1, 2]))


@law
@given(st.integers(2, 6), st.integers(0, 99), st.floats(0, 0.3), st.booleans(), st.data())
def test_folds_partition_the_samples_outside_the_test(folds, seed, test, stratify, data):
    labels = data.draw(st.lists(st.integers(0, 3), min_size=20, max_size=80).map(np.array))
    splits = [fold_indices(labels, folds, 1 + fold, int(test * len(labels)), stratify, seed) for fold in range(folds)]
    assert all(every_sample_once_in_order(split, len(labels)) for split in splits)
    assert all((split[2] == splits[0][2]).all() for split in splits)
    rest = np.setdiff1d(np.arange(len(labels)), splits[0][2])
    assert sorted(np.concatenate([validated for _, validated, _ in splits])) == list(rest)
    sizes = [len(validated) for _, validated, _ in splits]
    assert max(sizes) - min(sizes) <= 1
    for label in range(4) if stratify else ():
        counts = [(labels[validated] == label).sum() for _, validated, _ in splits]
        assert max(counts) - min(counts) <= 1


@law
@given(groups_of, st.integers(2, 4), st.integers(0, 99))
def test_grouped_folds_keep_groups_whole_and_differ_by_at_most_the_largest(groups, folds, seed):
    numbers, counts = np.unique(groups, return_counts=True)
    if len(numbers) < folds:
        with pytest.raises(ValueError, match=f"{folds} folds need {folds} groups"):
            fold_indices(groups, folds, 1, 0.0, False, seed, groups)
        return
    splits = [fold_indices(groups, folds, 1 + fold, 0.0, False, seed, groups) for fold in range(folds)]
    assert sum(len(np.unique(groups[validated])) for _, validated, _ in splits) == len(numbers)
    assert sorted(np.concatenate([validated for _, validated, _ in splits])) == list(range(len(groups)))
    sizes = [len(validated) for _, validated, _ in splits]
    assert max(sizes) - min(sizes) <= counts.max()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((5, 6, 0.0), "there are 5 folds, numbered from 1, and no fold 6"),
        ((5, 0, 0.0), "no fold 0"),
        ((30, 1, 0.0), "20 samples are too few for 30 folds"),
        ((5, 1, 1.5), "test is a fraction"),
    ],
)
def test_impossible_folds_are_told_in_a_sentence(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        fold_indices(np.arange(20) % 2, *arguments, stratify=True, seed=0)
