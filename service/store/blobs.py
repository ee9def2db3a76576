"""Blobs: large bytes, staged in small transactions so that no other writer waits long, then pointed at in one.

A blob without a pointer is garbage: `collect` removes it some minutes after it was last touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from sqlalchemy import Insert, and_, delete, exists, insert, select, union, update
from sqlalchemy.orm import Session

from service.errors import TrainyardError
from service.store.clock import after, now
from service.store.database import Database
from service.store.tables import Blob, Chunk, Dataset, Run

CHUNK = 2**20  # bytes; others wait some milliseconds while SQLite takes one, where a whole blob would take seconds
UNPOINTED_SECONDS = 600.0


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
    unpointed = and_(*(~exists().where(pointer == blob_id) for pointer in POINTERS))
    first = select(Chunk.number).where(Chunk.blob_id == blob_id).limit(1).scalar_subquery()
    chunk = delete(Chunk).where(Chunk.blob_id == blob_id, Chunk.number == first, unpointed).returning(Chunk.number)
    while True:
        with database.write(large=True) as session:
            if not session.execute(chunk).all():
                session.execute(delete(Blob).where(Blob.id == blob_id, unpointed))
                return


def collect(database: Database, older_than: float = UNPOINTED_SECONDS) -> int:
    """Remove the blobs nothing has pointed at for so many seconds; returns how many there were."""
    pointed = union(*(select(pointer).where(pointer.is_not(None)) for pointer in POINTERS))
    with database.read() as session:
        old = select(Blob.id).where(Blob.touched < after(-older_than), Blob.id.not_in(pointed))
        garbage = session.scalars(old.limit(100)).all()
    for blob_id in garbage:
        remove(database, blob_id)
    return len(garbage)
