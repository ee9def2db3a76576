"""What must hold once the faults are over: of the runs, of what is stored, and of what is left on the machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import func, select

from service.store import blobs
from service.store.database import Database
from service.store.tables import Blob, Chunk, Run
from tests.chaos.findings import Findings
from tests.chaos.workload import Result
from tests.yard import Yard


def runs(there: Yard, calm: Mapping[str, Result], findings: Findings) -> int:
    """Every run has completed, and is to the last byte what it is undisturbed; returns how many there are."""
    records = there.client.runs(limit=None)
    for record in records:
        if record.state != "completed":
            findings.add(f"run {record.id} ({record.name}) is {record.state}: {record.error}", record.id)
            continue
        wanted, (best, last, sha256, history) = calm[record.name], there.result(record.id)
        found = {
            "metrics": history == wanted.history,
            "weights_sha256": sha256 == wanted.weights_sha256,
            "file of the best weights": hashlib.sha256(best).hexdigest() == wanted.best_file,
            "file of the last weights": hashlib.sha256(last).hexdigest() == wanted.last_file,
        }
        for what in (name for name, equal in found.items() if not equal):
            findings.add(f"run {record.id} ({record.name}): its {what} differ from the undisturbed run's", record.id)
    return len(records)


def stored(database: Database, findings: Findings) -> None:
    """No blob that nothing points at once garbage was collected, no chunk without a blob, none missing."""
    while blobs.collect(database, older_than=0):
        pass
    with database.read() as session:
        pointed = {found for pointer in blobs.POINTERS for found in session.scalars(select(pointer)) if found}
        there = dict(session.execute(select(Blob.id, Blob.size)).all())
        bytes_of = dict(
            session.execute(select(Chunk.blob_id, func.sum(func.length(Chunk.data))).group_by(Chunk.blob_id)).all()
        )
        checkpoint = func.coalesce(Run.checkpoint_id, Run.previous_checkpoint_id)
        held = session.execute(select(Run.id, checkpoint).where(checkpoint.is_not(None))).all()
    for blob_id in sorted(there.keys() - pointed):
        findings.add(f"nothing points at blob {blob_id}, and it is not collected")
    for blob_id in sorted(pointed - there.keys()):
        findings.add(f"something points at blob {blob_id}, which is not there")
    for blob_id in sorted(bytes_of.keys() - there.keys()):
        findings.add(f"there are chunks of blob {blob_id}, which is not there")
    for blob_id in sorted(there.keys() & pointed):
        if bytes_of.get(blob_id, 0) != there[blob_id]:
            findings.add(f"blob {blob_id} has {bytes_of.get(blob_id, 0)} of its {there[blob_id]} bytes")
    for run_id, checkpoint_id in held:
        findings.add(f"run {run_id} has completed and still holds checkpoint {checkpoint_id}", run_id)


def machine(there: Yard, findings: Findings) -> None:
    """After every program was told to stop: no process, no socket, no staged file, no worker's metrics."""
    for pid, command in there.processes().items():
        findings.add(f"process {pid} of the yard is left: {command}")
    for file in sorted(there.home.rglob("*")):
        name = file.relative_to(there.home)
        if file.is_socket() or _is_staged(file):
            findings.add(f"{name} is left in the home")
        elif file.parent == there.home / "metrics":
            findings.add(f"{name} of a worker that has ended is left in the home")


def _is_staged(file: Path) -> bool:
    """A file that was to be renamed: `yard.json.part`, `password.2640`."""
    return file.suffix == ".part" or file.suffix.removeprefix(".").isdigit()
