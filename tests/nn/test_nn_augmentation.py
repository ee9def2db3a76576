"""Augmentation: what moves where, and that it depends on the drawn numbers alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nn_tools import law
from scipy.ndimage import map_coordinates

from nn.arrays import Buffers
from nn.augmentation import DRAWS, FLIPS, Augmentation, ImageAugmentation

augmentations = st.builds(
    Augmentation,
    st.integers(0, 3),
    st.sampled_from(FLIPS),
    st.sampled_from([0.0, 15.0, 180.0]),
    st.sampled_from([0.0, 0.5]),
)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3))


class Drawn:
    """In place of a generator: the numbers that `draws` says, for each image alike."""

    def __init__(self, *draws):
        self.draws = draws + (0.75,) * (DRAWS - len(draws))

    def random(self, shape):
        return np.tile(self.draws, (shape[0], 1))


def images_of(shape, seed=0, dtype=np.uint8):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


@law
@given(augmentations, shapes, st.integers(0, 99), st.integers(0, 7), st.sampled_from([np.uint8, np.float32]))
def test_an_image_comes_out_the_same_whatever_batches_it_is_in(augmentation, shape, seed, cut, dtype):
    images = images_of(shape, seed, dtype)
    before, rng, buffers = images.copy(), np.random.default_rng(seed), Buffers()
    whole = augmentation(images, np.random.default_rng(seed), shift=3.0, scale=50.0)
    cut = min(cut, len(images))
    parts = [augmentation(part, rng, buffers, shift=3.0, scale=50.0).copy() for part in (images[:cut], images[cut:])]
    assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert whole.dtype == np.float32
    assert (images == before).all()
    forward = np.random.default_rng(seed)
    forward.bit_generator.advance(DRAWS * len(images))
    assert rng.random() == forward.random()


@law
@given(shapes, st.sampled_from([np.uint8, np.float32]))
def test_nothing_switched_on_only_scales(shape, dtype):
    images, shift = images_of(shape, 1, dtype), np.float32(2.5)
    scaled = (images.astype(np.float32) - shift) / np.float32(7)
    found = Augmentation()(images, np.random.default_rng(0), shift=shift, scale=np.float32(7))
    assert found.tobytes() == scaled.tobytes()


def test_a_shift_moves_whole_pixels_and_leaves_background_behind():
    image = np.arange(1, 10, dtype=np.uint8).reshape(1, 3, 3, 1)
    moved = Augmentation(shift=1)(image, Drawn(0.9, 0.1))  # one down, one left
    assert moved[0, :, :, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    still = Augmentation(shift=1)(image, Drawn(0.5, 0.5), fill=7)
    assert (still == image).all()


@pytest.mark.parametrize(
    ("flip", "draws", "wanted"),
    [
        ("horizontal", (0.4, 0.4), [[2, 1], [4, 3]]),
        ("horizontal", (0.4, 0.6), [[1, 2], [3, 4]]),
        ("vertical", (0.4, 0.4), [[3, 4], [1, 2]]),
        ("both", (0.4, 0.4), [[4, 3], [2, 1]]),
        ("both", (0.4, 0.6), [[3, 4], [1, 2]]),
        ("none", (0.4, 0.4), [[1, 2], [3, 4]]),
    ],
)
def test_flips_mirror_half_of_the_images(flip, draws, wanted):
    image = np.array([[1, 2], [3, 4]], np.float32).reshape(1, 2, 2, 1)
    assert Augmentation(flip=flip)(image, Drawn(0.5, 0.5, *draws))[0, :, :, 0].tolist() == wanted


def test_a_quarter_turn_is_numpys_and_half_a_turn_both_flips():
    image = images_of((1, 5, 5, 2))
    quarter = Augmentation(rotate=90)(image, Drawn(0, 0, 0.9, 0.9, 1.0))
    np.testing.assert_allclose(quarter[0], np.rot90(image[0]), atol=1e-3)
    half = Augmentation(rotate=180)(image, Drawn(0, 0, 0.9, 0.9, 1.0))
    np.testing.assert_allclose(half[0], image[0, ::-1, ::-1], atol=1e-3)


@law
@given(st.integers(1, 8), st.integers(1, 8), st.floats(-170, 170), st.integers(0, 9), st.floats(-9, 9))
def test_rotation_is_scipys_bilinear_sampling(height, width, degrees, seed, fill):
    image, angle = images_of((1, height, width, 1), seed, np.float32), np.radians(degrees)
    y, x = np.mgrid[:height, :width].astype(float)
    y, x = y - (height - 1) / 2, x - (width - 1) / 2
    places = [
        np.cos(angle) * y + np.sin(angle) * x + (height - 1) / 2,
        np.cos(angle) * x - np.sin(angle) * y + (width - 1) / 2,
    ]
    wanted = map_coordinates(image[0, :, :, 0].astype(float), places, order=1, mode="grid-constant", cval=fill)
    draw = degrees / 180 / 2 + 0.5
    found = Augmentation(rotate=180)(image, Drawn(0, 0, 0.9, 0.9, draw), fill=fill)[0, :, :, 0]
    np.testing.assert_allclose(found, wanted, atol=1e-2)


def test_a_turned_image_is_also_shifted_and_flipped_as_without_turning():
    images = images_of((20, 6, 5, 1))
    plain = Augmentation(shift=2, flip="both")(images, np.random.default_rng(3))
    turned = Augmentation(shift=2, flip="both", rotate=1e-9)(images, np.random.default_rng(3))
    np.testing.assert_allclose(turned, plain, atol=1e-4)


def test_noise_has_its_deviation_after_scaling_and_differs_from_image_to_image():
    images = np.full((50, 20, 20, 1), 100, np.uint8)
    noisy = Augmentation(noise=0.05)(images, np.random.default_rng(0), shift=100.0, scale=40.0)
    assert abs(noisy.mean()) < 0.002
    assert noisy.std() == pytest.approx(0.05, rel=0.02)
    assert len(np.unique(noisy[:, 0, 0, 0])) == 50


def test_what_is_moved_is_scaled_where_it_comes_to_lie():
    image = np.array([[5, 9]], np.uint8).reshape(1, 1, 2, 1)
    shift, scale = (np.array(part, np.float32).reshape(1, 2, 1) for part in ([1, 2], [2, 4]))
    moved = Augmentation(shift=1)(image, Drawn(0.5, 0.9), shift=shift, scale=scale)  # one right
    assert moved.ravel().tolist() == [(0 - 1) / 2, (5 - 2) / 4]


@pytest.mark.parametrize(("image_shape", "sample_shape"), [((3, 4), (12,)), ((3, 4), (3, 4, 1)), ((3, 2, 2), (12,))])
def test_samples_of_any_shape_are_changed_as_the_images_they_are(image_shape, sample_shape):
    samples, settings = images_of((6, *sample_shape)), Augmentation(shift=1, flip="both")
    shift = np.arange(12, dtype=np.float32).reshape(sample_shape)
    image = (*image_shape, 1)[:3]
    found = ImageAugmentation(settings, image_shape)(samples, np.random.default_rng(0), shift=shift, scale=2.0)
    wanted = settings(samples.reshape(6, *image), np.random.default_rng(0), shift=shift.reshape(image), scale=2.0)
    assert found.shape == samples.shape
    assert found.tobytes() == wanted.tobytes()


def test_the_members_of_a_stack_get_what_they_would_get_alone():
    samples, augment = images_of((3, 6, 12)), ImageAugmentation(Augmentation(2, "both", 20.0, 0.1), (3, 4))
    stack = augment(samples, [np.random.default_rng(seed) for seed in range(3)], shift=9.0, scale=2.0)
    for seed, member in enumerate(stack):
        alone = augment(samples[seed], np.random.default_rng(seed), shift=9.0, scale=2.0)
        assert member.tobytes() == alone.tobytes()


def test_what_is_no_image_is_refused():
    with pytest.raises(ValueError, match=r"an image is \(height, width\) or .* not \(12,\)"):
        ImageAugmentation(Augmentation(), (12,))
    with pytest.raises(ValueError, match="flip must be one of none, horizontal"):
        Augmentation(flip="sideways")
