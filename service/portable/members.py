"""The members of a portable file that belong to one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, BinaryIO

import nn
from service.portable import curves
from service.portable.archive import Archive
from service.portable.documents import MOST, LogDocument, RunDocument, SpecDocument, copy_of
from service.store.copies import Copy, Curves

WEIGHTS = ("weights", "last")
_NAMES = ("run.json", "spec.json", "log.json", "metrics.csv", "steps.csv", *(f"{name}.safetensors" for name in WEIGHTS))


def members(number: int) -> list[str]:
    return [f"{number}/{name}" for name in _NAMES]


def unpacked(file: BinaryIO, name: str) -> Iterator[tuple[Copy, Mapping[str, bytes]]]:
    """The runs of a file as they are in the yard that wrote it, with their weights. Raises DataError."""
    archive = Archive(file, name)
    for number in archive.manifest.runs:
        found = {kind: f"{number}/{kind}.safetensors" for kind in WEIGHTS}
        yield copied(archive, number), {kind: archive.read(it) for kind, it in found.items() if archive.has(it)}


def copied(archive: Archive, number: int, host: str | None = None) -> Copy:
    """A run of the file; with `host` as one that came from there."""
    run = archive.document(f"{number}/run.json", RunDocument)
    values = archive.document(f"{number}/spec.json", SpecDocument).root
    points = partial(_curves, archive, number)
    metrics = points("metrics", "epoch", run.epochs, nn.direction)
    steps = points("steps", "step", MOST, str) if archive.has(f"{number}/steps.csv") else {}
    log = archive.document(f"{number}/log.json", LogDocument).root if archive.has(f"{number}/log.json") else []
    return copy_of(run, values, metrics, steps, log, host)


def _curves(archive: Archive, number: int, kind: str, place: str, last: int, known: Any) -> Curves:
    member = f"{number}/{kind}.csv"
    return curves.curves(archive.read(member), place, last, known, f"{archive.name}: {member}")
