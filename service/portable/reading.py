"""Runs from a portable file into a store: all of them are checked before the first is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import BinaryIO

from sqlalchemy.exc import IntegrityError

from service import weights
from service.datasets import Dataset, Schema, stored
from service.errors import DataError, InputError
from service.portable.archive import Archive
from service.portable.layout import dataset_member
from service.portable.members import WEIGHTS, copied, members
from service.spec import Spec, SpecError
from service.store import blobs, copies
from service.store.copies import Copy
from service.store.database import Database
from service.store.records import Record
from service.store.tables import Dataset as DatasetRow

AT_ONCE = 200  # runs in one transaction
MOST_BYTES = 32 * 2**20  # of their members, after which it ends: others need not wait long, and no blob gets old


@dataclass(frozen=True)
class Imported(Record):
    """A run of a file: the number that it has here, and whether it was new."""

    run: int
    uid: str
    name: str
    imported_from: str
    new: bool


def bring(database: Database, file: BinaryIO, name: str) -> list[Imported]:
    """Store the runs that are not here yet. Raises DataError, having stored nothing, if anything in the file is wrong.

    Some runs are stored in one transaction: what is cut off half-way can be imported again, and goes on.
    """
    reader = _Reader(database, Archive(file, name))
    found = [_outline(copy) for copy in reader.copies(checked=True)]
    if len({uid for uid, *_ in found}) < len(found):
        raise reader.archive.damaged("a run is there twice")
    reader.check_members()
    with database.read() as session:
        here = copies.known(session, (uid for uid, *_ in found))
    new = {uid for uid, *_ in found if uid not in here}
    for batch in reader.batches(new):
        reader.store(batch)
    with database.read() as session:
        numbers = copies.known(session, (uid for uid, *_ in found))
    return [Imported(numbers[uid], uid, called, origin, uid in new) for uid, called, origin in found]


def _outline(copy: Copy) -> tuple[str, str, str]:
    return copy.uid, copy.submitted.name, copy.imported_from or ""


class _Reader:
    def __init__(self, database: Database, archive: Archive) -> None:
        self.database, self.archive = database, archive
        self._schemas: dict[str, Schema] = {}

    def copies(self, *, checked: bool) -> Iterator[Copy]:
        """The runs of the file, one after the other; `checked`: with what takes time, of data and weights."""
        for number in self.archive.manifest.runs:
            yield self._copy(number, checked=checked)

    def batches(self, uids: set[str]) -> Iterator[list[Copy]]:
        """As many of these runs as are stored at once."""
        batch: list[Copy] = []
        size = 0
        for copy in self.copies(checked=False):
            if copy.uid in uids:
                batch.append(copy)
                size += sum(self.archive.size(member) for member in members(copy.number))
            if len(batch) == AT_ONCE or size > MOST_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch

    def check_members(self) -> None:
        """Nothing is there that belongs to no run. Called when all runs have been read."""
        known = {member for number in self.archive.manifest.runs for member in members(number)}
        known |= {dataset_member(sha256) for sha256 in self._schemas}
        if strange := sorted(set(self.archive.manifest.members) - known):
            raise self.archive.damaged(f"{strange[0]} belongs to no run of it")

    def _copy(self, number: int, *, checked: bool) -> Copy:
        run = copied(self.archive, number, self.archive.manifest.host)
        if checked:
            self._check(number, run)
            places = [(line.attempt, line.number) for line in run.log]
            if places != sorted(set(places)) or (places and places[-1][0] > run.attempt):
                raise self.archive.damaged(f"the lines of the log of run {number} do not fit it")
        return run

    def _check(self, number: int, run: Copy) -> None:
        """What the spec, the dataset and the weights must say of each other."""
        tries, submitted = [attempt.number for attempt in run.attempts], run.submitted
        if run.number != number or tries != sorted(set(tries)) or (tries and tries[-1] > run.attempt):
            raise self.archive.damaged(f"the attempts or the number of run {number} do not fit it")
        try:
            spec = Spec.from_document(submitted.spec, f"{self.archive.name}: the spec of run {number}")
        except SpecError as error:
            raise DataError(*str(error).split("\n"), "Nothing of the file was stored.") from None
        if spec.train.epochs != submitted.epochs or run.epoch > submitted.epochs:
            raise self.archive.damaged(f"run {number} does not fit its spec")
        schema = self._schema(submitted.dataset_sha256, number)
        for name in WEIGHTS:
            if self.archive.has(member := f"{number}/{name}.safetensors"):
                self._check_weights(member, run.weights_sha256 if name == "weights" else None, spec, schema)

    @contextmanager
    def _told(self, member: str) -> Iterator[None]:
        """An error of what is read inside names the member."""
        try:
            yield
        except DataError as error:
            raise self.archive.damaged(f"{member}: {error}") from None

    def _check_weights(self, member: str, sha256: str | None, spec: Spec, schema: Schema) -> None:
        with self._told(member):
            found = weights.unpack(self.archive.read(member))
        if found.spec.network != spec.network or found.spec.loss != spec.loss or found.schema != schema:
            raise self.archive.damaged(f"{member} is of another network or another dataset than its run")
        if member.endswith("/weights.safetensors") and weights.sha256(found.parameters) != sha256:
            raise self.archive.damaged(f"{member} has not the hash that its run has")

    def _schema(self, sha256: str, number: int) -> Schema:
        """The schema of a run's dataset, which must be in the file or in the yard."""
        if sha256 not in self._schemas:
            if self.archive.has(member := dataset_member(sha256)):
                with self._told(member):
                    self._schemas[sha256] = Dataset.from_bytes(self.archive.read(member), sha256).schema
            else:
                with self.database.read() as session:
                    row = session.get(DatasetRow, sha256)
                    if row is None:
                        raise InputError(
                            f"{self.archive.name}: the dataset {sha256[:12]} of run {number} is neither in the file "
                            "nor in this yard; export the run with its data"
                        )
                    self._schemas[sha256] = Schema.from_document(row.schema)
        return self._schemas[sha256]

    def store(self, batch: list[Copy]) -> None:
        for sha256, spec in {copy.submitted.dataset_sha256: copy.submitted.spec for copy in batch}.items():
            self._keep_dataset(sha256, str(spec["data"]["source"]))
        staged = [self._with_weights(copy) for copy in batch]
        try:
            with self.database.write(large=True) as session:
                here = copies.known(session, (copy.uid for copy in staged))
                copies.add(session, [copy for copy in staged if copy.uid not in here])
        except IntegrityError:
            raise InputError(
                f"{self.archive.name}: another program stores or removes the same runs or data; import it again"
            ) from None

    def _keep_dataset(self, sha256: str, source: str) -> None:
        if self.archive.has(member := dataset_member(sha256)):
            with self.database.read() as session:
                if session.get(DatasetRow, sha256) is not None:
                    return
            stored.keep(self.database, Dataset.from_bytes(self.archive.read(member), sha256), source)

    def _with_weights(self, copy: Copy) -> Copy:
        """The copy, its weights staged here. What no run points at in the end is collected as garbage."""
        best, last = (self._staged(f"{copy.number}/{name}.safetensors") for name in ("weights", "last"))
        return replace(copy, weights_id=best, last_weights_id=last)

    def _staged(self, member: str) -> int | None:
        return blobs.stage(self.database, self.archive.read(member)) if self.archive.has(member) else None
