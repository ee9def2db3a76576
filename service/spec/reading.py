"""From a file or text to a spec: read, override, validate, and tell everything that is wrong at once."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path as File

from pydantic import ValidationError

from service.spec import document as yaml_document
from service.spec.document import Document
from service.spec.errors import Path, Problem, SpecError
from service.spec.overrides import override
from service.spec.parts import Choice
from service.spec.schema import Spec
from service.spec.sentences import problems
from service.wording import shown

NO_FILE = "the spec"  # what errors call one that comes without a file
SHORTEST = "version: 1, data: {source: digits}, network: [dense: {units: 64, activation: relu}]"


def load(path: str | File, overrides: Sequence[str] = ()) -> Spec:
    """The spec in a file, with `a.b=value` overrides laid over it. Raises SpecError with every problem found."""
    file = File(path)
    spec = parse(_text(file), str(path), overrides)
    spec._folder = file.parent
    return spec


def documents(path: str | File) -> list[Document]:
    """The documents in a file of one or more specs. Raises SpecError for what is no YAML."""
    return yaml_document.read_all(_text(File(path), yaml_document.MOST_CHARACTERS_OF_MANY), str(path))


def parse(text: str, source: str = "spec.yaml", overrides: Sequence[str] = ()) -> Spec:
    """The spec in a text; `source` is what errors call it."""
    document = yaml_document.read(text, source)
    overlay(document, overrides)
    return validate(document)


def overlay(document: Document, overrides: Sequence[str]) -> None:
    """Lay overrides over a document. Raises SpecError if it holds no keys, or an override cannot be laid."""
    if not isinstance(document.values, dict):
        what = "the file is empty" if document.values is None else f"expected keys, got {shown(document.values)}"
        raise document.error((), f"{what}; the shortest spec is {{{SHORTEST}}}")
    override(document, overrides)


def validate(document: Document) -> Spec:
    """The spec of a document's values. Raises SpecError."""
    version = document.values.get("version", 1) if isinstance(document.values, dict) else 1
    try:
        spec = Spec.model_validate(document.values)
    except ValidationError as error:
        found = problems(error, document, Spec)
        if type(version) is int and version != 1:  # of another version nothing else can be said
            found = [problem for problem in found if problem.path == ("version",)]
        raise SpecError(found, document.combination) from None
    if faults := _faults(spec, document):
        raise SpecError(faults, document.combination)
    if spec.name is None:
        stem = File(spec.data.source if document.source == NO_FILE else document.source).stem.strip()
        object.__setattr__(spec, "name", stem[:200] if stem.isprintable() and stem else "spec")
    spec._origin = document
    return spec


def _faults(spec: Spec, document: Document) -> list[Problem]:
    """Settings that are right one by one but not together: the parts themselves know."""
    choices: list[tuple[Path, Choice]] = [(("network", index), layer) for index, layer in enumerate(spec.network)]
    choices += [(("loss",), spec.loss)] if spec.loss else []
    faults = []
    for path, choice in [*choices, (("optimizer",), spec.optimizer)]:
        try:
            choice.build()
        except ValueError as error:
            faults.append(document.problem((*path, choice.name), str(error).removeprefix(f"{choice.name}: ")))
    return faults


def _text(file: File, most: int = yaml_document.MOST_CHARACTERS) -> str:
    """The file's text. Raises SpecError, with the nearest name beside it, if it cannot be read."""
    try:
        if file.stat().st_size > 4 * most:
            raise SpecError([Problem(str(file), (), "is too large for a spec; is this the data?")])
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise SpecError([Problem(f"{file}:{line}:1", (), "the text is not UTF-8", line, 1)]) from None
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "").lower()
        raise SpecError([Problem(str(file), (), f"{reason}{_beside(file)}")]) from None


def _beside(file: File) -> str:
    try:
        names = [entry.name for entry in file.parent.iterdir() if entry.suffix in (".yaml", ".yml", ".json")]
    except OSError:
        return ""
    nearest = difflib.get_close_matches(file.name, names, n=1)
    return f"; did you mean '{file.parent / nearest[0]}'?" if nearest and nearest[0] != file.name else ""
