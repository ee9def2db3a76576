"""A loss: (outputs, targets) -> (loss, gradient of the loss by the outputs).

Outputs are (..., batch, outputs). A loss is one number for each member of the stack, the mean over its batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np

from nn.arrays import Array, Buffers
from nn.registry import Registry, Settings

Shares: TypeAlias = "float | Array"
"""How much each sample counts in the mean: 1 / batch, or (..., batch) that sum to 1."""


@dataclass(frozen=True)
class Loss(Settings):
    """Called with (outputs, targets, buffers) it returns the loss (...) and its gradient, which lives in the buffers.

    With sample weights (..., batch) it is the weighted mean, Σ wᵢ lᵢ / Σ wᵢ, as in PyTorch; 0 if they are all 0.
    `output_activations` are those that make sense below it, `tasks` what it can be used for: "classification",
    "multilabel" (several labels at once, each 0 or 1) and "regression". A loss is `_compare`, `_losses`, `_gradient`.
    """

    output_activations: ClassVar[frozenset[str]] = frozenset({"linear"})
    tasks: ClassVar[frozenset[str]] = frozenset()
    probabilistic: ClassVar[bool] = False
    """Whether `scores` are probabilities."""

    def __call__(
        self, outputs: Array, targets: Array, buffers: Buffers, weights: Array | None = None
    ) -> tuple[Array, Array]:
        kept = self._compare(outputs, targets, buffers)
        if weights is None:
            return self._mean(kept), self._gradient(kept, 1 / outputs.shape[-2])
        shares = shares_of(weights, outputs, buffers)
        return np.vecdot(self._losses(kept), shares), self._gradient(kept, shares)

    def value(
        self, outputs: Array, targets: Array, buffers: Buffers | None = None, weights: Array | None = None
    ) -> Array:
        """The loss (...) without its gradient, for evaluation."""
        buffers = Buffers() if buffers is None else buffers
        kept = self._compare(outputs, targets, buffers)
        if weights is None:
            return self._mean(kept)
        return np.asarray(np.vecdot(self._losses(kept), shares_of(weights, outputs, buffers)))

    def targets(self, labels: Array, outputs: int) -> Array:
        """The labels in the form this loss compares with; ValueError if they cannot be. Once, before training."""
        raise NotImplementedError

    def units(self, classes: int, targets: int) -> int:
        """How many outputs a network needs for so many classes, or for so many label columns if there are no classes.

        Raises ValueError with a sentence if this loss cannot be used for them.
        """
        return classes or targets

    def scores(self, outputs: Array) -> Array:
        """What a person reads, of the outputs' shape: probabilities if it is `probabilistic`, or else the outputs."""
        return outputs

    def _compare(self, outputs: Array, targets: Array, buffers: Buffers) -> tuple[Array, ...]:
        """Arrays of the buffers that `_losses` and then `_gradient` work on."""
        raise NotImplementedError

    def _losses(self, kept: tuple[Array, ...]) -> Array:
        """The loss of each sample (..., batch)."""
        return kept[0]

    def _mean(self, kept: tuple[Array, ...]) -> Array:
        losses = self._losses(kept)
        mean: Array = np.add.reduce(losses, axis=-1) / losses.shape[-1]
        return mean

    def _gradient(self, kept: tuple[Array, ...], shares: Shares) -> Array:
        """The gradient of Σ shareᵢ lᵢ, written over what was kept."""
        raise NotImplementedError


LOSSES: Registry[type[Loss]] = Registry("loss")


def shares_of(weights: Array, outputs: Array, buffers: Buffers) -> Array:
    """The weights (..., batch) divided by their sum, in the outputs' type."""
    shares = buffers.array("shares", weights.shape, outputs.dtype)
    np.copyto(shares, weights, casting="same_kind")
    total = np.add.reduce(shares, axis=-1, keepdims=True)
    np.maximum(total, np.finfo(total.dtype).tiny, out=total)  # a batch of weights 0 has the loss 0, not 0 / 0
    return np.divide(shares, total, out=shares)


def by_row(shares: Shares, factor: float = 1.0) -> Shares:
    """factor × shares, in a shape that multiplies rows (..., batch, outputs)."""
    scaled = shares * factor
    return scaled if isinstance(scaled, float) else scaled[..., None]
