"""What is asked of the HTTP API to be done: submitting, acting on runs, the pool; each with what may go wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from service.client import Client
from service.roles import Role
from service.settings import Settings
from service.store import workers as worker_store
from service.web.api import submitting
from tests.web import served
from tests.yard import ROOT

TABLE = (ROOT / "examples" / "table.yaml").read_text()
FLOWERS = (ROOT / "examples" / "flowers.csv").read_bytes()


@pytest.fixture
def kind() -> str:
    """What the store does is tested on both databases where it stands."""
    return "sqlite"


@pytest.fixture
def client(database, database_url, tmp_path) -> Client:
    client = Client(Settings(home=tmp_path, database_url=database_url, broker_url="redis://127.0.0.1:1/0"))
    client.__dict__["database"] = database
    return client


@pytest.fixture
def api(client: Client) -> Iterator[httpx.Client]:
    with served(client) as browser:
        browser.base_url = browser.base_url.join("/api/v1")
        yield browser


def spec(**changes):
    return {
        "version": 1,
        "name": "iris",
        "data": {"source": "iris", "split": {"validation": 0.2}},
        "network": [{"dense": {"units": 4, "activation": "relu"}}],
        "train": {"epochs": 3},
    } | changes


def submitted(api, **body):
    answer = api.post("/runs", json={"spec": spec()} | body)
    assert answer.status_code == 201, answer.text
    return answer.json()["runs"]


def problem(answer, status):
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    return answer.json()


def test_a_spec_is_submitted_as_text_or_as_an_object_with_what_belongs_to_it(api, client):
    text = (
        "version: 1\nname: two\ndata: {source: iris}\nnetwork: [dense: {units: 4, activation: relu}]\n---\n"
        + json.dumps(spec())
    )
    answer = api.post("/runs", json={"spec": text, "overrides": ["train.epochs=7"], "queue": "night", "tags": ["a"]})
    assert answer.status_code == 201
    runs = [client.run(run_id) for run_id in answer.json()["runs"]]
    assert [(run.name, run.queue, run.tags, run.epochs) for run in runs] == [
        ("two", "night", ("a",), 7),
        ("iris", "night", ("a",), 7),
    ]
    assert answer.json()["notes"][0].startswith("the runs are stored and will start")
    assert [client.run(run_id).spec["seed"] for run_id in submitted(api, grid={"seed": [4, 5]})] == [4, 5]
    assert len(submitted(api, grid=["seed=1..3", "optimizer=sgd,adam"])) == 6


def test_what_is_wrong_with_a_spec_is_told_with_its_place(api, client):
    text = "version: 1\ndata: {source: iris}\nnetwork: [dense: {unit: 4}]\n"
    found = problem(api.post("/runs", json={"spec": text}), 400)
    assert found["detail"].startswith("the spec:3:19: network[0].dense: unknown key 'unit'; did you mean 'units'?")
    (fault,) = found["faults"]
    assert (fault["line"], fault["column"], fault["path"]) == (3, 19, "network[0].dense")
    assert problem(api.post("/check", json={"spec": text}), 400)["faults"] == [fault]
    assert client.runs() == []


def test_a_run_without_a_name_is_called_after_its_data(api, client):
    nameless = {key: value for key, value in spec().items() if key != "name"}
    assert [client.run(run_id).name for run_id in submitted(api, spec=nameless)] == ["iris"]
    body = {"submission": json.dumps({"spec": TABLE.replace("name: flowers", "")})}
    (run_id,) = api.post("/runs/with-data", data=body, files=[("files", ("flowers.csv", FLOWERS))]).json()["runs"]
    assert client.run(run_id).name == "flowers"


JSON = {"Content-Type": "application/json"}
WRONG = [
    ("/runs", '{"spec": 5}', JSON, "spec: expected the text of a spec, or the same as an object, got 5"),
    ("/runs", '{"spec": "a", "grid": {"seed": 5}}', JSON, 'grid: expected keys with lists of values, {"seed": [1, 2]}, '
     'or a list of texts, ["seed=1..2"]'),
    ("/runs", '{\n "spec": [,]}', JSON, "the body is no JSON: line 2, column 11: expecting value"),
    ("/runs", '{"spec": "a"}', {"Content-Type": "application/x-www-form-urlencoded"},
     "the body was not read as JSON; send it with the header `Content-Type: application/json`"),
    ("/runs", '{"spec": "a"}', {}, "the body was not read as JSON; send it with the header "
     "`Content-Type: application/json`"),
    ("/runs", "", JSON, "the request has no body; send a JSON object, with the header "
     "`Content-Type: application/json`"),
    ("/runs", "[1]", JSON, "expected a JSON object as the body, got a list"),
    ("/runs/cancel", '{"run": [1]}', JSON, "unknown key 'run'; did you mean 'runs'? (known: runs, where, wait)"),
    ("/runs", '{"spec": "a", "origin": {"comit": "0a1b2c3d"}}', JSON, "origin: unknown key 'comit'; did you mean "
     "'commit'? (known: folder, commit, branch, dirty, trainyard, python)"),
    ("/runs/cancel?dry=1", '{"runs": [1]}', JSON, "unknown parameter 'dry'"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "headers", "sentence"), WRONG)
def test_what_is_wrong_with_a_request_is_told_in_a_sentence(api, client, path, body, headers, sentence):
    assert problem(api.post(path, content=body, headers=headers), 422)["detail"] == sentence
    assert client.runs() == []


def test_what_is_wrong_with_a_submission_in_a_form_is_told_so_too(api):
    for sent, sentence in [({"spec": 5}, "submission.spec: expected the text"), ({"sepc": "a", "spec": "a"},
        "submission: unknown key 'sepc'; did you mean 'spec'?")]:  # fmt: skip
        answer = api.post("/runs/with-data", data={"submission": json.dumps(sent)}, files=[("files", ("a.csv", b""))])
        assert problem(answer, 400)["detail"].startswith(sentence)


def test_a_spec_from_elsewhere_reads_no_file_of_this_machine(api, client, tmp_path):
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    for source in (str(tmp_path / "secret.csv"), "../secret.csv", "/etc/passwd", "~/x.csv", "iri"):
        asked = {"spec": spec(data={"source": source, "target": "b"})}
        for path in ("/runs", "/check"):
            assert "a yard reads no file of its own for others" in problem(api.post(path, json=asked), 400)["detail"]
        sent = {"submission": json.dumps(asked)}
        answer = api.post("/runs/with-data", data=sent, files=[("files", ("flowers.csv", FLOWERS))])
        assert "did not come with the spec" in problem(answer, 400)["detail"]
    assert client.runs() == []


def test_data_comes_with_a_spec_by_the_name_that_it_is_sent_with(api, client):
    body = {"submission": json.dumps({"spec": TABLE, "tags": ["sent"]})}
    answer = api.post("/runs/with-data", data=body, files=[("files", ("flowers.csv", FLOWERS, "text/csv"))])
    assert answer.status_code == 201, answer.text
    run = client.run(answer.json()["runs"][0])
    assert (run.tags, run.dataset_sha256) == (("sent",), client.datasets()[0].sha256)
    for name in ("../flowers.csv", "..", "a/b.csv"):
        answer = api.post("/runs/with-data", data=body, files=[("files", (name, FLOWERS))])
        assert "is no name of a file" in problem(answer, 400)["detail"]
    answer = api.post("/runs/with-data", data={"submission": "{"}, files=[("files", ("a.csv", b""))])
    assert problem(answer, 400)["detail"].startswith("submission: Invalid JSON")


def test_the_same_request_with_the_same_key_submits_once(api, client):
    body, key = {"spec": spec(), "tags": ["once"]}, {"Idempotency-Key": "k-1"}
    first = api.post("/runs", json=body, headers=key)
    again = api.post("/runs", json=body, headers=key)
    assert first.json() == again.json()
    assert (first.status_code, again.status_code, again.headers["Idempotent-Replayed"]) == (201, 201, "true")
    found = problem(api.post("/runs", json=body | {"priority": 3}, headers=key), 409)
    assert found["type"] == "urn:trainyard:key-taken"
    assert len(client.runs()) == 1
    wrong = {"Idempotency-Key": "k-2"}
    problem(api.post("/runs", json={"spec": {}}, headers=wrong), 400)
    assert api.post("/runs", json=body, headers=wrong).status_code == 201  # what came to nothing may be corrected
    problem(api.post("/runs", json=body, headers={"Idempotency-Key": "with blanks"}), 422)


def test_the_same_request_twice_at_once_submits_once(api, client, monkeypatch):
    body, key = {"spec": spec()}, {"Idempotency-Key": "k"}
    work, answers = submitting._submit, []

    def slow(*arguments):
        if not answers:
            answers.append(None)
            answers[0] = api.post("/runs", json=body, headers=key)
        return work(*arguments)

    monkeypatch.setattr(submitting, "_submit", slow)
    late = api.post("/runs", json=body, headers=key)
    assert (late.status_code, answers[0].status_code, late.headers["Idempotent-Replayed"]) == (201, 201, "true")
    assert late.json() == answers[0].json()
    assert len(client.runs()) == 1


@pytest.mark.parametrize("place", ["answer", "reword"])
def test_a_request_that_was_broken_off_is_sent_again_and_submits_once(api, client, monkeypatch, place):
    def broken(*arguments):
        raise SystemError("the machine is gone")

    body, key = {"spec": spec(), "grid": {"seed": [1, 2]}}, {"Idempotency-Key": "k"}
    with monkeypatch.context() as patched:
        patched.setattr(submitting.access, place, broken)
        problem(api.post("/runs", json=body, headers=key | {"Connection": "close"}), 500)
    assert len(client.runs()) == (0 if place == "answer" else 2)
    again = api.post("/runs", json=body, headers=key)
    assert (again.status_code, len(again.json()["runs"]), len(client.runs())) == (201, 2, 2)


def test_more_runs_than_one_request_may_make_and_requests_that_are_too_long(api, client, monkeypatch):
    found = problem(api.post("/runs", json={"spec": spec(), "grid": ["seed=1..10001"]}), 400)
    assert "at most 10,000" in found["detail"]
    long = json.dumps({"runs": [1], "where": "x" * 2**20})
    assert "longer" in problem(api.post("/runs/cancel", content=long, headers=JSON), 413)["detail"]
    parts = (b" " * 2**16 for _ in range(17))  # of a length that is not told
    problem(api.post("/runs/cancel", content=parts, headers=JSON), 413)
    assert client.runs() == []


JSON = {"Content-Type": "application/json"}


def test_runs_are_cancelled_paused_resumed_and_retried_each_for_itself(api):
    one, two, three = submitted(api, grid=["seed=1..3"])
    answer = api.post("/runs/pause", json={"runs": [one, two, 99]}).json()
    assert [(run["id"], run["state"]) for run in answer["runs"]] == [(one, "paused"), (two, "paused"), (99, None)]
    assert answer["runs"][2]["error"] == "there is no run 99; `trainyard runs list` shows those there are"
    assert answer["runs"][2]["type"] == "urn:trainyard:no-such-run"
    assert answer["counts"] == {"paused": 2}
    assert api.post("/runs/resume", json={"where": "state = paused and seed = 1"}).json()["counts"] == {"queued": 1}
    assert api.post("/runs/cancel", json={"where": "id > 0"}).json()["counts"] == {"cancelled": 3}
    answer = api.post("/runs/retry", json={"runs": [three, three]}).json()
    assert answer["runs"] == [{"id": three, "state": "queued", "error": None, "type": None}]
    answer = api.post("/runs/resume", json={"runs": [two]}).json()
    assert answer["runs"][0]["error"].startswith(f"run {two} is cancelled")


@pytest.mark.parametrize("body", [{}, {"runs": [1], "where": "id = 1"}])
def test_which_runs_is_said_once(api, body):
    for method, path in (("POST", "/runs/cancel"), ("PATCH", "/runs"), ("POST", "/runs/remove")):
        assert "say which runs" in problem(api.request(method, path, json=body), 400)["detail"]


def test_a_run_that_trains_is_asked_and_what_became_of_it_is_told(api, yard):
    claim = yard.claimed()
    answer = api.post("/runs/cancel", json={"runs": [claim.run_id], "wait": 0}).json()
    assert answer["runs"] == [{"id": claim.run_id, "state": "running", "error": None, "type": None}]
    assert yard.run(claim.run_id).wish == "cancel"


def test_runs_are_edited_cloned_and_removed(api, client):
    (run,) = submitted(api)
    assert api.patch("/runs", json={"runs": [run], "note": "good", "tag": ["best"]}).json() == {"runs": [run]}
    assert client.run(run).note == "good"
    [wrong] = problem(api.patch("/runs", json={"runs": [run], "note": "a\x1b[2J"}), 400)["faults"]
    assert (wrong["path"], wrong["sentence"]) == ("note", r"a note may hold no control character such as \x1b")
    assert api.patch("/runs", json={"runs": [run], "note": "good\n\tand more"}).json() == {"runs": [run]}
    (clone,) = api.post(f"/runs/{run}/clone", json={"overrides": ["train.epochs=9"]}).json()["runs"]
    assert (client.run(clone).epochs, client.run(clone).tags, client.run(clone).cloned_from) == (9, ("best",), run)
    assert problem(api.post(f"/runs/{run}/replay", json={}), 409)["detail"].startswith(f"run {run} is queued")
    assert problem(api.post("/runs/remove", json={"runs": [run]}), 409)["type"] == "urn:trainyard:not-ended"
    api.post("/runs/cancel", json={"runs": [run]})
    assert api.post("/runs/remove", json={"runs": [run], "dry_run": True}).json()["runs"] == 1
    assert api.post("/runs/remove", json={"where": "id > 0"}).json() == {"runs": 1, "points": 0, "bytes": 0, "left": 1}
    assert [found.id for found in client.runs()] == [clone]


def test_weights_are_given_up_by_a_policy(api, client, yard):
    claim = yard.claimed()
    yard.finish(claim)
    yard.set(claim.run_id, weights_id=yard.blob_id, weights_sha256="0" * 64)
    (gone,) = api.post("/runs/prune", json={"weights_after": 0}).json()["decisions"]
    assert (gone["run"], gone["what"], gone["goes"]) == (claim.run_id, "weights", True)
    assert yard.row(claim.run_id).weights_id is None
    assert "--keep-best" in problem(api.post("/runs/prune", json={"by": "val_loss"}), 400)["detail"]


def test_notifications_are_tried_out(api, client):
    assert "no notifications are set up" in problem(api.post("/notify/test"), 400)["detail"]
    client.settings = client.settings.model_copy(update={"notify_command": "false"})
    told = {"good": False, "sentence": "the command ended with code 1"}
    assert api.post("/notify/test").json() == {"command": told}


def test_a_check_tells_what_a_submit_would_make(api, client):
    report = api.post("/check", json={"spec": spec()}).json()
    assert (report["parameters"], report["train_rows"]) == (4 * 4 + 4 + 4 * 3 + 3, 105)
    assert client.runs() == []


def test_the_pool_is_changed(api, client, yard):
    register = {"name": "lab-1", "host": "lab", "pid": 7, "slots": 2, "queues": ["default"], "lease_seconds": 10.0}
    yard.do(worker_store.register, **register)
    assert api.post("/workers/lab-1/scale", json={"slots": 3}).status_code == 202
    assert yard.do(worker_store.report, "lab-1", 7, slots=2, state="ready") == (3, None)
    assert "ends" in api.post("/workers/lab-1/drain").json()["sentence"]
    assert yard.do(worker_store.report, "lab-1", 7, slots=2, state="ready") == (3, "drain")
    assert problem(api.post("/workers/lab-2/stop"), 404)["type"] == "urn:trainyard:no-such-worker"
    assert problem(api.post("/workers/lab-1/trust"), 409)["type"] == "urn:trainyard:not-set-aside"
    problem(api.post("/workers/lab-1/scale", json={"slots": 0}), 422)


def test_who_submits_over_http_is_the_token_and_no_folder_of_this_machine(api, client):
    (run,) = submitted(api)
    assert "commit" not in client.origin(run)
    secret, _ = client.create_token("ada", Role.SUBMITTER)
    api.headers["Authorization"] = f"Bearer {secret}"
    (run,) = submitted(api)
    assert {name: client.origin(run)[name] for name in ("user", "host")} == {"user": "ada", "host": "127.0.0.1"}
    api.patch("/runs", json={"runs": [run], "note": "mine"})
    assert client.edits(run)[0].who == "ada@127.0.0.1"
