"""Blobs: large bytes, staged in small transactions so that no other writer waits long, then pointed at in one.

A blob without a pointer is garbage: `collect` removes it some minutes after it was last touched.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Insert, Select, delete, exists, insert, or_, select, union, update
from sqlalchemy.orm import Session

from service.errors import TrainyardError
from service.store.clock import after, now
from service.store.database import Database
from service.store.tables import Blob, Chunk, Dataset, Run

CHUNK = 2**20  # bytes; others wait some milliseconds while SQLite takes one, where a whole blob would take seconds
UNPOINTED_SECONDS = 600.0
MANY = 5000  # blobs in a statement
TOGETHER = 100  # blobs in a transaction


class BlobDamaged(TrainyardError):
    def __init__(self, blob_id: int, what: str) -> None:
        super().__init__(f"blob {blob_id} is damaged: {what}")


def stage(database: Database, data: bytes, between: Callable[[], None] = lambda: None) -> int:
    """Store the bytes, a chunk a transaction, `between` called between two; the caller points at what comes back."""
    blob = Blob(sha256=hashlib.sha256(data).hexdigest(), size=len(data))  # before others have to wait
    with database.write(large=True) as session:
        session.add(blob)
        session.flush()
        blob_id = blob.id
        session.execute(_chunk(blob_id, 0, data))
    for number in range(1, -(-len(data) // CHUNK)):
        between()
        with database.write(large=True) as session:
            session.execute(_chunk(blob_id, number, data))
            session.execute(update(Blob).where(Blob.id == blob_id).values(touched=now()))
    return blob_id


def _chunk(blob_id: int, number: int, data: bytes) -> Insert:
    return insert(Chunk).values(blob_id=blob_id, number=number, data=data[number * CHUNK : (number + 1) * CHUNK])


def load(session: Session, blob_id: int) -> bytes:
    """The bytes of a blob; raises BlobDamaged when they are not the ones that were stored."""
    blob = session.get(Blob, blob_id)
    if blob is None:
        raise BlobDamaged(blob_id, "it is gone")
    data = b"".join(session.scalars(select(Chunk.data).where(Chunk.blob_id == blob_id).order_by(Chunk.number)))
    if hashlib.sha256(data).hexdigest() != blob.sha256:
        raise BlobDamaged(blob_id, f"{len(data)} of {blob.size} bytes are there, or their SHA-256 differs")
    return data


POINTERS = (Run.checkpoint_id, Run.previous_checkpoint_id, Run.weights_id, Run.last_weights_id, Dataset.blob_id)


def remove(database: Database, blob_id: int) -> None:
    """Remove a blob, a chunk a transaction; one that something points at stays as it is."""
    unpointed = ~_pointed(blob_id)
    first = select(Chunk.number).where(Chunk.blob_id == blob_id).limit(1).scalar_subquery()
    chunk = delete(Chunk).where(Chunk.blob_id == blob_id, Chunk.number == first, unpointed).returning(Chunk.number)
    while True:
        with database.write(large=True) as session:
            if not session.execute(chunk).all():
                session.execute(delete(Blob).where(Blob.id == blob_id, unpointed))
                return


def remove_all(database: Database, blob_ids: Iterable[int]) -> int:
    """Remove those of the blobs that nothing points at, many small ones in one transaction; returns their bytes."""
    ids, freed = sorted(set(blob_ids)), 0
    for start in range(0, len(ids), MANY):
        with database.read() as session:
            found = sizes(session, ids[start : start + MANY])
        freed += sum(_remove_together(database, group) for group in _groups(sorted(found.items())))
    return freed


def sizes(session: Session, blob_ids: Sequence[int]) -> dict[int, int]:
    """The bytes of each of these blobs that is there."""
    found: dict[int, int] = {}
    for start in range(0, len(blob_ids), MANY):
        rows = session.execute(select(Blob.id, Blob.size).where(Blob.id.in_(blob_ids[start : start + MANY])))
        found |= {row.id: row.size for row in rows}
    return found


def pointers(session: Session, blob_ids: Sequence[int]) -> Counter[int]:
    """How often each of these blobs is pointed at."""
    found: Counter[int] = Counter()
    for start in range(0, len(blob_ids), MANY):
        for pointer in POINTERS:
            found.update(session.scalars(select(pointer).where(pointer.in_(blob_ids[start : start + MANY]))))
    return found


def _groups(sizes: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Blobs that together are no larger than a chunk; a larger one stands alone."""
    group: list[int] = []
    filled = 0
    for blob_id, size in sizes:
        if group and (filled + size > CHUNK or len(group) == TOGETHER):
            yield group
            group, filled = [], 0
        group.append(blob_id)
        filled += size
    if group:
        yield group


def _remove_together(database: Database, blob_ids: Sequence[int]) -> int:
    with database.write(large=True) as session:
        # Locked first: whoever is about to point at one waits, and then finds that it is gone.
        found = select(Blob.id, Blob.size).where(Blob.id.in_(blob_ids)).order_by(Blob.id).with_for_update()
        size_of = {row.id: row.size for row in session.execute(found)}
        free = list(session.scalars(select(Blob.id).where(Blob.id.in_(size_of), ~_pointed(Blob.id))))
        freed: int = sum(size_of[blob_id] for blob_id in free)
        if freed <= CHUNK:
            session.execute(delete(Chunk).where(Chunk.blob_id.in_(free)))
            session.execute(delete(Blob).where(Blob.id.in_(free)))
            return freed
    for blob_id in free:
        remove(database, blob_id)
    return freed


def _pointed(blob_id: Any) -> ColumnElement[bool]:
    return or_(*(exists().where(pointer == blob_id) for pointer in POINTERS))


def garbage(older_than: float = UNPOINTED_SECONDS) -> Select[int, int]:
    """Number and size of the blobs nothing has pointed at for so many seconds."""
    pointed = union(*(select(pointer).where(pointer.is_not(None)) for pointer in POINTERS))
    return select(Blob.id, Blob.size).where(Blob.touched < after(-older_than), Blob.id.not_in(pointed))


def collect(database: Database, older_than: float = UNPOINTED_SECONDS) -> int:
    """Remove the blobs nothing has pointed at for so many seconds; returns how many there were."""
    with database.read() as session:
        found = session.scalars(garbage(older_than).limit(100)).all()
    for blob_id in found:
        remove(database, blob_id)
    return len(found)
