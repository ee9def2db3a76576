"""Several specs to be submitted together: files, their documents, and every combination of a grid."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path as File
from typing import Any, TypeAlias

from service.garbage import uncollected
from service.spec import grid as grids
from service.spec import reading
from service.spec.document import Document, read, read_all
from service.spec.errors import Problem, SpecError
from service.spec.grid import AnyGrid
from service.spec.schema import Spec

AnySpec: TypeAlias = "str | File | Mapping[str, Any] | Spec"


class Specs:
    """Specs whose text has been read, and which are made one by one: ten thousand at once would fill the memory.

    Raises SpecError, for all files at once, where they are no YAML, and for a grid or an override that cannot be laid.
    """

    def __init__(self, given: Iterable[AnySpec], overrides: Sequence[str] = (), grid: AnyGrid = ()) -> None:
        self._axes = grids.axes(grid)
        self._documents: list[tuple[Document, File | None]] = []
        problems: list[Problem] = []
        with uncollected():
            for spec in given:
                try:
                    self._add(spec, overrides)
                except SpecError as error:
                    problems += error.problems
        if problems:
            raise SpecError(dict.fromkeys(problems))

    @classmethod
    def of_text(
        cls, text: str, source: str, overrides: Sequence[str] = (), grid: AnyGrid = (), folder: File | None = None
    ) -> Specs:
        """The specs in a text that `source` is a name for; the files that they name are in the folder."""
        made = cls((), overrides, grid)
        with uncollected():
            made._lay([(document, folder) for document in read_all(text, source)], overrides)
        return made

    def _add(self, spec: AnySpec, overrides: Sequence[str]) -> None:
        self._lay(_documents(spec), overrides)

    def _lay(self, documents: Sequence[tuple[Document, File | None]], overrides: Sequence[str]) -> None:
        for document, folder in documents:
            reading.overlay(document, overrides)
            self._documents.append((document, folder))

    def __len__(self) -> int:
        return len(self._documents) * grids.count(self._axes)

    @property
    def crossed(self) -> bool:
        """Whether several keys change together."""
        return len(self._axes) > 1

    def only(self) -> Spec:
        """The spec, if it is one."""
        ((document, folder),) = self
        return made(document, folder)

    def __iter__(self) -> Iterator[tuple[Document, File | None]]:
        """Each document that is to be a spec, and the folder it stands in."""
        several = len(self._documents) > 1
        for document, folder in self._documents:
            place = document.problem((), "").place if several else ""
            for made in grids.combinations(document, self._axes, place):
                yield made, folder


def _documents(spec: AnySpec) -> list[tuple[Document, File | None]]:
    if isinstance(spec, Spec):
        return [(spec.written(), spec._folder)]
    if isinstance(spec, Mapping):
        return [(read(json.dumps(spec, default=str), reading.NO_FILE), None)]
    return [(document, File(spec).parent) for document in reading.documents(spec)]


def made(document: Document, folder: File | None) -> Spec:
    """The spec of a document. Raises SpecError."""
    spec = reading.validate(document)
    spec._folder = folder
    return spec
