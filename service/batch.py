"""Runs to be submitted, one or ten thousand: all of them are checked before the first is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from service import datasets
from service.assembly.resolving import Resolver
from service.beginning import pinned
from service.datasets import Dataset, stored
from service.datasets.sources import reading
from service.origin import Origin
from service.spec import Spec, SpecError, Specs
from service.spec.document import Document
from service.spec.errors import SHOWN, Problem
from service.spec.schema import Beginning
from service.spec.several import made
from service.store import transitions
from service.store.database import Database
from service.store.submissions import NewRun

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from service.weights import Weights

MOST_FAULTY = 100  # specs of one command, after which no more different problems are looked for
MOST_WEIGHTS = 8  # of runs to begin with, held at a time
Beside: TypeAlias = "Callable[[Session, list[int]], None]"
AT_ONCE = 500  # runs stored in one transaction on SQLite, where all others wait meanwhile: about 0.2 s


class Batch:
    """Checked runs of one queue. Each dataset is read once, and each folder's origin asked for once.

    `begin` loads the weights that a spec begins with, `data` the dataset that it names; `origin` is what somebody
    elsewhere tells of where they are; `named` is what else the runs have in common, such as their tags.
    """

    def __init__(
        self,
        begin: Callable[[Spec], Weights | None],
        queue: str,
        data: Callable[[Spec], Dataset] = datasets.load,
        origin: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> None:
        self.queue = queue
        self._data, self._told = data, origin
        self.runs: list[NewRun] = []
        self.folders: list[Path | None] = []  # that each run's spec stands in
        self._load, self._named = begin, named
        self._weights: dict[Beginning, tuple[Weights, Spec]] = {}
        self._read: dict[str, Dataset] = {}
        self._resolvers: dict[str, Resolver] = {}
        self._sources: dict[str, tuple[Dataset, str]] = {}  # by the dataset's hash, with what a spec calls it
        self._origins: dict[Path | None, Origin] = {}
        self._combinations: dict[int, str] = {}  # by what the spec became

    def add_all(self, specs: Specs) -> None:
        """Raises SpecError with all that is wrong; what is wrong in the same way in many is told once."""
        problems: dict[Problem, str] = {}
        faulty = 0
        for document, folder in specs:
            try:
                self.add(made(document, folder))
                if specs.crossed:
                    self._refuse_twice(document)
            except SpecError as error:
                problems |= {problem: error.combination for problem in error.problems if problem not in problems}
                faulty += 1
                if faulty == MOST_FAULTY or len(problems) > SHOWN:
                    break
        if problems:
            raise SpecError(problems, next(iter(problems.values())) if len(problems) == 1 else "")

    def _refuse_twice(self, document: Document) -> None:
        """Raise SpecError if grids make the same spec twice, as when one's key undoes the other's."""
        made = hash(repr(self.runs[-1].spec))
        before = self._combinations.setdefault(made, document.combination)
        if before != document.combination:
            raise document.error((), f"the same run as {before}; a value of the grid changes nothing here")

    def add(self, spec: Spec, dataset: Dataset | None = None) -> None:
        """Check a spec, on the dataset that it names unless told. Raises InputError for what is wrong with either."""
        origin = self._origin(spec._folder)
        dataset = dataset or self._dataset(spec)
        spec, begin = self._begun(spec)
        resolver = self._resolvers.setdefault(dataset.sha256, Resolver(dataset))
        document = resolver.document(spec, begin)
        self._sources.setdefault(dataset.sha256, (dataset, spec.data.source))
        self.folders.append(spec._folder)
        self.runs.append(
            NewRun(
                name=spec.name or "run",
                spec=document,
                dataset_sha256=dataset.sha256,
                epochs=spec.train.epochs,
                max_attempts=spec.max_attempts,
                fine_tuned_from=None if spec.begin is None else spec.begin.run,
                origin=origin.facts(),
                queue=self.queue,
                **self._named,
            )
        )

    def store(self, database: Database, beside: Beside | None = None) -> Iterator[list[int]]:
        """Store the runs; yields the numbers of those stored, all in one transaction on PostgreSQL.

        `beside` stores something else in the transaction of the runs, which is one then in any case.
        """
        for dataset, source in self._sources.values():
            stored.keep(database, dataset, source)
        at_once = len(self.runs) if database.file is None or beside is not None else AT_ONCE
        for start in range(0, len(self.runs), at_once):
            with database.write(large=len(self.runs) > AT_ONCE) as session:
                numbers = transitions.submit(session, self.runs[start : start + at_once])
                if beside is not None:
                    beside(session, numbers)
            yield numbers

    def _dataset(self, spec: Spec) -> Dataset:
        key = reading(spec)
        if key not in self._read:
            self._read[key] = self._data(spec)
        return self._read[key]

    def _begun(self, spec: Spec) -> tuple[Spec, Weights | None]:
        """The weights that the spec begins with, and the spec with their hash."""
        if spec.begin is None:
            return spec, None
        if spec.begin not in self._weights:
            if len(self._weights) == MOST_WEIGHTS:
                self._weights.clear()
            found = self._load(spec)
            assert found is not None
            self._weights[spec.begin] = found, pinned(spec, found)
        found, known = self._weights[spec.begin]
        return spec.model_copy(update={"begin": known.begin}), found

    def _origin(self, folder: Path | None) -> Origin:
        if folder not in self._origins:
            self._origins[folder] = Origin(folder, self._told)
        return self._origins[folder]
