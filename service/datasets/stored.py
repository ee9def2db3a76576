"""Datasets in the store: each content once, known by its SHA-256."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from service.datasets.dataset import Dataset
from service.store import blobs
from service.store.clock import after, now
from service.store.database import Database
from service.store.tables import Blob
from service.store.tables import Dataset as Row


def load(session: Session, sha256: str) -> Dataset:
    """The dataset; raises BlobDamaged when its bytes are not those that were stored."""
    return Dataset.from_bytes(blobs.load(session, session.get_one(Row, sha256).blob_id), sha256)


def keep(database: Database, dataset: Dataset, source: str) -> None:
    """Store the dataset unless the store has one with the same content."""
    if _there(database, dataset.sha256):
        return
    blob_id = blobs.stage(database, dataset.to_bytes())
    with database.write() as session:
        if session.get(Row, dataset.sha256) is None:  # another submit may have been faster
            schema = dataset.schema.document()
            session.add(Row(sha256=dataset.sha256, source=source, schema=schema, blob_id=blob_id))


def _there(database: Database, sha256: str) -> bool:
    """Whether the store has it; then nobody takes it for unused before the run that is to follow is there."""
    blob_id = select(Row.blob_id).where(Row.sha256 == sha256).scalar_subquery()
    with database.read() as session:
        lately = select(Blob.touched > after(-blobs.UNPOINTED_SECONDS / 10)).where(Blob.id == blob_id)
        found = session.scalar(lately)
    if found is not False:
        return bool(found)
    with database.write() as session:
        touched = update(Blob).where(Blob.id == blob_id).values(touched=now()).returning(Blob.id)
        return session.scalar(touched.execution_options(synchronize_session=False)) is not None
