"""Which samples are for training, which for validation, which for the test at the end."""

from __future__ import annotations

import numpy as np

from nn.arrays import Array


def split_indices(
    labels: Array, validation: float, test: float, stratify: bool, seed: int
) -> tuple[Array, Array, Array]:
    """Indices of the train, validation and test samples, each in order; together every sample once.

    `validation` and `test` are a fraction (a float below 1) or a count (an int). Stratified, each class has its share
    of each split within one sample (largest remainder) and at least one sample in training; where tiny classes cannot
    give theirs, larger ones do.
    """
    sizes = np.array([_count(part, len(labels), name) for part, name in ((validation, "validation"), (test, "test"))])
    if sizes.sum() >= len(labels):
        raise ValueError(
            f"{len(labels)} samples are too few for {sizes[0]} in validation, {sizes[1]} in test and one more"
        )
    rng = np.random.default_rng(seed)
    groups = _classes(labels) if stratify else [np.arange(len(labels))]
    shares = _allocate(np.array([len(group) for group in groups]), sizes)
    pieces = [np.split(rng.permutation(group), np.cumsum(share)) for group, share in zip(groups, shares, strict=True)]
    validated, tested, trained = (np.sort(np.concatenate(parts)) for parts in zip(*pieces, strict=True))
    return trained, validated, tested


def _count(part: float, total: int, name: str) -> int:
    """A fraction or a count as a count."""
    if isinstance(part, int) and part >= 0:
        return part
    if not 0 <= part < 1:
        raise ValueError(f"{name} is a fraction from 0 to below 1 or a whole number of samples, got {part}")
    count = int(part * total + 0.5)
    if part > 0 and count == 0:
        raise ValueError(f"{total} samples are too few: {part} of them for {name} is none")
    return count


def _classes(labels: Array) -> list[Array]:
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise ValueError(f"stratify needs class labels, whole numbers (n,); these are {labels.dtype} {labels.shape}")
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    groups: list[Array] = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    return groups


def _allocate(counts: Array, sizes: Array) -> Array:
    """How many of each class (classes, splits), by largest remainder, leaving one of each class for training."""
    if counts.sum() - sizes.sum() < len(counts):
        raise ValueError(
            f"{counts.sum()} samples are too few to keep one of each of {len(counts)} classes for training;"
            " make the other splits smaller or do not stratify"
        )
    quotas = counts[:, None] * sizes / counts.sum()
    shares: Array = np.floor(quotas).astype(np.int64)
    room = counts - 1 - shares.sum(axis=1)
    for split, size in enumerate(sizes):
        order = np.argsort(shares[:, split] - quotas[:, split], kind="stable")  # largest remainder first
        # Once round is enough unless classes are so small that others must stand in for them.
        while (short := size - shares[:, split].sum()) > 0:
            takers = order[room[order] > 0][:short]
            shares[takers, split] += 1
            room[takers] -= 1
    return shares
