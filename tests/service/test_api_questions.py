"""Questions to the HTTP API: it says what the client says, and what goes wrong in the command line's sentences."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from io import BytesIO

import httpx
import pytest

from nn import LayerSummary
from service.client import Client
from service.inspection import Layers
from service.notifications import Answer
from service.portable import Imported
from service.replaying import Difference, Replay
from service.retention import Decision, Pruned
from service.settings import Settings
from service.store import records
from service.store.glance import Glance, Pace
from service.store.notices import Undelivered
from service.store.records import jsonable
from service.web.api import acting, models, moving
from tests.web import served
from tests.yard import settled

EVERYTHING = [
    "/runs", "/runs?columns=id,state,created,best(val_loss),optimizer", "/runs/1", "/runs/best?metric=val_loss",
    "/runs/stats?metric=val_loss&by=optimizer,queue", "/runs/pareto?first=val_loss&second=duration",
    "/runs/compare?run=1&run=2", "/runs/1/history", "/runs/1/steps", "/runs/1/attempts", "/runs/1/edits",
    "/runs/1/logs",
    "/runs/1/why", "/runs/1/origin", "/runs/1/evaluation", "/runs/1/weights", "/workers", "/status", "/queues",
    "/space", "/datasets", "/runs?specs=true", "/runs/best?metric=val_loss&specs=true",
    "/runs/pareto?first=val_loss&second=duration&specs=true", "/runs/1/layers", "/glance", "/paces", "/undelivered",
    "/ended?since=2026-11-25T08:30:00Z",
]  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with settled() as there:
        yield Client(there.settings)


@pytest.fixture(scope="module")
def api(client: Client) -> Iterator[httpx.Client]:
    with served(client) as browser:
        browser.base_url = browser.base_url.join("/api/v1")
        yield browser


@pytest.mark.parametrize(
    ("model", "record"),
    [
        (models.Run, records.RunRecord),
        (models.MetricSummary, records.MetricSummary),
        (models.Attempt, records.AttemptRecord),
        (models.Edit, records.EditRecord),
        (models.LogLine, records.LogRecord),
        (models.Worker, records.WorkerRecord),
        (models.Dataset, records.DatasetRecord),
        (models.Glance, Glance),
        (models.Pace, Pace),
        (models.UndeliveredNotices, Undelivered),
        (models.Delivery, Answer),
        (models.Replay, Replay),
        (models.DifferentEpoch, Difference),
        (models.Layers, Layers),
        (models.Layer, LayerSummary),
        (acting.Pruned, Pruned),
        (acting.Decision, Decision),
        (moving.ImportedRun, Imported),
    ],
)
def test_what_is_described_has_the_names_of_the_records(model, record):
    assert set(model.model_fields) == set(record.__dataclass_fields__)


@pytest.mark.parametrize("path", EVERYTHING)
def test_each_question_is_answered_as_the_description_says(api, path):
    answer = api.get(path)
    assert answer.status_code == 200, answer.text
    described = api.get("/openapi.json").json()["paths"]
    generic = path.partition("?")[0].replace("/1", "/{run}")
    assert answer.headers["content-type"] in described[generic]["get"]["responses"]["200"]["content"]


def test_a_run_is_as_the_client_has_it(api, client):
    run = client.run(1).json()
    assert api.get("/runs/1").json() == run
    del run["spec"]
    assert api.get("/runs", params={"where": "tag = 'try'"}).json() == {"runs": [run], "next": None}
    assert api.get("/runs/1/history").json()["history"] == client.history(1)
    assert api.get("/runs/1/history", params={"after_epoch": 2}).json()["history"] == client.history(1, 2)
    assert api.get("/runs/1/why").json() == {"sentence": client.why(1)}
    assert api.get("/runs/1/evaluation").json().items() >= client.evaluate(1).document().items()
    assert api.get("/runs/1/weights").content == client.weights_file(1)


def test_what_goes_on_is_as_the_client_has_it(api, client):
    told = api.get("/glance").json()
    glance = json.loads(json.dumps(client.glance().json()))  # numbers of runs are texts, as keys
    assert told | {"moment": glance["moment"], "queues": glance["queues"]} == glance
    assert [(queue, waiting) for queue, (waiting, _) in told["queues"].items()] == [("night", 1)]
    assert told["running"] == [client.run(4).json()]
    assert api.get("/paces").json() == {"paces": {"4": {"samples_per_second": None, "seconds_left": None}}}
    assert api.get("/ended", params={"since": "2020-01-01T00:00:00+01:00"}).json() == {
        "counts": client.ended_since(datetime(2020, 1, 1, tzinfo=UTC))
    }
    assert api.get("/ended", params={"since": "2100-01-01T00:00:00Z"}).json() == {"counts": {}}
    assert api.get("/undelivered").json() == {"undelivered": []}


def test_whole_runs_layers_and_replays_are_as_the_client_has_them(api, client):
    runs = [run.json() for run in client.runs()]
    assert api.get("/runs", params={"specs": True}).json() == {"runs": runs, "next": None}
    best = [run.json() for run in client.best("val_loss")]
    assert api.get("/runs/best", params={"metric": "val_loss", "specs": True}).json() == {"runs": best}
    some = api.get("/runs/best", params={"metric": "val_loss", "limit": 100}).json()["runs"]
    assert [run["id"] for run in some] == [run.id for run in client.runs(sort="best(val_loss)") if run.metrics]
    assert 0 < len(some) < len(runs)
    [group] = api.get("/runs/stats", params={"metric": "val_loss", "by": "seed, optimizer"}).json()["groups"]
    assert repr(group["key"]) == "[0, 'adam']"  # and not 0.0
    layers = client.layers(1)
    told = api.get("/runs/1/layers").json()
    assert (tuple(told["input_shape"]), told["parameters"]) == (layers.input_shape, layers.parameters)
    assert [tuple(layer["output_shape"]) for layer in told["layers"]] == [layer.output_shape for layer in layers.layers]
    assert api.get("/runs/1/replays/1").json() == client.compare_replay(1, 1).json()
    policy = {"keep_best": 0, "checkpoints_after": 0.0, "where": "id < 3"}
    planned = client.prune(**policy, dry_run=True)
    assert planned.going
    assert api.post("/runs/prune", json=policy | {"dry_run": True}).json() == jsonable(asdict(planned))


def test_runs_leave_as_an_archive_that_another_yard_takes(api, client, tmp_path):
    archive = api.post("/runs/export", json={"where": "id <= 3"})
    assert (archive.status_code, archive.headers["content-type"]) == (200, "application/zip")
    assert int(archive.headers["content-length"]) == len(archive.content)
    many = api.post("/runs/export", json={"runs": [3, 2] * 1000, "with_data": False})
    assert zipfile.ZipFile(BytesIO(many.content)).namelist()[0] == "3/run.json"
    known = api.post("/runs/import", files={"file": archive.content}).json()["runs"]
    assert [(run["run"], run["new"]) for run in known] == [(1, False), (2, False), (3, False)]
    with Client(Settings(home=tmp_path)) as other:
        assert [run.new for run in other.import_runs(BytesIO(archive.content))] == [True, True, True]
        assert other.weights_file(1) == client.weights_file(1)


@pytest.mark.parametrize(
    ("body", "status", "part"),
    [
        ({"runs": [4]}, 409, "run 4 is running"),
        ({"runs": [1, 99]}, 404, "there is no run 99"),
        ({"where": "id = 5"}, 400, "there is no run to export"),
        ({"runs": [1], "where": "id = 1"}, 400, "say which runs"),
    ],
)
def test_what_cannot_leave_is_told(api, body, status, part):
    answer = api.post("/runs/export", json=body)
    assert (answer.status_code, part in answer.json()["detail"]) == (status, True), answer.text


def test_an_archive_that_cannot_be_written_or_read_is_told(api, monkeypatch):
    def full(self, archive, *_, **__):
        raise OSError(28, "No space left on device")

    junk = api.post(
        "/runs/import", files={"file": ("old.zip", b"x" * 2**21)}
    )  # more bytes than other requests may have
    assert (junk.status_code, junk.json()["detail"]) == (400, "old.zip is no file of runs, or only a part of one")
    monkeypatch.setattr(Client, "export_runs", full)
    answer = api.post("/runs/export", json={"runs": [1]})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:trainyard:no-room")


def test_pages_follow_one_another_to_the_end(api):
    seen, after = [], None
    while True:
        page = api.get("/runs", params={"limit": 2, "sort": "id"} | ({} if after is None else {"after": after})).json()
        seen += [run["id"] for run in page["runs"]]
        if (after := page["next"]) is None:
            break
    assert seen == [1, 2, 3, 4, 5]


def test_columns_are_the_values_of_fields(api):
    page = api.get("/runs", params={"columns": "id, state, best(val_loss)", "where": "id in (1, 5)"}).json()
    assert [(run["id"], run["state"]) for run in page["runs"]] == [(5, "queued"), (1, "completed")]
    assert page["runs"][0]["best(val_loss)"] is None
    assert page["runs"][1]["best(val_loss)"] > 0


@pytest.mark.parametrize(
    ("path", "status", "kind", "part"),
    [
        ("/runs/99", 404, "no-such-run", "there is no run 99"),
        ("/runs/99/history", 404, "no-such-run", "there is no run 99"),
        ("/runs/99/attempts", 404, "no-such-run", "there is no run 99"),
        ("/runs/99/edits", 404, "no-such-run", "there is no run 99"),
        ("/runs?after=99", 404, "no-such-run", "there is no run 99"),
        ("/runs?where=vall_loss < 1", 400, "expression-error", "did you mean 'val_loss'?"),
        ("/runs/best?metric=queue", 400, "input-error", "is not the name of a metric"),
        ("/runs/5/weights", 409, "not-trained", "run 5 is queued and has no weights"),
        ("/runs/1/evaluation?split=tset", 400, "input-error", "did you mean 'test'?"),
        (f"/runs/{2**31}", 422, "invalid-request", "run: "),
        ("/runs?limit=0", 422, "invalid-request", "limit: "),
        ("/runs?wehre=x", 422, "invalid-request", "unknown parameter 'wehre'; did you mean 'where'?"),
        ("/runs/1?limit=2", 422, "invalid-request", "unknown parameter 'limit'"),
        ("/runs?specs=true&columns=id", 400, "input-error", "one or the other"),
        ("/runs/1/replays/5", 409, "wrong-state", "run 5 is queued"),
        ("/ended?since=2026-11-25T08:30:00", 400, "no-moment", "is no moment with a zone"),
        ("/ended?since=0001-01-01T00:00:00%2B09:00", 400, "no-moment", "is no moment with a zone"),
    ],
)
def test_what_is_wrong_is_told_in_a_problem_document(api, path, status, kind, part):
    answer = api.get(path)
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["status"], problem["type"]) == (status, status, f"urn:trainyard:{kind}")
    assert part in problem["detail"]


NOT_THERE = [
    ("/nothing", "GET", 404),
    ("/runs/one", "GET", 404),
    ("/runs/1", "PUT", 405),
    ("/runs/cancel", "GET", 405),
]


@pytest.mark.parametrize(("path", "method", "status"), NOT_THERE)
def test_an_address_that_is_not_there_is_a_problem_too(api, path, method, status):
    answer = api.request(method, path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"].endswith("/api/v1/openapi.json describes " + (
        "what there is" if status == 404 else "those that it does"))  # fmt: skip
    if status == 405:
        assert answer.headers["allow"] == ("GET" if path == "/runs/1" else "POST")
