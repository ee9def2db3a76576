"""Which samples are for training, which for validation, which for the test at the end."""

from __future__ import annotations

import numpy as np

from nn.arrays import Array

Split = tuple[Array, Array, Array]


def split_indices(labels: Array, validation: float, test: float, stratify: bool, seed: int) -> Split:
    """Indices of the train, validation and test samples, each in order; together every sample once.

    `validation` and `test` are a fraction (a float below 1) or a count (an int). Stratified, each class has its share
    of each split within one sample (largest remainder) and at least one sample in training; where tiny classes cannot
    give theirs, larger ones do.
    """
    sizes = _sizes(len(labels), validation, test)
    rng = np.random.default_rng(seed)
    groups = _classes(labels) if stratify else [np.arange(len(labels))]
    shares = _allocate(np.array([len(group) for group in groups]), sizes)
    pieces = [np.split(rng.permutation(group), np.cumsum(share)) for group, share in zip(groups, shares, strict=True)]
    validated, tested, trained = (np.sort(np.concatenate(parts)) for parts in zip(*pieces, strict=True))
    return trained, validated, tested


def grouped_indices(groups: Array, validation: float, test: float, seed: int) -> Split:
    """As `split_indices`, but all samples of one group (n,) stay together in one part.

    The groups are taken in an order drawn from the seed, and each goes to the part that lacks most of the samples it
    should have. So a part is larger than asked by less than the largest group, and every part has at least one group.
    """
    sizes = _sizes(len(groups), validation, test)
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    lacking = np.array([len(groups) - sizes.sum(), *sizes])
    empty = {int(part) for part in np.flatnonzero(lacking)}
    parts = sorted(empty)
    _need_groups(len(counts), len(parts), "parts")
    part_of = np.empty(len(counts), np.int64)
    for done, group in enumerate(np.random.default_rng(seed).permutation(len(counts))):
        # The last groups are for the parts that still have none.
        able = sorted(empty) if len(counts) - done == len(empty) else parts
        part = max(able, key=lambda part: lacking[part])
        part_of[group] = part
        lacking[part] -= counts[group]
        empty.discard(part)
    return given_indices(part_of[codes])


def given_indices(parts: Array) -> Split:
    """The split that the data itself states: 0 for training, 1 for validation, 2 for the test (n,)."""
    trained, validated, tested = (np.flatnonzero(parts == part) for part in range(3))
    if not len(trained):
        raise ValueError("no sample is for training; mark some of them so")
    return trained, validated, tested


def fold_indices(
    labels: Array, folds: int, fold: int, test: float, stratify: bool, seed: int, groups: Array | None = None
) -> Split:
    """Cross-validation: the samples outside the test are dealt to `folds` folds, and fold `fold` (from 1) validates.

    The test and the folds depend on the seed alone, so that over all folds every sample outside the test validates
    exactly once. Fold sizes differ by at most one sample, stratified those of each class too. With `groups` (n,) none
    is torn: the largest first, each goes to the fold that has fewest samples, so that sizes differ by at most the
    largest group (Graham 1969, LPT).
    """
    if not 1 <= fold <= folds:
        raise ValueError(f"there are {folds} folds, numbered from 1, and no fold {fold}")
    if groups is None:
        rest, _, tested = split_indices(labels, 0, test, stratify, seed)
    else:
        rest, _, tested = grouped_indices(groups, 0, test, seed)
    rng = np.random.default_rng([seed, 1])  # other draws than those of the test
    if groups is not None:
        number = _deal_groups(groups[rest], folds, rng)
    else:
        number = _deal(_classes(labels[rest]) if stratify else [np.arange(len(rest))], folds, rng)
    return rest[number != fold - 1], rest[number == fold - 1], tested


def _deal(classes: list[Array], folds: int, rng: np.random.Generator) -> Array:
    """The fold of each sample (n,), as cards are dealt: class after class, shuffled, one to each fold in turn."""
    order = np.concatenate([rng.permutation(members) for members in classes])
    if len(order) < folds:
        raise ValueError(f"{len(order)} samples are too few for {folds} folds; make fewer")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order)) % folds
    return number


def _deal_groups(groups: Array, folds: int, rng: np.random.Generator) -> Array:
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    _need_groups(len(counts), folds, "folds")
    order = rng.permutation(len(counts))
    fold_of, rows = np.empty(len(counts), np.int64), np.zeros(folds, np.int64)
    for group in order[np.argsort(-counts[order], kind="stable")]:
        fold_of[group] = fold = rows.argmin()
        rows[fold] += counts[group]
    number: Array = fold_of[codes]
    return number


def _need_groups(groups: int, wanted: int, noun: str) -> None:
    if groups < wanted:
        raise ValueError(f"{wanted} {noun} need {wanted} groups at least, and there are {groups}; make fewer")


def _sizes(total: int, validation: float, test: float) -> Array:
    """How many samples validation and test have."""
    sizes = np.array([_count(part, total, name) for part, name in ((validation, "validation"), (test, "test"))])
    if sizes.sum() >= total:
        raise ValueError(
            f"{total} samples are too few for {sizes[0]} in validation, {sizes[1]} in test and one more; lower them"
        )
    return sizes


def _count(part: float, total: int, name: str) -> int:
    """A fraction or a count as a count."""
    if isinstance(part, int) and part >= 0:
        return part
    if not 0 <= part < 1:
        raise ValueError(f"{name} is a fraction from 0 to below 1 or a whole number of samples, got {part}")
    count = int(part * total + 0.5)
    if part > 0 and count == 0:
        raise ValueError(f"{total} samples are too few: {part} of them for {name} is none; raise it, or set it to 0")
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
