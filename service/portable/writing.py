"""Runs from a store into a portable file."""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from typing import Any, BinaryIO

from sqlalchemy.orm import Session

from service.portable import curves
from service.portable.documents import document, log_document
from service.portable.layout import FORMAT, MANIFEST, VERSION, dataset_member
from service.store import blobs, copies
from service.store.copies import Copy
from service.store.database import Database
from service.store.tables import Dataset

AT_ONCE = 100  # runs in memory


def write(database: Database, file: BinaryIO, run_ids: Sequence[int], *, with_data: bool = True) -> None:
    """Write the runs, which have ended, and the datasets they were trained on."""
    with zipfile.ZipFile(file, "w") as archive:
        writer = _Writer(archive)
        for start in range(0, len(run_ids), AT_ONCE):
            with database.read() as session:
                for copy in copies.read(session, run_ids[start : start + AT_ONCE]):
                    writer.run(session, copy)
                    if with_data:
                        writer.dataset(session, copy.submitted.dataset_sha256)
        writer.manifest()


class _Writer:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._members: dict[str, dict[str, str | int]] = {}
        self._runs: list[int] = []

    def run(self, session: Session, copy: Copy) -> None:
        folder = f"{copy.number}"
        self._add(f"{folder}/run.json", _json(document(copy)))
        self._add(f"{folder}/spec.json", _json(copy.submitted.spec))
        if copy.log:
            self._add(f"{folder}/log.json", _json(log_document(copy)))
        self._add(f"{folder}/metrics.csv", curves.text(copy.metrics, "epoch"))
        if copy.steps:
            self._add(f"{folder}/steps.csv", curves.text(copy.steps, "step"))
        for name, blob_id in (("weights", copy.weights_id), ("last", copy.last_weights_id)):
            if blob_id is not None:
                self._add(f"{folder}/{name}.safetensors", blobs.load(session, blob_id))
        self._runs.append(copy.number)

    def dataset(self, session: Session, sha256: str) -> None:
        name = dataset_member(sha256)
        if name not in self._members:
            self._add(name, blobs.load(session, session.get_one(Dataset, sha256).blob_id))

    def manifest(self) -> None:
        about = {
            "format": FORMAT, "version": VERSION, "trainyard": version("trainyard"), "host": platform.node(),
            "runs": self._runs, "members": self._members,
        }  # fmt: skip
        self._write(MANIFEST, _json(about))

    def _add(self, name: str, data: bytes) -> None:
        self._members[name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        self._write(name, data)

    def _write(self, name: str, data: bytes) -> None:
        info = zipfile.ZipInfo(name)  # dated 1980: the same runs, the same bytes
        large = name == MANIFEST or name.endswith(".safetensors")
        info.compress_type = zipfile.ZIP_STORED if large else zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        self._archive.writestr(info, data)


def _json(value: Mapping[str, Any] | list[Any]) -> bytes:
    """As text for people, in one order whatever a database makes of it; times as ISO 8601."""
    return json.dumps(value, indent=2, sort_keys=True, default=datetime.isoformat, allow_nan=False).encode() + b"\n"
