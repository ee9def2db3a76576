"""A real disk that is full, read-only or damaged under a SQLite database."""

from __future__ import annotations

import os
import shutil

import pytest
from sqlalchemy import text, update

from service.store import blobs
from service.store.clock import after
from service.store.database import Database, DatabaseUnreachable
from service.store.points import Point
from service.store.tables import Blob
from tests.conftest import mount

pytestmark = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
MIB = 2**20


@pytest.fixture
def database(database_url, disk):
    """The upgraded database, on that disk."""
    file = disk / "trainyard.db"
    shutil.copy(database_url.removeprefix("sqlite:///"), file)
    database = Database(f"sqlite:///{file}")
    yield database
    database.dispose()


def fill(disk, leaving=0):
    """A file that takes the rest of the disk but so many bytes."""
    free = os.statvfs(disk)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - leaving))
    return ballast


def integrity(yard):
    return yard.ask(lambda session: session.scalars(text("PRAGMA integrity_check")).all())


def blob_ids(yard):
    return set(yard.ask(lambda session: session.scalars(text("SELECT id FROM blobs")).all()))


def stored(yard):
    return yard.ask(lambda session: session.scalar(text("SELECT count(*) FROM metrics")))


def test_a_small_write_on_a_full_disk_is_told_and_goes_through_when_there_is_room(yard, disk):
    claim = yard.claimed()
    points = [Point(f"metric {number}", 1, 0.5, False) for number in range(5000)]
    ballast = fill(disk)
    with pytest.raises(DatabaseUnreachable, match="make room on its disk") as caught:
        yard.record(claim, *points, epoch=1)
    assert caught.value.exit_code == 3
    assert (stored(yard), integrity(yard)) == (0, ["ok"])
    ballast.unlink()
    yard.record(claim, *points, epoch=1)
    assert (stored(yard), integrity(yard)) == (5000, ["ok"])


def test_a_blob_for_which_there_is_no_room_leaves_only_garbage_and_goes_through_later(yard, disk):
    before, data = blob_ids(yard), os.urandom(2 * MIB)
    ballast = fill(disk, leaving=MIB * 3 // 2)
    chunks = []
    with pytest.raises(DatabaseUnreachable, match="make room on its disk"):
        blobs.stage(yard.database, data, between=lambda: chunks.append(1))
    assert chunks, "not even the first chunk had room: this is about a blob of which a part is there"
    assert integrity(yard) == ["ok"]
    ballast.unlink()
    yard.do(lambda session: session.execute(update(Blob).where(Blob.id.not_in(before)).values(touched=after(-3600))))
    assert blobs.collect(yard.database) == 1
    assert blob_ids(yard) == before
    blob_id = blobs.stage(yard.database, data)
    assert yard.ask(blobs.load, blob_id) == data
    assert integrity(yard) == ["ok"]


def test_what_is_stored_can_be_read_on_a_full_disk(yard, disk):
    data = os.urandom(MIB // 2)
    blob_id = blobs.stage(yard.database, data)
    fill(disk)
    assert yard.ask(blobs.load, blob_id) == data


def test_a_disk_that_became_read_only_is_told(yard, disk):
    yard.database.dispose()
    mount("-o", "remount,ro", disk)
    with pytest.raises(DatabaseUnreachable, match="be writable for this user"):
        yard.submit()
    mount("-o", "remount,rw", disk)
    yard.submit()


def test_a_damaged_file_is_told(yard):
    yard.database.dispose()
    file = yard.database.file
    with file.open("r+b") as handle:
        handle.seek(100)  # behind the header, which says what kind of file it is
        handle.write(b"\xff" * (os.path.getsize(file) - 100))
    with pytest.raises(DatabaseUnreachable, match="go back to a copy of it"):
        yard.submit()
