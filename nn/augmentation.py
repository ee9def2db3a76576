"""Images moved a little at random, so that a network sees each sample in many ways. Drawn anew in every epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nn.arrays import Array, Buffers, Noise, Shape
from nn.registry import Settings, setting

DRAWS = 6  # numbers drawn for an image, whatever is switched on: two for the shift, two to flip, angle, noise
FLIPS = ("none", "horizontal", "vertical", "both")


@dataclass(frozen=True)
class Augmentation(Settings):
    """Training images shifted, flipped, rotated and made noisy at random, anew in every epoch.

    Shorten & Khoshgoftaar (2019), "Geometric transformations".

    images (batch, height, width, channels), float32 or bytes, before scaling: a cell that is moved must be scaled by
    the statistics of where it comes to lie, and a cell from outside the image is 0, the background, only there. So
    the call also scales, (x - shift) / scale as the scaler does, and adds the noise after it.

    What happens to an image depends on its own `DRAWS` numbers of the generator alone: not on the batch it is in.
    """

    shift: int = setting(0, least=0, doc="pixels by which an image is moved at most, down or up and right or left")
    flip: str = setting(
        "none",
        choices=FLIPS,
        doc="mirror half of the images: horizontal (left and right), vertical (top and bottom), both (each by itself)",
    )
    rotate: float = setting(0.0, least=0, most=180, doc="degrees by which an image is turned at most, either way")
    noise: float = setting(0.0, least=0, doc="standard deviation of what is added to every pixel after scaling")

    def __call__(
        self,
        images: Array,
        rng: np.random.Generator,
        buffers: Buffers | None = None,
        *,
        shift: Array | float = 0.0,
        scale: Array | float = 1.0,
        fill: float = 0.0,
    ) -> Array:
        """The images changed, float32, in an array of `buffers`. `shift` and `scale` broadcast over an image."""
        buffers = Buffers() if buffers is None else buffers
        draws = rng.random((len(images), DRAWS))
        moved = self._turned(images, draws, buffers, fill) if self.rotate else self._shifted(images, draws, fill)
        changed = buffers.array("augmented", images.shape, np.float32)
        np.subtract(moved, shift, out=changed, casting="unsafe")
        changed /= scale
        if self.noise:
            self._add_noise(changed, draws[:, 5])
        return changed

    def _motion(self, draws: Array) -> tuple[Array, Array, Array, Array]:
        """For each image the whole pixels it moves down and right, and whether it is flipped each way, as ±1."""
        span = 2 * self.shift + 1
        down, right = (np.floor(draws[:, axis] * span).astype(np.int64) - self.shift for axis in (0, 1))
        vertical = np.where((draws[:, 2] < 0.5) & (self.flip in ("vertical", "both")), -1, 1)
        horizontal = np.where((draws[:, 3] < 0.5) & (self.flip in ("horizontal", "both")), -1, 1)
        return down, right, vertical, horizontal

    def _shifted(self, images: Array, draws: Array, fill: float) -> Array:
        """Whole pixels need no interpolation: each row and column is taken from where it was, or from the frame."""
        batch, height, width, channels = images.shape
        down, right, vertical, horizontal = self._motion(draws)
        rows, columns = _sources(height, down, vertical), _sources(width, right, horizontal)
        framed = np.full((batch, height + 1, width + 1, channels), fill, images.dtype)
        framed[:, :height, :width] = images
        places = (np.arange(batch)[:, None] * (height + 1) + rows)[:, :, None] * (width + 1) + columns[:, None, :]
        taken: Array = framed.reshape(-1, channels).take(places, axis=0)
        return taken

    def _turned(self, images: Array, draws: Array, buffers: Buffers, fill: float) -> Array:
        """Rotation about the centre, then flip and shift, in one bilinear sampling of the image.

        The cell (y, x) of the result, counted from the centre, lies in the image at R⁻¹ F (y - down, x - right).
        """
        _, height, width, _ = images.shape
        down, right, vertical, horizontal = (values[:, None, None] for values in self._motion(draws))
        angle = (np.radians(self.rotate) * (2 * draws[:, 4] - 1))[:, None, None]
        y = vertical * (np.arange(height)[:, None] - (height - 1) / 2 - down)
        x = horizontal * (np.arange(width) - (width - 1) / 2 - right)
        cosine, sine = np.cos(angle), np.sin(angle)
        rows = cosine * y + sine * x + (height - 1) / 2
        columns = cosine * x - sine * y + (width - 1) / 2
        return _sampled(images, rows, columns, buffers, fill)

    def _add_noise(self, images: Array, seeds: Array) -> None:
        """Each image's noise has a generator of its own, begun from the image's draw."""
        for image, seed in zip(images, (seeds * 2**53).astype(np.int64).tolist(), strict=True):
            noise = np.random.Generator(np.random.SFC64(seed)).standard_normal(image.shape, np.float32)
            noise *= np.float32(self.noise)
            image += noise


def _sources(length: int, moved: Array, sign: Array) -> Array:
    """The row (or column) that comes to lie at each place (batch, length); `length` itself stands for outside."""
    places = np.arange(length) - moved[:, None]
    places = np.where(sign[:, None] < 0, length - 1 - places, places)
    return np.where((places >= 0) & (places < length), places, length)


def _sampled(images: Array, rows: Array, columns: Array, buffers: Buffers, fill: float) -> Array:
    """Bilinear interpolation at (rows, columns), each (batch, height, width); beyond the edge lies `fill`."""
    batch, height, width, channels = images.shape
    framed = buffers.array("framed", (batch, height + 2, width + 2, channels), np.float32)  # one cell on each side
    framed.fill(fill)
    framed[:, 1:-1, 1:-1] = images
    rows, columns = np.clip(rows + 1, 0, height + 1), np.clip(columns + 1, 0, width + 1)  # further out is the same
    top, left = np.minimum(rows.astype(np.int64), height), np.minimum(columns.astype(np.int64), width)
    below, beside = ((part - whole).astype(np.float32)[..., None] for part, whole in ((rows, top), (columns, left)))
    first = (np.arange(batch)[:, None, None] * (height + 2) + top) * (width + 2) + left
    cells = framed.reshape(-1, channels)
    upper, lower = (
        _between(cells.take(place, axis=0), cells.take(place + 1, axis=0), beside)
        for place in (first, first + width + 2)
    )
    return _between(upper, lower, below)


def _between(one: Array, other: Array, share: Array) -> Array:
    """one + share * (other - one), written over `other`."""
    other -= one
    other *= share
    other += one
    return other


@dataclass(frozen=True)
class ImageAugmentation:
    """An augmentation for samples of any shape that are images of `image_shape`, row by row, as `Data` holds them."""

    settings: Augmentation
    image_shape: Shape  # (height, width) or (height, width, channels)

    def __post_init__(self) -> None:
        if len(self.image_shape) not in (2, 3):
            raise ValueError(f"an image is (height, width) or (height, width, channels), not {self.image_shape}")

    def __call__(
        self,
        samples: Array,
        rng: Noise,
        buffers: Buffers | None = None,
        *,
        shift: Array | float = 0.0,
        scale: Array | float = 1.0,
    ) -> Array:
        """samples (batch, …), not yet scaled -> float32 (batch, …), changed and scaled by (x - shift) / scale.

        With several generators, one for each member of a stack, the samples are (members, batch, …).
        """
        if isinstance(rng, Sequence):
            buffers = Buffers() if buffers is None else buffers
            stack = buffers.array("stack", samples.shape, np.float32)
            for place, (member, generator) in enumerate(zip(samples, rng, strict=True)):
                stack[place] = self(member, generator, buffers, shift=shift, scale=scale)
            return stack
        height, width, *rest = self.image_shape
        image = (height, width, math.prod(rest))
        shift, scale = (_as_image(part, image) for part in (shift, scale))
        changed = self.settings(samples.reshape(-1, *image), rng, buffers, shift=shift, scale=scale)
        return changed.reshape(samples.shape)


def _as_image(part: Array | float, image: Shape) -> Array | float:
    """The shift or scale of a sample, in the image's shape unless it is one number for all cells."""
    return part if np.ndim(part) == 0 or np.size(part) == 1 else np.reshape(part, image)
