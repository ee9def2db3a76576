"""`trainyard runs`: watch, why, weights. The other commands of the group live beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import compare, context, edit, inside, lists, logs, moving, plot, replay, retention, show, verbs
from service.cli.context import JsonOption, RunArgument
from service.cli.edge import ignore_interrupts
from service.cli.output import hint, print_json, write_file

if TYPE_CHECKING:
    from service.client import Client

app = typer.Typer(help="Ask about runs, and act on them.", no_args_is_help=True)


lists.add_commands(app)
app.command()(show.show)


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
        ignore_interrupts()
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


app.command()(logs.logs)
app.command()(compare.compare)
app.command()(plot.plot)
app.command()(inside.inside)
verbs.add_commands(app)
app.command()(edit.edit)
app.command()(replay.replay)
retention.add_commands(app)
moving.add_commands(app)


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
