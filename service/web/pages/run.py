"""One run: how it learns, where it stands, what its network is, what was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import yaml

from nn.metrics import base_name
from service.client import Client
from service.client.acting import LONGEST_NOTE
from service.comparison import Points
from service.display import age, duration, judged_by, lasted, log_line, measured_by, number
from service.errors import TrainyardError
from service.inspection import Layers
from service.store.logs import left_out
from service.store.records import AttemptRecord, LogRecord, RunRecord
from service.store.tables import State
from service.web.pages.charts import Chart, Drawn, chart
from service.web.pages.curves import SoFar, whole
from service.web.pages.rows import left, moment, per_second

SPLITS = (("", "train"), ("val_", "validation"), ("test_", "test"))
PARENTS = {"cloned_from": "cloned from", "fine_tuned_from": "fine-tuned from", "replay_of": "replay of"}
STEP_POINTS = 300
LOG_LINES = 100  # the last ones; the whole log is a link away
CHARTS = 8  # metrics drawn; the table has all
KNOWN = 256  # runs of which is remembered what does not change
LOOKED_AT = 32  # training runs of which the curves are remembered, as far as they have come
ACTIONS = {
    State.QUEUED: ("cancel", "pause"),
    State.RUNNING: ("cancel", "pause"),
    State.PAUSED: ("resume", "cancel"),
    State.COMPLETED: (),
    State.FAILED: ("retry",),
    State.CANCELLED: ("retry",),
}


@dataclass(frozen=True)
class LayerBox:
    """A layer as it is drawn. `share` of all parameters, 0 to 100."""

    number: int
    kind: str
    settings: str
    shape: str
    parameters: int
    share: int


def values(client: Client, run_id: int) -> dict[str, Any]:
    run = client.run(run_id)
    attempts = client.attempts(run_id)
    pace = client.paces().get(run_id) if run.state is State.RUNNING else None
    last, measured = attempts[-1] if attempts else None, measured_by(run)
    return {
        "run": run,
        "why": client.why(run_id),
        "best": number(run.metrics[measured].best) if measured else "-",
        "measured": measured,
        "time": lasted(run),
        "rate": per_second(pace.samples_per_second if pace else _rate(last)) or "-",
        "left": left(pace) or "-",
        "actions": ACTIONS[run.state],
        "charts": _kept_charts(client, run),
        "network": network(client, run),
        "spec": _spec(client, run_id),
        "attempts": [_attempt(attempt) for attempt in reversed(attempts)],
        "log": log(client, run_id),
        "environment": flat(last.environment) if last else {},
        "origin": flat(client.origin(run_id)),
        "facts": facts(run),
        "parents": parents(client, run),
        "edits": [(age(edit.at), edit) for edit in reversed(client.edits(run_id))],
        "metrics": [(name, number(m.last), number(m.best), m.best_epoch) for name, m in run.metrics.items()],
        "longest_note": LONGEST_NOTE,
        "has_weights": run.weights_sha256 is not None,
    }


@dataclass(frozen=True)
class Logged:
    """A line as it is shown; `missing`: lines before it that have been left out."""

    line: LogRecord
    missing: int
    begins: bool  # whether it is the first one here of its attempt


def log(client: Client, run_id: int) -> dict[str, Any]:
    lines, before, found = client.log_tail(run_id, LOG_LINES), 0, []
    for missing, line in left_out(lines):
        found.append(Logged(line, missing, line.attempt != before))
        before = line.attempt
    return {"lines": found, "whole": not lines or (lines[0].attempt, lines[0].number) == (1, 1)}


def log_text(client: Client, run_id: int) -> str:
    """The whole log as text."""
    told = []
    for missing, line in left_out(client.logs(run_id)):
        told += [f"… {missing:,} lines left out\n"] if missing else []
        told.append(f"{log_line(line)}\n")
    return "".join(told)


@lru_cache(maxsize=KNOWN)
def _spec(client: Client, run_id: int) -> str:
    """The spec as text; it never changes."""
    spec = said(client.run(run_id).spec)
    return yaml.safe_dump(spec, sort_keys=False, default_flow_style=None, width=64, allow_unicode=True)


def _kept_charts(client: Client, run: RunRecord) -> list[Chart]:
    """Those that were drawn last, if there can be no point since: an epoch and its points are written together."""
    if run.state.ended:
        return _ended_charts(client, run.id, run.attempt, run.finished)
    drawn = _charts_so_far(client, run.id, run.attempt, run.epoch, run.state)
    return drawn + step_charts(client, run)


@lru_cache(maxsize=KNOWN)
def _ended_charts(client: Client, run_id: int, attempt: int, finished: datetime | None) -> list[Chart]:
    """Those of a run that has ended: they stay as they are unless it is tried once more."""
    run = client.run(run_id)
    return charts(run, whole(client, run_id)) + step_charts(client, run)


@lru_cache(maxsize=LOOKED_AT)
def _charts_so_far(client: Client, run_id: int, attempt: int, epoch: int, state: State) -> list[Chart]:
    return charts(client.run(run_id), _so_far(client, run_id, attempt).read(client, run_id))


@lru_cache(maxsize=LOOKED_AT)
def _so_far(client: Client, run_id: int, attempt: int) -> SoFar:
    """What has been read of an attempt; another one may tell epochs anew."""
    return SoFar()


def charts(run: RunRecord, curves: Mapping[str, Points]) -> list[Chart]:
    """A chart for each metric, training and validation in one; the loss and the metric that counts come first."""
    bases = list(dict.fromkeys(map(base_name, curves)))
    bases.sort(key=lambda base: ["loss", judged_by(run), base].index(base))
    found = []
    for base in bases[:CHARTS]:
        lines = [
            Drawn(split, curves[prefix + base], colour, dashed=split == "train")
            for colour, (prefix, split) in enumerate(SPLITS)
            if prefix + base in curves
        ]
        found.append(chart(base, lines, last_x=_ahead(run)))
    return [drawn for drawn in found if drawn is not None]


def _ahead(run: RunRecord) -> float | None:
    """How far the axis of a run that trains goes: it grows by doubling, so that curves are seen and seldom move."""
    if run.state is not State.RUNNING:
        return None
    far: int = 2 ** math.ceil(math.log2(max(8, 1.1 * run.epoch)))
    return min(run.epochs, far)


def step_charts(client: Client, run: RunRecord) -> list[Chart]:
    """What was logged inside of epochs, where the spec asks for it."""
    if not run.spec.get("train", {}).get("log_every"):
        return []
    points: dict[str, list[tuple[int, float]]] = {}
    for row in client.steps(run.id, points=STEP_POINTS):
        points.setdefault(row["name"], []).append((row["step"], row["value"]))
    lines = {name: [Drawn(name, tuple(found), 0)] for name, found in points.items()}
    found = [chart(f"{name} by step", drawn, x_name="step") for name, drawn in lines.items()]
    return [drawn for drawn in found if drawn is not None][:CHARTS]


def network(client: Client, run: RunRecord) -> dict[str, Any] | None:
    """The layers, as they follow from the spec; None where this version does not understand it any more."""
    try:
        found = _layers(client, run.id, run.weights_sha256)
    except TrainyardError:
        return None
    total = found.parameters or 1
    boxes = [
        LayerBox(
            layer.number, layer.kind, layer.settings, shape(layer.output_shape), layer.parameters,
            round(100 * layer.parameters / total),
        )
        for layer in found.layers
    ]  # fmt: skip
    return {"input": shape(found.input_shape), "layers": boxes, "parameters": found.parameters}


@lru_cache(maxsize=KNOWN)
def _layers(client: Client, run_id: int, weights_sha256: str | None) -> Layers:
    return client.layers(run_id)


def shape(axes: Sequence[int]) -> str:
    return " × ".join(map(str, axes))


@dataclass(frozen=True)
class Attempt:
    record: AttemptRecord
    started: str
    lasted: str
    rate: str
    epochs: str


def _attempt(attempt: AttemptRecord) -> Attempt:
    took = (attempt.finished - attempt.started).total_seconds() if attempt.finished else None
    epochs = "-" if attempt.epoch is None else f"{attempt.first_epoch or attempt.epoch} to {attempt.epoch}"
    return Attempt(attempt, moment(attempt.started), duration(took), per_second(_rate(attempt)) or "-", epochs)


def _rate(attempt: AttemptRecord | None) -> float | None:
    return attempt.samples / attempt.seconds if attempt is not None and attempt.seconds else None


def facts(run: RunRecord) -> dict[str, str]:
    found = {
        "queue": run.queue, "priority": str(run.priority), "worker": run.worker or "-",
        "queued": moment(run.created), "started": moment(run.started), "ended": moment(run.finished),
        "dataset": run.dataset_sha256[:12], "weights": (run.weights_sha256 or "-")[:12],
        "imported from": run.imported_from,
    }  # fmt: skip
    return {name: value for name, value in found.items() if value is not None}


def parents(client: Client, run: RunRecord) -> list[tuple[str, int, bool]]:
    """What the run comes from, by which way, and whether it is still there."""
    there = client.parents_there(run)
    numbers = {words: getattr(run, name) for name, words in PARENTS.items()}
    return [(words, number, number in there) for words, number in numbers.items() if number is not None]


def said(value: Any) -> Any:
    """A spec without the keys that are null, which say that there is no such thing."""
    if isinstance(value, dict):
        return {key: said(inner) for key, inner in value.items() if inner is not None}
    return [said(inner) for inner in value] if isinstance(value, list) else value


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested mappings as one, their keys joined by dots."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            found[prefix + key] = ", ".join(map(str, value))
        elif value is not None:
            found[prefix + key] = str(value)
    return found
