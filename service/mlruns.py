"""Ended runs as a folder that MLflow reads as its file store (`mlruns/`): one experiment, a folder a run.

    <experiment>/meta.yaml
    <experiment>/<run>/meta.yaml, params/, metrics/, tags/, artifacts/

A run is known by its uid, so that it is written anew and not twice when it is exported again. The layout is that of
`mlflow/store/tracking/file_store.py`. Newer MLflow reads it with MLFLOW_ALLOW_FILE_STORE=true, or moves it into its
database by `mlflow migrate-filestore`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from service.errors import InputError
from service.store import blobs, copies
from service.store.copies import Copy, Curves
from service.store.database import Database
from service.store.edits import PARENTS
from service.store.tables import State

AT_ONCE = 100  # runs in memory
LONGEST_VALUE = 6000  # characters of a parameter
STATUS = {State.COMPLETED: 3, State.FAILED: 4, State.CANCELLED: 5}  # FINISHED, FAILED, KILLED of its RunStatus
LOCAL = 4  # of its SourceType


def write(runs: Iterable[tuple[Copy, Mapping[str, bytes]]], folder: Path, experiment: str) -> None:
    """Write the runs, with their files of weights, below `folder`, which may hold others. Raises InputError where it
    cannot be written."""
    try:
        place = _experiment(folder.resolve(), experiment)
        for copy, weights in runs:
            _write_run(copy, weights, place)
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise InputError(f"{error.filename or folder} cannot be written: {what}") from None


def stored(database: Database, run_ids: Sequence[int]) -> Iterator[tuple[Copy, Mapping[str, bytes]]]:
    """These runs of a store, some at a time."""
    for start in range(0, len(run_ids), AT_ONCE):
        with database.read() as session:
            for copy in copies.read(session, run_ids[start : start + AT_ONCE]):
                ids = {"weights": copy.weights_id, "last": copy.last_weights_id}
                yield copy, {name: blobs.load(session, it) for name, it in ids.items() if it is not None}


def _experiment(folder: Path, name: str) -> Path:
    """The folder of the experiment, found by its name or made."""
    for file in sorted(folder.glob("*/meta.yaml")):
        try:
            about = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError):
            raise InputError(f"{file} is no experiment of MLflow; choose another folder") from None
        if isinstance(about, dict) and about.get("name") == name:
            return file.parent
    number = str(int(hashlib.sha256(name.encode()).hexdigest()[:14], 16))
    place = folder / number
    place.mkdir(parents=True)
    about = {
        "artifact_location": place.as_uri(), "experiment_id": number, "lifecycle_stage": "active", "name": name,
    }  # fmt: skip
    _write_yaml(place / "meta.yaml", about)
    return place


def _write_run(copy: Copy, weights: Mapping[str, bytes], place: Path) -> None:
    """Written beside its place, then put there: whoever reads meanwhile finds it whole, or not at all."""
    final, staged = place / copy.uid, place.parent / f".{copy.uid}.part"
    shutil.rmtree(staged, ignore_errors=True)
    for part in ("params", "metrics", "tags", "artifacts"):
        (staged / part).mkdir(parents=True)
    _write_yaml(staged / "meta.yaml", _about(copy, place.name, final))
    for kind, values in (("params", _params(copy)), ("tags", _tags(copy))):
        for name, value in values.items():
            (staged / kind / name).write_text(value, encoding="utf-8")
    _write_metrics(staged / "metrics", copy.metrics, _milliseconds(copy.finished or copy.created))
    _write_metrics(staged / "metrics" / "steps", copy.steps, _milliseconds(copy.finished or copy.created))
    (staged / "artifacts" / "spec.json").write_text(json.dumps(copy.submitted.spec, indent=2), encoding="utf-8")
    for name, data in weights.items():
        (staged / "artifacts" / f"{name}.safetensors").write_bytes(data)
    shutil.rmtree(final, ignore_errors=True)
    staged.rename(final)


def _about(copy: Copy, experiment: str, final: Path) -> dict[str, Any]:
    return {
        "artifact_uri": (final / "artifacts").as_uri(), "end_time": _milliseconds(copy.finished or copy.created),
        "entry_point_name": "", "experiment_id": experiment, "lifecycle_stage": "active", "run_id": copy.uid,
        "run_name": copy.submitted.name, "run_uuid": copy.uid, "source_name": "", "source_type": LOCAL,
        "source_version": "", "start_time": _milliseconds(copy.started or copy.created), "status": STATUS[copy.state],
        "tags": [], "user_id": str(copy.submitted.origin.get("user") or ""),
    }  # fmt: skip


def _params(copy: Copy) -> dict[str, str]:
    """The keys of the spec as `--set` takes them: optimizer.adam.learning_rate, network.0.dense.units."""
    found = {name: value for key, item in copy.submitted.spec.items() for name, value in _below(str(key), item)}
    return {name: value[:LONGEST_VALUE] for name, value in found.items() if _is_key(name)}


def _below(path: str, value: Any) -> Iterator[tuple[str, str]]:
    match value:
        case None:
            return
        case dict():
            for key, inner in value.items():
                yield from _below(f"{path}.{key}", inner)
        case list():
            for number, inner in enumerate(value):
                yield from _below(f"{path}.{number}", inner)
        case str():
            yield path, value
        case _:
            yield path, json.dumps(value)


def _is_key(name: str) -> bool:
    """Whether MLflow takes it for a name; one that a person has chosen in a spec, such as a column's, may not be."""
    return len(name) <= 250 and all(mark.isascii() and (mark.isalnum() or mark in "_-. ") for mark in name)


def _tags(copy: Copy) -> dict[str, str]:
    run, origin = copy.submitted, copy.submitted.origin
    found: Mapping[str, Any] = {
        "mlflow.runName": run.name, "mlflow.source.name": "trainyard", "mlflow.source.type": "LOCAL",
        "mlflow.user": origin.get("user"), "mlflow.source.git.commit": origin.get("commit"),
        "mlflow.note.content": run.note, "trainyard.run": copy.number, "trainyard.state": copy.state.value,
        "trainyard.queue": run.queue, "trainyard.tags": ", ".join(run.tags), "trainyard.worker": copy.worker,
        "trainyard.error": copy.error, "trainyard.dataset_sha256": run.dataset_sha256,
        "trainyard.weights_sha256": copy.weights_sha256, "trainyard.imported_from": copy.imported_from,
        **{f"trainyard.{name}": getattr(run, name) for name in PARENTS},
    }  # fmt: skip
    return {name: str(value) for name, value in found.items() if value not in (None, "")}


def _write_metrics(folder: Path, curves: Curves, moment: int) -> None:
    """A line a point: time, value, step. The store keeps no time of a point: each has the end of its run."""
    for name, (places, values) in curves.items():
        folder.mkdir(exist_ok=True)
        lines = (f"{moment} {value!r} {at}\n" for at, value in zip(places, values, strict=True))
        (folder / name).write_text("".join(lines))


def _write_yaml(file: Path, values: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(values), allow_unicode=True), encoding="utf-8")


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
