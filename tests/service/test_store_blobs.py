"""Blobs: whole or not at all, and gone when nothing points at them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import delete, func, select, update

from service.store import blobs
from service.store.blobs import BlobDamaged
from service.store.clock import after
from service.store.tables import Blob, Chunk, Dataset, Outcome
from service.store.transitions import WeightsKept

REAL_CHUNK = blobs.CHUNK
CHUNK = 16
LONG_AGO = after(-3600)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(blobs, "CHUNK", CHUNK)


def data_of(size: int) -> bytes:
    return os.urandom(size)


def load(yard, blob_id):
    return yard.ask(blobs.load, blob_id)


def chunks(yard, blob_id):
    return yard.ask(lambda session: session.scalar(select(func.count()).where(Chunk.blob_id == blob_id)))


def kept(yard):
    return set(yard.ask(lambda session: session.scalars(select(Blob.id)).all())) - {yard.blob_id}


def age(yard, *blob_ids):
    yard.do(lambda session: session.execute(update(Blob).where(Blob.id.in_(blob_ids)).values(touched=LONG_AGO)))


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK, 3 * CHUNK + 1])
def test_what_was_staged_is_loaded(yard, size):
    data = data_of(size)
    blob_id = blobs.stage(yard.database, data)
    assert load(yard, blob_id) == data
    assert chunks(yard, blob_id) == max(1, -(-size // CHUNK))


@pytest.mark.parametrize("beyond", [-1, 0, 1])
def test_a_chunk_of_the_real_size_goes_through(yard, monkeypatch, beyond):
    monkeypatch.setattr(blobs, "CHUNK", REAL_CHUNK)
    data = data_of(REAL_CHUNK + beyond)
    assert load(yard, blobs.stage(yard.database, data)) == data


def test_between_two_chunks_the_worker_can_do_something_else(yard):
    called = []
    blobs.stage(yard.database, data_of(3 * CHUNK), between=lambda: called.append(yard.claim()))
    assert called == [None, None]


def test_blobs_staged_at_once_are_not_mixed(yard):
    parts = [data_of(5 * CHUNK) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(blobs.stage, yard.database, data) for data in parts]
        assert [load(yard, future.result()) for future in futures] == parts


def test_a_blob_that_is_gone_is_told(yard):
    with pytest.raises(BlobDamaged, match="blob 99 is damaged: it is gone"):
        load(yard, 99)


@pytest.mark.parametrize(
    "damage",
    [
        delete(Chunk).where(Chunk.number == 2),
        delete(Chunk).where(Chunk.number == 0),
        update(Chunk).where(Chunk.number == 1).values(data=b"x" * CHUNK),
        update(Chunk).where(Chunk.number == 1).values(data=b""),
    ],
    ids=["last chunk lost", "first chunk lost", "bytes changed", "bytes lost"],
)
def test_damage_is_found_on_loading(yard, damage):
    blob_id = blobs.stage(yard.database, data_of(3 * CHUNK))
    yard.do(lambda session: session.execute(damage.where(Chunk.blob_id == blob_id)))
    with pytest.raises(BlobDamaged, match=f"blob {blob_id} is damaged: .* of {3 * CHUNK} bytes"):
        load(yard, blob_id)


def test_a_number_is_never_given_twice(yard):
    first = blobs.stage(yard.database, b"a")
    blobs.remove(yard.database, first)
    assert blobs.stage(yard.database, b"b") > first


def test_a_removed_blob_leaves_nothing(yard):
    blob_id = blobs.stage(yard.database, data_of(3 * CHUNK))
    blobs.remove(yard.database, blob_id)
    assert (kept(yard), chunks(yard, blob_id)) == (set(), 0)
    blobs.remove(yard.database, blob_id)  # another collector may have been faster


def test_garbage_is_collected_when_it_is_old(yard):
    young, old = blobs.stage(yard.database, data_of(CHUNK)), blobs.stage(yard.database, data_of(3 * CHUNK))
    age(yard, old)
    assert blobs.collect(yard.database) == 1
    assert kept(yard) == {young}
    assert blobs.collect(yard.database) == 0


def test_what_anything_points_at_is_kept_however_old(yard):
    checkpoint, best, last, dataset, garbage = (blobs.stage(yard.database, data_of(CHUNK)) for _ in range(5))
    claim = yard.claimed()
    yard.finish(claim, weights=WeightsKept(best, last, "e" * 64))
    yard.record(yard.claimed(), checkpoint_id=checkpoint)
    yard.do(lambda session: session.add(Dataset(sha256="f" * 64, source="iris", schema={}, blob_id=dataset)))
    age(yard, yard.blob_id, checkpoint, best, last, dataset, garbage)
    assert blobs.collect(yard.database) == 1
    assert kept(yard) == {checkpoint, best, last, dataset}


def test_the_checkpoint_of_a_completed_run_is_garbage_that_of_a_failed_one_is_not(yard):
    first, second = (blobs.stage(yard.database, data_of(CHUNK)) for _ in range(2))
    for checkpoint, outcome in [(first, Outcome.COMPLETED), (second, Outcome.FAILED)]:
        claim = yard.claimed()
        yard.record(claim, checkpoint_id=checkpoint)
        yard.finish(claim, outcome)
    age(yard, first, second)
    blobs.collect(yard.database)
    assert kept(yard) == {second}


class SlowDatabase:
    """An hour passes, and a collector with it, before every transaction."""

    def __init__(self, database):
        self.database = database

    @contextmanager
    def write(self, *, large):
        with self.database.write() as session:
            session.execute(update(Blob).values(touched=LONG_AGO))
        with self.database.write(large=large) as session:
            yield session
        blobs.collect(self.database)


def test_a_blob_that_takes_long_to_stage_is_not_collected_meanwhile(yard):
    data = data_of(4 * CHUNK)
    assert load(yard, blobs.stage(SlowDatabase(yard.database), data)) == data


def test_what_a_killed_worker_staged_in_part_is_garbage(yard, monkeypatch):
    real = blobs._chunk

    def two_chunks(blob_id, number, data):
        if number == 2:
            raise KeyboardInterrupt
        return real(blob_id, number, data)

    monkeypatch.setattr(blobs, "_chunk", two_chunks)
    with pytest.raises(KeyboardInterrupt):
        blobs.stage(yard.database, data_of(3 * CHUNK))
    [partial] = kept(yard)
    age(yard, partial)
    assert blobs.collect(yard.database) == 1
    assert (kept(yard), chunks(yard, partial)) == (set(), 0)
