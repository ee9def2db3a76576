"""`trainyard runs`: list, show, watch, why, weights; what is asked of them is in `verbs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import context, verbs
from service.cli.context import JsonOption, RunArgument
from service.cli.output import hint, print_facts, print_json, print_table, write_file
from service.display import age, headline, lasted, number, shortened, sparkline

if TYPE_CHECKING:
    from service.client import Client
    from service.store.records import RunRecord

app = typer.Typer(help="Ask about runs, and act on them.", no_args_is_help=True)


@app.command("list")
def list_runs(
    state: Annotated[list[str], typer.Option(help="Only runs in this state; may be repeated.")] = [],
    queue: Annotated[str | None, typer.Option(help="Only runs of this queue.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only runs with this tag.")] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Only runs that this expression fits, as in \"val_accuracy > 0.9 and tag = 'base'\"."),
    ] = None,
    before: Annotated[int | None, typer.Option(help="Only runs older than this number, for the next page.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    json: JsonOption = False,
) -> None:
    """List runs, the newest first. BEST is of the metric that early stopping watches, or else of the first asked for:
    on test, if the run has ended and kept rows for it, else on validation.

    Example: trainyard runs list --state running --limit 10
    """
    found = context.client().runs(states=state, queue=queue, tag=tag, before=before, limit=limit + 1, where=where)
    more, found = len(found) > limit, found[:limit]
    if json:
        print_json([run.json() for run in found])
        return
    print_table([">RUN", "NAME", "STATE", ">EPOCH", "BEST", ">TIME", "WORKER"], map(_row, found))
    if more:
        hint(f"there are more: --before {found[-1].id}, or --limit")
    if not found:
        asked = state or queue or tag or where
        hint("no run fits" if asked else "no run yet; `trainyard submit SPEC` queues one")


def _row(run: RunRecord) -> tuple[Any, ...]:
    return (
        run.id,
        shortened(run.name, 16),
        run.state,
        f"{run.epoch}/{run.epochs}",
        headline(run),
        lasted(run),
        run.worker or "-",
    )


@app.command()
def show(run: RunArgument, json: JsonOption = False) -> None:
    """Show a run: state, metrics, attempts.

    Example: trainyard runs show 1
    """
    client = context.client()
    record, attempts, history = client.run(run), client.attempts(run), client.history(run)
    if json:
        from service.store.records import jsonable

        details = {"history": jsonable(history), "attempts": [attempt.json() for attempt in attempts]}
        print_json(record.json() | details)
        return
    print(client.why(run))
    print()
    print_facts(_facts(record))
    if record.metrics:
        print()
        print_table(["METRIC", ">LAST", ">BEST", ">AT EPOCH", "CURVE"], _metric_rows(record, history))
    if attempts:
        print()
        rows = (
            (a.number, a.worker, age(a.started), a.epoch or "-", a.outcome or "running", a.reason or "")
            for a in attempts
        )
        print_table([">TRY", "WORKER", "STARTED", ">EPOCH", "OUTCOME", "~REASON"], rows)


def _facts(run: RunRecord) -> list[tuple[str, Any]]:
    facts = [
        ("name", run.name),
        ("state", run.state),
        ("queue", f"{run.queue}, priority {run.priority}"),
        ("tags", ", ".join(run.tags) or "-"),
        *([("cloned from", f"run {run.cloned_from}")] if run.cloned_from is not None else []),
        ("epochs", f"{run.epoch} of {run.epochs}"),
        ("created", age(run.created)),
        ("time", lasted(run)),
        ("dataset", run.dataset_sha256[:16]),
        ("weights", (run.weights_sha256 or "-")[:16]),
    ]
    return facts


def _metric_rows(run: RunRecord, history: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    rows = []
    for name, summary in run.metrics.items():
        curve = [epoch[name] for epoch in history if name in epoch]
        rows.append((name, number(summary.last), number(summary.best), summary.best_epoch, sparkline(curve)))
    return rows


@app.command()
def watch(run: RunArgument, json: JsonOption = False) -> None:
    """Follow a run to its end. Exit code 1 when it failed or was cancelled.

    Example: trainyard runs watch 1
    """
    follow_to_end(context.client(), run, json=json)


def follow_to_end(client: Client, run_id: int, *, json: bool) -> None:
    """Show progress on stderr, then the result on stdout; Ctrl-C stops the watching, not the run."""
    from service.cli.progress import follow

    try:
        run = follow(client, run_id)
    except KeyboardInterrupt:
        hint(f"run {run_id} goes on; follow it again with `trainyard runs watch {run_id}`")
        raise typer.Exit(130) from None
    print_json(run.json()) if json else print(client.why(run_id))
    if run.state != "completed":
        raise typer.Exit(1)


@app.command()
def why(run: RunArgument) -> None:
    """Say in one sentence why a run waits, or what ended it.

    Example: trainyard runs why 1
    """
    print(context.client().why(run))


verbs.add_commands(app)


@app.command()
def weights(
    run: RunArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.", show_default=False)],
    last: Annotated[bool, typer.Option("--last", help="The last weights instead of the best.")] = False,
) -> None:
    """Write the weights of a run as a safetensors file.

    Example: trainyard runs weights 1 -o digits.safetensors
    """
    data = context.client().weights_file(run, last=last)
    write_file(out, lambda file: file.write(data))
    hint(f"{len(data):,} bytes written to {out}")
