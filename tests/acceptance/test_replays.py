"""A run is trained again on a real yard, and ends with the same bytes, or says where it did not."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import update

from service.store.tables import Metric, Run

pytestmark = pytest.mark.slow


def test_a_run_that_began_with_another_is_replayed_to_the_same_bytes_and_a_difference_is_told(yard):
    [donor] = yard.completed(yard.submit(epochs=1))
    fine = yard.client.submit(yard.spec(epochs=3), overrides=[f"begin={donor.id}", "train.log_every=10"], tags=["fine"])
    yard.completed(fine.id)
    answer = yard.cli("runs", "replay", fine.id, "--json")
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    replay = yard.client.run(found["replay"])
    assert (found["run"], found["same"], found["difference"], found["step"]) == (fine.id, True, None, None)
    assert (replay.replay_of, replay.fine_tuned_from, replay.tags) == (fine.id, donor.id, ())
    assert replay.spec == yard.client.run(fine.id).spec
    assert yard.result(replay.id) == yard.result(fine.id)
    assert yard.client.steps(replay.id) == yard.client.steps(fine.id) != []
    with yard.client.database.write() as session:
        session.execute(update(Run).where(Run.id == replay.id).values(weights_sha256="f" * 64))
        points = update(Metric).where(Metric.run_id == replay.id, Metric.name == "val_loss", Metric.epoch >= 2)
        session.execute(points.values(value=0.125))
    answer = yard.cli("runs", "replay", fine.id, "--against", replay.id)
    assert answer.returncode == 1
    value = yard.client.history(fine.id)[1]["val_loss"]
    said, at, _, row, machines = answer.stdout.splitlines()
    assert said == f"run {replay.id} ended with other weights than run {fine.id}"
    assert (at, row.split()) == ("they first differ at epoch 2:", ["val_loss", repr(value), "0.125"])
    assert machines == "what differs of the machines: nothing that is recorded and decides the bytes"
