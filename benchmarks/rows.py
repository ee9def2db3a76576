"""The networks that are trained: dense ones of all sizes, and two with convolutions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEARNING_RATE = {"sgd": 0.01, "adam": 0.001}


@dataclass(frozen=True)
class Row:
    """Dense layers of `widths`, the first being the inputs, with ReLU between them; at the end softmax cross-entropy.

    `filters` are convolutions before them, (units, size) each with ReLU and 2 by 2 max pooling, over square images of
    one channel. Rows with filters are trained with Adam only.
    """

    widths: tuple[int, ...]
    batch_size: int
    samples: int
    filters: tuple[tuple[int, int], ...] = ()

    @property
    def name(self) -> str:
        convolutions = [f"{units}×{size}²" for units, size in self.filters]
        dense = self.widths[1:] if self.filters else self.widths
        return f"{'-'.join([*convolutions, *map(str, dense)])} / {self.batch_size}"

    @property
    def optimizers(self) -> tuple[str, ...]:
        return ("adam",) if self.filters else tuple(LEARNING_RATE)

    @property
    def side(self) -> int:
        """The side of the images."""
        return round(self.widths[0] ** 0.5)

    @property
    def flat(self) -> int:
        """How many numbers the first dense layer takes."""
        side = self.side
        for _, size in self.filters:
            side = (side - size + 1) // 2
        return side**2 * self.filters[-1][0] if self.filters else self.widths[0]

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Samples whose classes can be learned; images (samples, height, width, 1) for rows with filters."""
        rng = np.random.default_rng(0)
        features = rng.standard_normal((self.samples, self.widths[0]), dtype=np.float32)
        teacher = rng.standard_normal((self.widths[0], self.widths[-1]), dtype=np.float32)
        labels = (features @ teacher).argmax(axis=1)
        return features.reshape(-1, self.side, self.side, 1) if self.filters else features, labels


ROWS = (
    Row((64, 32, 10), 32, 19_200),
    Row((784, 30, 10), 10, 10_000),
    Row((784, 100, 10), 32, 12_800),
    Row((784, 256, 128, 10), 128, 12_800),
    Row((784, 1024, 1024, 10), 256, 5_120),
    Row((784, 100, 10), 32, 2_560, ((20, 5), (40, 5))),
    Row((784, 100, 10), 128, 2_560, ((20, 5), (40, 5))),
    Row((784, 10), 32, 2_560, ((32, 3), (64, 3))),
    Row((784, 10), 128, 2_560, ((32, 3), (64, 3))),
)
WIDEST = ROWS[4]
