"""`--grid train.epochs=5,10 --grid seed=1..100`: many specs of one, each with another combination of values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

from service.spec import document as yaml_document
from service.spec.document import Document
from service.spec.errors import Path, SpecError
from service.spec.overrides import fault, lay, path_of
from service.wording import dotted, shown

AnyGrid: TypeAlias = "Mapping[str, Iterable[Any]] | Sequence[str]"

MOST_COMBINATIONS = 100_000
_RANGE = re.compile(r"(-?[0-9]{1,15})\.\.(-?[0-9]{1,15})")
_FORM = "write it as path=value,value or path=first..last, as in --grid seed=1..5"


@dataclass(frozen=True)
class Axis:
    """A key and the values that it has in turn. `texts` are the values as a person would type them."""

    argument: str
    path: Path
    values: tuple[Any, ...]
    texts: tuple[str, ...]


def axes(grid: AnyGrid) -> list[Axis]:
    """The axes of a grid, given as arguments (`seed=1..5`) or as a mapping of keys to values. Raises SpecError."""
    found: list[Axis] = []
    combinations = 1
    for argument, key, values in _given(grid):
        path = path_of(key)
        if path is None:
            raise fault(argument, _FORM)
        for other in found:
            shorter = min(len(path), len(other.path))
            if path[:shorter] == other.path[:shorter]:
                same = "is given twice" if path == other.path else f"and {dotted(other.path)} set the same place"
                raise fault(argument, f"{dotted(path)} {same}; put all its values into one --grid")
        combinations *= sum(len(value) if isinstance(value, range) else 1 for value in values)
        if combinations > MOST_COMBINATIONS:
            raise fault(argument, f"this makes more than {MOST_COMBINATIONS:,} runs; make fewer at a time")
        found.append(_axis(argument, path, values))
    return found


def _given(grid: AnyGrid) -> Iterator[tuple[str, str, list[Any]]]:
    """Each axis as it is called in errors, its key, and its values, ranges among them."""
    if isinstance(grid, Mapping):
        for key, values in grid.items():
            argument = f"--grid {key}=…"
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise fault(argument, f"expected several values, got {shown(values)}")
            yield argument, key, [values] if isinstance(values, range) else _plain(argument, values)
        return
    for text in grid:
        argument = f"--grid {text}"
        key, equals, values = text.partition("=")
        if not equals:
            raise fault(argument, _FORM)
        yield argument, key.strip(), _read(argument, values)


def _plain(argument: str, values: Iterable[Any]) -> list[Any]:
    """Values of a program as those that a text could hold: numbers of NumPy are numbers."""
    try:
        text = json.dumps(list(values), default=lambda value: value.item(), allow_nan=False)
    except (AttributeError, TypeError, ValueError):
        raise fault(argument, "expected texts, finite numbers, true, false, null, lists or mappings") from None
    found: list[Any] = json.loads(text)
    return found


def _read(argument: str, text: str) -> list[Any]:
    """Values divided by commas, each as `--set` reads it, and ranges of whole numbers."""
    try:
        values = yaml_document.read(f"[{text}\n]", "").values
    except SpecError as error:
        raise fault(argument, f"the values are not YAML: {error.problems[0].sentence}") from None
    if not isinstance(values, list):  # "1], [2"
        raise fault(argument, _FORM)
    return [_ranged(argument, value) for value in values]


def _ranged(argument: str, value: Any) -> Any:
    match = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise fault(argument, f"{value} holds no number; write the smaller one first")
    return range(first, last + 1)


def _axis(argument: str, path: Path, given: Sequence[Any]) -> Axis:
    values = [item for value in given for item in (value if isinstance(value, range) else (value,))]
    if not values:
        raise fault(argument, f"there is no value; {_FORM}")
    texts = [value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in values]
    if len(set(texts)) < len(texts):
        twice = next(text for text in texts if texts.count(text) > 1)
        raise fault(argument, f"{shown(twice)} is listed twice; the runs would be the same")
    return Axis(argument, path, tuple(values), tuple(texts))


def count(grid: Sequence[Axis]) -> int:
    return math.prod(len(axis.values) for axis in grid)


def combinations(document: Document, grid: Sequence[Axis], place: str = "") -> Iterator[Document]:
    """The document with each combination of values, the last axis changing fastest. Raises SpecError.

    `place`: where the document stands, if there are several.
    """
    names = [dotted(axis.path) for axis in grid]
    within = f"in {place} " if place else ""
    for chosen in product(*(zip(axis.values, axis.texts, strict=True) for axis in grid)):
        made = document.copy() if grid else document
        typed = [f"{name}={text}" for name, (_, text) in zip(names, chosen, strict=True)]
        if len(typed) > 1 or within:
            made.combination = f"{within}with {', '.join(typed)}" if typed else within.strip()
        for axis, (value, _), argument in zip(grid, chosen, typed, strict=True):
            try:
                lay(made, axis.path, value, f"--grid {argument}")
            except SpecError as error:
                raise SpecError(error.problems, made.combination) from None
        yield made
