"""The members of a portable file: known by its manifest, bounded in size, compared with their SHA-256."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from typing import Annotated, Any, BinaryIO, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from service.errors import DataError
from service.portable.documents import Count, Line, Sha256, Strict
from service.portable.layout import FORMAT, MANIFEST, READ, VERSION

MOST_BYTES = {".json": 16 * 2**20, ".csv": 256 * 2**20}  # of a member; one that is not compressed may have any size
GROWTH, SPARE = 100, 64 * 2**20  # all members together may have so many times the file's size, and so many bytes more

Model = TypeVar("Model", bound=BaseModel)


class Member(Strict):
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]


class Manifest(Strict):
    format: Literal["trainyard runs"]
    version: Literal[1, 2]
    trainyard: Line
    host: Line
    runs: list[Count]
    members: dict[str, Member]


class Archive:
    """A file that was opened for reading. Every method raises DataError for what `writing` has not written."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        size = file.seek(0, 2)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
            raise DataError(f"{name} is no file of runs, or only a part of one") from None
        entries = self._zip.infolist()
        self._entries = {entry.filename: entry for entry in entries}
        if len(self._entries) < len(entries) or sum(entry.file_size for entry in entries) > GROWTH * size + SPARE:
            raise self.damaged("a member is there twice, or they are larger than such a file can make them")
        self.manifest = self._read_manifest()
        if set(self.manifest.members) | {MANIFEST} != set(self._entries):
            raise self.damaged("its members are not those of its manifest")

    def damaged(self, what: str) -> DataError:
        return DataError(f"{self.name} is damaged or forged: {what}; nothing of it was stored")

    def has(self, member: str) -> bool:
        return member in self.manifest.members

    def size(self, member: str) -> int:
        """Its bytes; 0 if it is not there."""
        return self.manifest.members[member].size if self.has(member) else 0

    def read(self, member: str) -> bytes:
        told = self.manifest.members.get(member)
        if told is None:
            raise self.damaged(f"{member} is missing")
        data = self._bytes(member)
        if len(data) != told.size or hashlib.sha256(data).hexdigest() != told.sha256:
            raise self.damaged(f"{member} is not what its manifest says")
        return data

    def document(self, member: str, model: type[Model]) -> Model:
        return self._parsed(member, self.read(member), model)

    def _parsed(self, member: str, data: bytes, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(data)
        except (ValidationError, RecursionError) as error:
            where = _first(error) if isinstance(error, ValidationError) else "nested too deep"
            raise self.damaged(f"{member}: {where}") from None

    def _read_manifest(self) -> Manifest:
        if MANIFEST not in self._entries:
            raise DataError(f"{self.name} is no file of runs: it has no {MANIFEST}")
        data = self._bytes(MANIFEST)
        about = self._parsed(MANIFEST, data, _About)
        if about.format != FORMAT:
            raise DataError(f"{self.name} is no file of runs: its manifest says otherwise")
        if about.version not in READ:
            raise DataError(
                f"{self.name} is of version {about.version}, this Trainyard reads up to {VERSION}; update it"
            )
        return self._parsed(MANIFEST, data, Manifest)

    def _bytes(self, member: str) -> bytes:
        entry = self._entries[member]
        most = MOST_BYTES.get(member[member.rfind(".") :], 0)
        stored = entry.compress_type == zipfile.ZIP_STORED and entry.compress_size == entry.file_size
        if not stored and (entry.compress_type != zipfile.ZIP_DEFLATED or entry.file_size > most):
            raise self.damaged(f"{member} is too large, or compressed where it may not be")
        try:
            return self._zip.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError, ValueError):
            raise self.damaged(f"{member} cannot be unpacked") from None


class _About(BaseModel):
    """As much of a manifest as every version has."""

    format: Any
    version: Any


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg'].removeprefix('Value error, ')}"
