from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law

from nn import Augmentation, Buffers, Data, ImageAugmentation
from nn.data import minibatches


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


def test_bytes_stay_bytes_and_are_scaled_when_they_are_used():
    features, shift, scale = np.array([[0, 255], [51, 102]], np.uint8), np.zeros(2, np.float32), np.float32([255, 51])
    data = Data(features, [0, 1], shift=shift, scale=scale)
    assert data.features.dtype == np.uint8
    assert data.inputs(data.features).tolist() == [[0, 5], [np.float32(0.2), 2]]
    assert Data(features, [0, 1]).inputs(features).tolist() == [[0, 255], [51, 102]]
    assert data.take(np.array([1])).scale is scale


def test_augmented_images_are_changed_and_scaled_and_others_only_scaled():
    features, scale = np.arange(24, dtype=np.uint8).reshape(2, 12), np.full(12, 2, np.float32)
    plain = Data(features, [0, 1], shift=np.zeros(12, np.float32), scale=scale)
    augment = ImageAugmentation(Augmentation(shift=2), (3, 4))
    augmented = replace(plain, augment=augment)
    assert (plain.augmented(features, np.random.default_rng(0), Buffers()) == features / 2).all()
    found = augmented.augmented(features, np.random.default_rng(0), Buffers())
    assert (found == augment(features, np.random.default_rng(0)) / 2).all()
    raw = replace(augmented, shift=None, scale=None)
    assert (raw.augmented(features, np.random.default_rng(0), Buffers()) == 2 * found).all()


def test_sample_weights_go_with_their_samples():
    data = Data(np.zeros((3, 2)), [0, 1, 2], weights=np.float32([1, 2, 3]))
    assert data.take(np.array([2, 0])).weights.tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"weights are \(n,\) for n samples; there are 3 and \(2,\)"):
        Data(np.zeros((3, 2)), [0, 1, 2], weights=np.ones(2))


@law
@given(st.integers(1, 50), st.integers(1, 60), st.integers(1, 400), st.integers(0, 5))
def test_mini_batches_are_the_order_cut_in_pieces_from_any_batch_on(samples, batch_size, chunk, skipped):
    features, order = np.arange(samples)[:, None], np.random.default_rng(0).permutation(samples)
    start = min(skipped * batch_size, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nn.data.CHUNK", chunk)
        data = Data(features, np.arange(samples), weights=features[:, 0])
        batches = list(minibatches(data, features[:, 0], data.labels, order, batch_size, start))
    assert [len(batch.x) for batch in batches[:-1]] == [batch_size] * max(0, len(batches) - 1)
    assert [int(value) for batch in batches for value in batch.x[:, 0]] == list(order[start:])
    for batch in batches:
        assert all((batch.x[:, 0] == column).all() for column in (batch.targets, batch.labels, batch.weights))
