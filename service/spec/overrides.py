"""`--set train.epochs=5`: values of the command line laid over the file, before anything is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nn import LAYERS, LOSSES, OPTIMIZERS, EarlyStopping
from service.spec import document as yaml_document
from service.spec.document import Document
from service.spec.errors import Path, Problem, SpecError
from service.spec.parts import long_form
from service.wording import dotted, shown

_STEP = re.compile(r"([^.\[\]=]+)|\[([0-9]{1,9})\]")


def override(document: Document, overrides: Sequence[str]) -> None:
    """Apply each `path=value` in turn. Raises SpecError, naming the override, if one cannot be laid anywhere."""
    problems: list[Problem] = []
    for text in overrides:
        try:
            _apply(document, text)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)


def _apply(document: Document, text: str) -> None:
    argument = f"--set {text}"
    written, equals, value = text.partition("=")
    path = path_of(written.strip())
    if not equals or path is None:
        raise fault(argument, "write it as path=value, as in --set train.epochs=5")
    try:
        new = yaml_document.read(value, "")
    except SpecError as error:
        raise fault(argument, f"the value is not YAML: {error.problems[0].sentence}") from None
    lay(document, path, new.values, argument)


def lay(document: Document, path: Path, new: Any, argument: str) -> None:
    """Set what is at `path`; from then on its problems are told at `argument`, as it was typed. Raises SpecError."""
    _lay(document.values, path, new, argument)
    document.override(path, argument)


def path_of(written: str) -> Path | None:
    """network.0.dense.units and network[0].dense.units are the same path."""
    steps: list[str | int] = []
    end = 0
    for match in _STEP.finditer(written):
        between = written[end : match.start()]
        if between != ("." if steps and match[1] else ""):
            return None
        number = match[2] or (match[1] if steps and re.fullmatch("[0-9]{1,9}", match[1]) else None)
        steps.append(int(number) if number else match[1])
        end = match.end()
    return tuple(steps) if steps and end == len(written) else None


def _lay(values: dict[str, Any], path: Path, new: Any, argument: str) -> None:
    """Set what is at `path`, making the mappings that lead there; what was written short becomes long."""
    here: Any = values
    for depth, step in enumerate(path[:-1], 1):
        _require_room(here, path[: depth - 1], step, argument)
        inside = here.get(step) if isinstance(here, dict) else here[step]
        here[step] = _opened(inside, path[:depth], path[depth])
        here = here[step]
    _require_room(here, path[:-1], path[-1], argument)
    here[path[-1]] = new


def _require_room(here: Any, path: Path, step: str | int, argument: str) -> None:
    """Raise SpecError unless `step` can be set in `here`, which is at `path`."""
    if isinstance(here, list):
        if not isinstance(step, int) or step >= len(here):
            have = f"which has {len(here)} item{'' if len(here) == 1 else 's'}, numbered from 0"
            raise fault(argument, f"there is no {shown(step)} in {dotted(path)}, {have}")
    elif not isinstance(here, dict):
        raise fault(argument, f"{dotted(path)} is {shown(here)}, which has nothing inside to set")
    elif isinstance(step, int):
        raise fault(argument, f"{dotted(path)} is not a list")


def _opened(value: Any, path: Path, step: str | int) -> Any:
    """`value` as something in which `step` can be set."""
    if isinstance(step, int):
        return [] if value is None else value
    if _parts(path):
        body = {value: None} if isinstance(value, str) else value
        return {step: body.get(step) if isinstance(body, dict) else None}  # another choice replaces the file's
    part = _parts(path[:-1]).get(str(path[-1])) if len(path) > 1 else None
    if path == ("train", "early_stopping"):
        part = EarlyStopping
    if part is not None:
        return long_form(part, value)
    return {} if value is None else value


def _parts(path: Path) -> Mapping[str, type]:
    """The registry from which the value at `path` chooses, or nothing."""
    match path:
        case ("network", int()):
            return LAYERS
        case ("loss",):
            return LOSSES
        case ("optimizer",):
            return OPTIMIZERS
    return {}


def fault(argument: str, sentence: str) -> SpecError:
    return SpecError([Problem(argument, (), sentence)])
