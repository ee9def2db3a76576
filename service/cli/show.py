"""`trainyard runs show`: all there is to say of one run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import context
from service.cli.context import JsonOption, RunArgument
from service.cli.output import print_facts, print_json, print_table
from service.display import age, lasted, number, sparkline

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.store.records import AttemptRecord, EditRecord, RunRecord

STEP_POINTS = 1000  # of each metric, for programs that plot
STEP_CURVE = 30  # the same, as wide as a curve may be in a terminal


def show(
    run: RunArgument,
    steps: Annotated[
        bool, typer.Option("--steps", help=f"With --json: points of steps too, at most {STEP_POINTS:,} a metric.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show a run: state, metrics, attempts, what it was trained on.

    Example: trainyard runs show 1
    """
    client = context.client()
    record, attempts, history, edits = client.run(run), client.attempts(run), client.history(run), client.edits(run)
    origin = client.origin(run)
    if json:
        from service.store.records import jsonable

        details = {
            "origin": origin,
            "history": jsonable(history),
            "attempts": [attempt.json() for attempt in attempts],
            "edits": [edit.json() for edit in edits],
        }
        if steps:
            details["steps"] = jsonable(client.steps(run, points=STEP_POINTS))
        print_json(record.json() | details)
        return
    print(client.why(run))
    print()
    print_facts(_facts(record, origin, client.parents_there(record)))
    if record.metrics:
        print()
        print_table(["METRIC", ">LAST", ">BEST", ">AT EPOCH", "CURVE"], _metric_rows(record, history))
    if points := client.steps(run, points=STEP_CURVE):
        print()
        print_table(["BY STEP", ">LAST", ">LEAST", ">MOST", "CURVE"], _step_rows(points))
    if attempts:
        print()
        rows = (
            (a.number, a.worker, age(a.started), a.epoch or "-", a.outcome or "running", a.reason or "")
            for a in attempts
        )
        print_table([">TRY", "<WORKER", "STARTED", ">EPOCH", "OUTCOME", "~REASON"], rows)
        print_environments(attempts)
    if edits:
        _show_edits(edits)


def print_environments(attempts: list[AttemptRecord]) -> None:
    """Where the last attempt trained, and what was different from one attempt to the next."""
    from service.environments import changes, facts

    environments = [attempt.environment for attempt in attempts]
    if found := facts(environments[-1]):
        print()
        print_facts(found)
    for place, changed in changes(environments):
        print(f"try {attempts[place - 1].number} ran elsewhere: {'; '.join(changed)}")


def _show_edits(edits: list[EditRecord]) -> None:
    print()
    rows = ((age(edit.at), edit.who, edit.what, edit.before or "-", edit.after or "-") for edit in edits)
    print_table(["EDITED", "<BY", "WHAT", "~FROM", "~TO"], rows)


def _facts(run: RunRecord, origin: dict[str, Any], there: set[int]) -> list[tuple[str, Any]]:
    from service.origin import sentence

    facts = [
        ("name", run.name),
        ("state", run.state),
        ("queue", f"{run.queue}, priority {run.priority}"),
        ("tags", ", ".join(run.tags) or "-"),
        *([("note", run.note)] if run.note else []),
        *_parents(run, there),
        *([("imported", f"from {run.imported_from}")] if run.imported_from else []),
        ("epochs", f"{run.epoch} of {run.epochs}"),
        ("created", age(run.created)),
        *([("submitted", submitter)] if (submitter := sentence(origin)) else []),
        ("time", lasted(run)),
        *_outline(run.spec),
        ("dataset", run.dataset_sha256[:16]),
        ("weights", (run.weights_sha256 or "-")[:16]),
    ]
    return facts


def _outline(spec: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is trained, and how, in two lines; `--json` has every key."""
    network, train = spec.get("network", ()), spec.get("train", {})
    ((optimizer, settings),) = spec.get("optimizer", {"": {}}).items()
    rate, schedule = settings.get("learning_rate"), next(iter(spec.get("schedule") or ["constant"]))
    words = [
        optimizer,
        "" if rate is None else f"learning_rate {number(rate)}{'' if schedule == 'constant' else f' ({schedule})'}",
        f"batches of {train['batch_size']}" if "batch_size" in train else "",
        f"seed {spec['seed']}" if "seed" in spec else "",
    ]
    lines = {"network": ", ".join(map(_layer, network)), "optimizer": ", ".join(filter(None, words))}
    return [(name, line) for name, line in lines.items() if line]


def _layer(layer: str | Mapping[str, Any]) -> str:
    """A layer in a word or three: dense 16 relu."""
    if isinstance(layer, str):
        return layer
    ((kind, settings),) = layer.items()
    told = [settings[key] for key in ("units", "rate", "activation") if settings and settings.get(key) is not None]
    return " ".join(map(str, (kind, *(value for value in told if value != "linear"))))


def _parents(run: RunRecord, there: set[int]) -> list[tuple[str, str]]:
    """The runs that it comes from; `there`: those of them that have not been removed."""
    parents = {
        "cloned from": run.cloned_from, "fine-tuned": run.fine_tuned_from, "replay of": run.replay_of
    }  # fmt: skip
    return [
        (word, f"run {parent}" + ("" if parent in there else " (removed)"))
        for word, parent in parents.items()
        if parent is not None
    ]


def _metric_rows(run: RunRecord, history: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    rows = []
    for name, summary in run.metrics.items():
        curve = [epoch[name] for epoch in history if name in epoch]
        rows.append((name, number(summary.last), number(summary.best), summary.best_epoch, sparkline(curve)))
    return rows


def _step_rows(points: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    curves: dict[str, list[float]] = {}
    for point in points:
        curves.setdefault(point["name"], []).append(point["value"])
    return [
        (name, *map(number, (curve[-1], min(curve), max(curve))), sparkline(curve, STEP_CURVE))
        for name, curve in curves.items()
    ]
