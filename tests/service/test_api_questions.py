"""Questions to the HTTP API: it says what the client says, and what goes wrong in the command line's sentences."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from service.client import Client
from service.store import records
from service.web.api import models
from tests.web import served
from tests.yard import settled

EVERYTHING = [
    "/runs", "/runs?columns=id,state,created,best(val_loss),optimizer", "/runs/1", "/runs/best?metric=val_loss",
    "/runs/stats?metric=val_loss&by=optimizer,queue", "/runs/pareto?first=val_loss&second=duration",
    "/runs/compare?run=1&run=2", "/runs/1/history", "/runs/1/steps", "/runs/1/attempts", "/runs/1/edits",
    "/runs/1/logs",
    "/runs/1/why", "/runs/1/origin", "/runs/1/evaluation", "/runs/1/weights", "/workers", "/status", "/queues",
    "/space", "/datasets",
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
