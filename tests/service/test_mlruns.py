"""What MLflow is given: the layout of its file store, and what MLflow itself reads from it, where it is installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from service import Client, InputError, Settings
from service.weights import unpack
from tests.yard import settled

READ = """
import json, sys
from mlflow.tracking import MlflowClient

client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name("trainyard")
found = client.search_runs([experiment.experiment_id], "params.`train.epochs` = '3'", order_by=["metrics.loss DESC"])
print(json.dumps([
    {
        "name": run.info.run_name, "status": run.info.status, "took": run.info.end_time - run.info.start_time,
        "params": run.data.params, "last": run.data.metrics, "tags": run.data.tags,
        "curves": {
            name: [[point.step, point.value] for point in client.get_metric_history(run.info.run_id, name)]
            for name in run.data.metrics
        },
        "artifacts": sorted(file.path for file in client.list_artifacts(run.info.run_id)),
    }
    for run in found
]))
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    home = tmp_path_factory.mktemp("home")
    with settled() as there:
        shutil.copy(there.home / "trainyard.db", home)
    client = Client(Settings(home=home, database_url="", broker_url=""))
    with client.database.write() as session:
        session.execute(text("INSERT INTO step_metrics VALUES (1, 'late', 10, 0.5), (1, 'late', 20, NULL)"))
        session.execute(text("UPDATE runs SET note = 'a note ☀' WHERE id = 1"))
    yield client
    client.database.dispose()


@pytest.fixture
def folder(client: Client, tmp_path: Path) -> Path:
    client.export_mlflow(tmp_path / "mlruns", [1, 2, 3])
    return tmp_path / "mlruns"


def runs(folder: Path, experiment: str = "trainyard") -> dict[str, Path]:
    """The folders of an experiment's runs by their state."""
    (place,) = (file.parent for file in folder.glob("*/meta.yaml") if about(file.parent)["name"] == experiment)
    return {(run / "tags" / "trainyard.state").read_text(): run for run in place.iterdir() if run.is_dir()}


def about(place: Path) -> Any:
    return yaml.safe_load((place / "meta.yaml").read_text())


def test_a_run_is_laid_out_as_in_the_file_store(client, folder):
    found = runs(folder)
    assert {state: about(place)["status"] for state, place in found.items()} == {
        "completed": 3,
        "failed": 4,
        "cancelled": 5,
    }
    run, place = client.run(1), found["completed"]
    told = about(place)
    assert told["run_id"] == told["run_uuid"] == place.name
    assert told["experiment_id"] == place.parent.name == about(place.parent)["experiment_id"]
    assert (told["run_name"], about(place.parent)["name"]) == ("flowers", "trainyard")
    assert told["start_time"] == int(run.started.timestamp() * 1000)
    assert told["end_time"] == int(run.finished.timestamp() * 1000)
    lines = [line.split() for line in (place / "metrics" / "loss").read_text().splitlines()]
    assert [(int(step), float(value)) for _, value, step in lines] == [
        (row["epoch"], row["loss"]) for row in client.history(1)
    ]
    assert {int(moment) for moment, *_ in lines} == {told["end_time"]}
    assert [line.split()[1:] for line in (place / "metrics" / "steps" / "late").read_text().splitlines()] == [
        ["0.5", "10"],
        ["nan", "20"],
    ]
    assert (place / "params" / "optimizer.adam.learning_rate").read_text() == "0.001"
    assert (place / "params" / "network.0.dense.units").read_text() == str(run.spec["network"][0]["dense"]["units"])
    assert (place / "tags" / "mlflow.note.content").read_text() == "a note ☀"
    assert json.loads((place / "artifacts" / "spec.json").read_text()) == run.spec
    weights = unpack((place / "artifacts" / "weights.safetensors").read_bytes())
    assert weights.spec.document()["network"] == run.spec["network"]


def test_exporting_again_writes_runs_anew_and_leaves_the_others(client, folder):
    before = runs(folder)
    extra = before["completed"] / "tags" / "mine"
    extra.write_text("1")
    client.export_mlflow(folder, [1])
    client.export_mlflow(folder, [2], experiment="other")
    assert not extra.exists()
    assert runs(folder) == before
    assert list(runs(folder, "other")) == ["failed"]
    assert not list(folder.glob(".*"))


def test_a_folder_that_cannot_be_written_is_told_so(client, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        client.export_mlflow(tmp_path / "file" / "mlruns", [1])
    (tmp_path / "other" / "0").mkdir(parents=True)
    (tmp_path / "other" / "0" / "meta.yaml").write_text("{")
    with pytest.raises(InputError, match="is no experiment of MLflow; choose another folder"):
        client.export_mlflow(tmp_path / "other", [1])


@pytest.mark.skipif(find_spec("mlflow") is None, reason="MLflow is not installed; any of 2 and 3 will do, also skinny")
def test_mlflow_itself_reads_it(client, folder):
    done = subprocess.run(
        [sys.executable, "-c", READ, folder.as_uri()], env=os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (found,) = json.loads(done.stdout)
    run = client.run(1)
    assert (found["name"], found["status"], found["artifacts"]) == (
        "flowers",
        "FINISHED",
        ["last.safetensors", "spec.json", "weights.safetensors"],
    )
    assert found["curves"]["val_loss"] == [[row["epoch"], row["val_loss"]] for row in client.history(1)]
    assert found["curves"]["steps/late"][0] == [10, 0.5]
    assert {name: value for name, value in found["last"].items() if "/" not in name} == {
        name: summary.last for name, summary in run.metrics.items()
    }
    assert found["params"]["data.source"] == run.spec["data"]["source"]
    assert found["tags"]["mlflow.note.content"] == "a note ☀"
    assert found["tags"]["trainyard.weights_sha256"] == run.weights_sha256
