"""How the numbers of a trained network are spread: its weights, and the gradients of its loss."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

import nn
from nn import Array
from service.wording import listed

if TYPE_CHECKING:
    from service.assembly import Assembly
    from service.weights import Weights

BINS = 40  # of a histogram
GRADIENT_ROWS = 512  # of the training split; a second or less, in the memory of a training's step


@dataclass(frozen=True)
class Spread:
    """How the finite values of an array lie between `low` and `high`, the smallest and the largest, in equal bins; in a
    single one if they are all the same. Without any of them `low` and `high` are NaN.

    `zeros` is how many are exactly 0, `strange` how many are no finite number.
    """

    name: str
    shape: tuple[int, ...]
    low: float
    high: float
    mean: float
    deviation: float
    counts: tuple[int, ...]
    zeros: int
    strange: int


@dataclass(frozen=True)
class Gradients:
    """Of the mean loss of `rows` of the `of` training rows, see `nn.gradient`; a spread for each array that is trained.

    `still` are the layers that no gradient reaches although they are to be trained, `frozen` those that are not to be.
    """

    spreads: tuple[Spread, ...]
    rows: int
    of: int
    still: tuple[str, ...]
    frozen: tuple[str, ...]


def spread(name: str, values: Array) -> Spread:
    """Counted in float64: of gradients that are all but 0, float32 could not make 40 bins."""
    finite = values[np.isfinite(values)].astype(np.float64)
    strange, zeros = values.size - finite.size, int(np.count_nonzero(finite == 0))
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (math.nan, math.nan)
    if (high - low) / BINS > np.spacing(max(abs(low), abs(high))):
        counts, _ = np.histogram(finite, BINS, (low, high))
    else:  # all the same
        counts = np.array([finite.size])
    mean, deviation = (float(finite.mean()), float(finite.std())) if finite.size else (math.nan, math.nan)
    return Spread(name, values.shape, low, high, mean, deviation, tuple(map(int, counts)), zeros, strange)


def spreads(weights: Weights) -> tuple[Spread, ...]:
    """Of each array of the weights."""
    return tuple(spread(name, view) for name, view in weights.parameters.views.items())


def gradients(weights: Weights, assembly: Assembly) -> Gradients:
    """At these weights, on rows of the training split that the spec's seed draws: the same ones each time."""
    train, network = assembly.train, assembly.plan.network
    rows = np.sort(np.random.default_rng(weights.spec.seed).permutation(len(train))[:GRADIENT_ROWS])
    data = replace(train.take(rows), augment=None)
    with threadpool_limits(weights.spec.train.threads, user_api="blas"):
        found = nn.gradient(assembly.plan, weights.parameters, data)
    frozen = {name for number, name in enumerate(network.names, 1) if number in network.frozen}
    trained = {
        name: view
        for name, view in found.views.items()
        if name not in network.statistics and _layer(name) not in frozen
    }
    moved = {name.rpartition(".")[0] for name, view in trained.items() if view.any()}
    still = [name for name in dict.fromkeys(name.rpartition(".")[0] for name in trained) if name not in moved]
    kept = [name for name in dict.fromkeys(map(_layer, found.views)) if name in frozen]
    spreads = tuple(spread(name, view) for name, view in trained.items())
    return Gradients(spreads, len(rows), len(train), tuple(still), tuple(kept))


def _layer(name: str) -> str:
    """2.residual, of which 2.residual.1.dense.weight is a part."""
    return ".".join(name.split(".")[:2])


# In words


def gradient_words(gradients: Gradients) -> str:
    few = gradients.rows < gradients.of
    rows = f"{gradients.rows:,} of its {gradients.of:,} training rows, drawn by its seed" if few else (
        f"its {gradients.rows:,} training rows"
    )  # fmt: skip
    frozen = f" Frozen, and so left out: {listed(gradients.frozen)}." if gradients.frozen else ""
    return (
        f"The gradient of the mean loss of {rows}, by the weights as they were kept; without dropout, augmentation and "
        f"penalties, batch_norm with its running mean and variance.{frozen}"
    )


def still_words(gradients: Gradients) -> str:
    """Which layers have stopped learning; empty if none has."""
    still, layers = gradients.still, {each.name.rpartition(".")[0] for each in gradients.spreads}
    if not still:
        return ""
    if len(still) == len(layers):
        return "Every gradient is 0: these rows teach the network nothing more."
    words = f"{listed(still)} {'gets no gradient' if len(still) == 1 else 'get no gradient'} from any of these rows"
    return f"Dead: {words}, and so learn{'s' if len(still) == 1 else ''} nothing."


def besides(spread: Spread) -> str:
    """What a histogram does not show: how many are 0, and how many have no place on it."""
    whole = math.prod(spread.shape)
    if spread.zeros == whole:
        return ", all 0"
    zeros = f", {_share(spread.zeros, whole)} are 0" if spread.zeros else ""
    return zeros + (f", {_share(spread.strange, whole)} are not finite" if spread.strange else "")


def _share(some: int, whole: int) -> str:
    """Some are never 0 %, and not all never 100 %."""
    return f"{min(99, max(1, round(100 * some / whole))) if some < whole else 100} %"
