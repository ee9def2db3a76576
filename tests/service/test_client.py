"""The Python face of a yard, for notebooks and for everything that is built on it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import service
from service import Client, InputError, RunRecord, Settings, TimedOut
from service.client.using import NotTrained
from service.names import check_name
from service.queue import Tickets
from service.spec import SpecError
from service.store import transitions
from service.store.points import Point
from service.store.tables import Dataset, Outcome, Run
from service.store.transitions import NoSuchRun, Progress, WrongState
from tests.servers import eventually
from tests.yard import ROOT, settled

TABLE = ROOT / "examples" / "table.yaml"


@pytest.fixture(scope="module")
def template() -> Iterator[Path]:
    with settled() as there:
        yield there.home / "trainyard.db"


@pytest.fixture
def client(template: Path, tmp_path: Path) -> Iterator[Client]:
    """A client of a home with a run in every state and without a broker."""
    shutil.copy(template, tmp_path)
    client = Client(Settings(home=tmp_path, database_url="", broker_url=""))
    yield client
    client.database.dispose()


def count(client: Client, table: type[Any]) -> int:
    with client.database.read() as session:
        return session.query(table).count()


def test_what_the_package_offers_is_what_it_says(client):
    assert set(service.__all__) == {
        "AttemptRecord", "Client", "InputError", "MetricSummary", "RunRecord", "Settings", "State", "TimedOut",
        "TrainyardError", "Unreachable", "WorkerRecord", "load_settings",
    }  # fmt: skip
    for name in service.__all__:
        assert getattr(service, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'service' has no attribute 'nonsense'"):
        _ = service.nonsense


def test_the_embedded_database_is_made_at_first_use(tmp_path):
    client = Client(home=tmp_path / "new", database_url="", broker_url="")
    assert not (tmp_path / "new").exists()
    assert client.runs() == []
    assert (tmp_path / "new" / "trainyard.db").exists()
    client.database.dispose()


def test_submit_stores_the_run_as_it_will_be_trained(client):
    run = client.submit(TABLE, overrides=["train.epochs=7"], priority=2, tags=["a", "b", "a"])
    assert isinstance(run, RunRecord)
    assert (run.id, run.name, run.state, run.priority, run.tags, run.epochs) == (
        6,
        "flowers",
        "queued",
        2,
        ("a", "b"),
        7,
    )
    assert run.spec["loss"] == {"cross_entropy": {"label_smoothing": 0.0}}
    assert run.spec["network"][-1]["dense"]["units"] == 3
    assert client.run(6) == run


def test_a_dataset_is_stored_once(client):
    before = count(client, Dataset)
    first, second = client.submit(TABLE), client.submit(TABLE)
    assert first.dataset_sha256 == second.dataset_sha256 == client.run(1).dataset_sha256
    assert count(client, Dataset) == before


def test_submit_sends_a_ticket_and_a_broker_that_is_away_is_only_a_hint(client, redis_url, tmp_path):
    hints: list[str] = []
    client.notify = hints.append
    assert client.submit(TABLE).state == "queued"
    assert hints == ["the run is stored and will start as soon as a worker finds it; start a yard with `trainyard up`"]
    other = Client(Settings(home=tmp_path, broker_url=redis_url), notify=hints.append)
    queue = f"client-{tmp_path.name}"[:64]
    other.submit(TABLE, queue=queue)
    other.database.dispose()
    assert len(hints) == 1
    assert Tickets(redis_url).depth(queue) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"spec": "nothere.yaml"},
        {"overrides": ["train.epoch=3"]},
        {"overrides": ["network.0.dense.units=0"]},
        {"overrides": ["train.batch_size=100000"]},
        {"queue": ""},
        {"tags": ["a b"]},
    ],
    ids=str,
)
def test_a_submit_that_is_refused_changes_nothing(client, wrong):
    runs, datasets = count(client, Run), count(client, Dataset)
    with pytest.raises(InputError):
        client.submit(**{"spec": TABLE} | wrong)
    assert (count(client, Run), count(client, Dataset)) == (runs, datasets)


def test_check_raises_what_submit_raises_and_needs_no_yard():
    with pytest.raises(SpecError, match=r"did you mean 'train\.epochs'"):
        Client(home="nowhere").check(TABLE, ["train.epoch=3"])
    report = Client(home="nowhere").check(TABLE)
    assert (report.name, report.task, report.output_layer_added) == ("flowers", "classification", True)


def test_runs_are_listed_newest_first_filtered_and_by_pages(client):
    def numbers(**named: Any) -> list[int]:
        return [run.id for run in client.runs(**named)]

    assert numbers() == [5, 4, 3, 2, 1]
    assert numbers(where="state in (failed, completed)") == [2, 1]
    assert numbers(after=4, limit=2) == [3, 2]
    assert numbers(where="tag = 'try' or queue = 'night'") == [5, 1]
    assert numbers(where="tag = 'try' or queue = 'night'", sort="queue") == [1, 5]
    with pytest.raises(InputError, match="column 1: there is no field 'los'; did you mean 'loss'"):
        client.runs(where="los < 1")
    assert client.counts() == {
        "queued": 1, "running": 1, "paused": 0, "completed": 1, "failed": 1, "cancelled": 1,
    }  # fmt: skip
    assert {queue: number for queue, (number, _) in client.waiting().items()} == {"night": 1}


WRONG = [
    (lambda client: client.runs(5), "expressions and fields are texts, such as .*, and not 5"),
    (lambda client: client.runs(["id=1"]), r"expressions and fields are texts, .*, and not \['id=1'\]"),
    (lambda client: client.stats("val_loss", by=["optimizer", 5]), "expressions and fields are texts, .*, and not 5"),
    (lambda client: client.runs("id=1", limit="x"), "limit is a whole number that is not negative, .* and not 'x'"),
    (lambda client: client.runs(limit=-1), "limit is a whole number .* and not -1"),
    (lambda client: client.best("val_loss", limit=-1), "limit is a whole number .* and not -1"),
    (lambda client: client.stats("val_loss", "seed", limit=-1), "limit is a whole number .* and not -1"),
    (lambda client: client.compare("tag = base"), r"a list of their numbers, .* \[1, 2\], and not by 'tag = base'"),
    (lambda client: client.compare(8), "a list of their numbers, .*, and not by 8"),
    (lambda client: client.compare([8, "9"]), "a list of their numbers, .*; '9' is no number of a run"),
    (lambda client: client.metrics_frame([[1]]), r"a list of their numbers, .*; \[1\] is no number of a run"),
]


@pytest.mark.parametrize(("question", "sentence"), WRONG)
def test_a_question_of_the_wrong_kind_is_refused_with_what_is_wanted(client, question, sentence):
    with pytest.raises(InputError, match=sentence):
        question(client)


def test_fields_come_as_a_list_too_and_numbers_of_runs_from_numpy(client):
    assert client.stats("val_loss", ["optimizer", "seed"]) == client.stats("val_loss", "optimizer, seed")
    assert client.compare(np.array([1, 2, 1]), curves=False) == client.compare([1, 2], curves=False)


def test_the_history_is_rows_by_epoch_and_may_begin_later(client):
    rows = client.history(1)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert client.history(1, after_epoch=2) == rows[2:]
    assert pl.DataFrame(rows).height == 3
    assert client.history(5) == []
    for ask in (client.history, client.run, client.why, client.cancel, client.retry, client.weights):
        with pytest.raises(NoSuchRun):
            ask(99)


def test_waiting_for_a_run_gives_up_when_told_and_returns_it_once_it_has_ended(client):
    assert client.wait(1).state == "completed"
    with pytest.raises(TimedOut, match=r"run 5 is still queued after 0\.2 s"):
        client.wait(5, timeout=0.2)


def test_watching_yields_every_change_and_the_ended_run_last(client):
    claim = transitions.Claim(4, 1, {}, "", None, 0)
    seen: list[RunRecord] = []
    watching = threading.Thread(target=lambda: seen.extend(client.watch(4)))
    watching.start()
    for epoch in (1, 2):
        with client.database.write() as session:
            progress = Progress(epoch, epoch, [Point("loss", epoch, 0.5, False)])
            transitions.record(session, claim.run_id, claim.attempt, progress, 60)
        eventually(lambda epoch=epoch: any(run.epoch == epoch for run in seen) or watching.is_alive())
    with client.database.write() as session:
        transitions.finish(session, claim.run_id, claim.attempt, Outcome.FAILED, error="for a test")
    watching.join(30)
    assert seen[-1].state == "failed"
    assert seen[-1] == client.run(4)
    assert all(before != later for before, later in pairwise(seen))


def reported(client: Client, run_id: int, epoch: int, loss: float) -> None:
    with client.database.write() as session:
        transitions.record(session, run_id, 1, Progress(epoch, epoch, [Point("loss", epoch, loss, False)]), 60)


def test_watching_tells_metrics_as_they_come(client):
    watched = client.watch(4)
    assert next(watched).metrics == {}
    for epoch, loss in ((1, 0.5), (2, 0.25)):
        reported(client, 4, epoch, loss)
        run = next(watched)
        assert (run.epoch, run.metrics["loss"].last) == (epoch, loss)
    with client.database.write() as session:
        late = Progress(1, 2, [Point("test_loss", 2, 0.125, False)])
        transitions.record(session, 4, 1, late, 60)
    assert next(watched).metrics["test_loss"].last == 0.125  # though no epoch was added
    client.pause(4, timeout=0)
    assert next(watched).wish == "pause"


def test_watching_gives_up_when_told(client):
    watched = client.watch(4, timeout=0.1)
    next(watched)
    with pytest.raises(TimedOut, match=r"run 4 is still running after 0\.1 s"):
        next(watched)
    with pytest.raises(TimedOut, match=r"2 runs, such as run 5, which is queued, have not ended after 0\.1 s"):
        list(client.watch_all([5, 1, 4], timeout=0.1))


def test_many_runs_are_watched_until_all_have_ended(client):
    watched = client.watch_all("id <= 4 and not state = 'cancelled'")
    assert [next(watched).id for _ in range(3)] == [1, 2, 4]
    reported(client, 4, 1, 0.5)
    assert next(watched).metrics["loss"].last == 0.5
    with client.database.write() as session:
        transitions.finish(session, 4, 1, Outcome.CANCELLED)
    assert [(run.id, run.state) for run in watched] == [(4, "cancelled")]
    assert list(client.watch_all("loss < 0")) == []
    assert [run.id for run in client.watch_all([3, 1, 3])] == [3, 1]


def test_watching_what_is_not_there_is_told(client):
    with pytest.raises(NoSuchRun, match="99"):
        list(client.watch_all([1, 99]))
    with pytest.raises(InputError, match="there is no field 'los'"):
        client.watch_all("los < 1")


def test_a_client_closes_its_connections_and_may_be_used_again(template, tmp_path):
    shutil.copy(template, tmp_path)
    with Client(Settings(home=tmp_path, database_url="", broker_url="")) as client:
        assert len(client.runs()) == 5
        pool = client.database.engine.pool
        assert pool.checkedin() == 1
    assert pool.checkedin() == 0
    assert len(client.runs()) == 5
    client.close()
    Client(home=tmp_path / "unused").close()


def test_a_client_says_whose_it_is_without_secrets(tmp_path):
    assert repr(Client(home=tmp_path, database_url="")) == f"<Client of sqlite:///{tmp_path}/trainyard.db>"
    secret = Client(database_url="postgresql://ada:sesame@lab:5432/yard")
    assert "ada:***@lab" in repr(secret)
    assert "sesame" not in repr(secret)


def test_cancelling_a_run_whose_worker_does_not_answer_returns_with_a_hint(client):
    hints: list[str] = []
    client.notify = hints.append
    assert client.cancel(4, timeout=0.1).state == "running"
    assert hints == ["run 4 has not answered yet; if its worker is gone, it ends with its lease"]
    assert client.cancel(5).state == "cancelled"
    with pytest.raises(WrongState):
        client.cancel(1)


def test_a_retried_run_waits_again(client):
    assert client.retry(2).state == "queued"
    assert client.retry(3).error is None
    with pytest.raises(WrongState, match="run 1 is completed; only a failed or cancelled run can be retried"):
        client.retry(1)


def test_weights_come_as_arrays_by_name(client):
    best, last = client.weights(1), client.weights(1, last=True)
    assert {name: array.shape for name, array in best.items()} == {
        "1.dense.weight": (4, 16), "1.dense.bias": (16,), "2.dense.weight": (16, 16), "2.dense.bias": (16,),
        "3.dense.weight": (16, 3), "3.dense.bias": (3,),
    }  # fmt: skip
    assert set(last) == set(best)
    assert all(array.dtype == np.float32 for array in best.values())
    for run in (2, 5):
        with pytest.raises(NotTrained):
            client.weights(run)


def test_predictions_come_as_a_data_frame(client):
    frame = client.predict(1, ROOT / "examples" / "flowers.csv")
    assert frame.columns[0] == "prediction"
    probabilities = frame.select(pl.sum_horizontal(pl.exclude("prediction"))).to_series()
    assert probabilities.is_between(0.999, 1.001).all()


def test_a_pool_cannot_have_less_than_no_slot_and_a_worker_must_be_there(client):
    with pytest.raises(InputError, match="a worker cannot have -1 slots"):
        client.scale("ada", -1)
    for ask in (client.drain, client.stop, lambda name: client.scale(name, 2)):
        with pytest.raises(InputError, match="there is no running worker 'ada'"):
            ask("ada")


@pytest.mark.parametrize("name", ["a", "default", "lab-7.example:2@x=y_z", "7", "a" * 64])
def test_a_name_may_hold_letters_digits_and_a_few_marks(name):
    check_name("queue", name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a b", "a,b", "a/b", "ä", "a\n", "a" * 65, "*"])
def test_a_name_that_would_not_fit_everywhere_is_refused(name):
    with pytest.raises(InputError, match="use 1 to 64 letters, digits and"):
        check_name("queue", name)
