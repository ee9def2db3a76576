"""Datasets in the store: each content once, known by its SHA-256."""

from __future__ import annotations

from sqlalchemy.orm import Session

from service.datasets.dataset import Dataset
from service.store import blobs
from service.store.database import Database
from service.store.tables import Dataset as Row


def load(session: Session, sha256: str) -> Dataset:
    """The dataset; raises BlobDamaged when its bytes are not those that were stored."""
    return Dataset.from_bytes(blobs.load(session, session.get_one(Row, sha256).blob_id), sha256)


def keep(database: Database, dataset: Dataset, source: str) -> None:
    """Store the dataset unless the store has one with the same content."""
    with database.read() as session:
        if session.get(Row, dataset.sha256) is not None:
            return
    blob_id = blobs.stage(database, dataset.to_bytes())
    with database.write() as session:
        if session.get(Row, dataset.sha256) is None:  # another submit may have been faster
            schema = dataset.schema.document()
            session.add(Row(sha256=dataset.sha256, source=source, schema=schema, blob_id=blob_id))
