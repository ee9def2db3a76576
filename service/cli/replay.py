"""`trainyard runs replay`: train a run again and say whether it ends with the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import MOST_RUNS, JsonOption, RunArgument
from service.cli.output import hint, print_json, print_table

if TYPE_CHECKING:
    from service.client import Client
    from service.replaying import Replay


def replay(
    run: RunArgument,
    against: Annotated[
        int | None,
        typer.Option(metavar="RUN", min=0, max=MOST_RUNS, help="Compare with this run, instead of training again."),
    ] = None,
    queue: Annotated[str | None, typer.Option(help="Another queue than the run's, for other machines.")] = None,
    watch: Annotated[bool, typer.Option("--watch/--no-watch", help="Follow it to its end, and compare then.")] = True,
    json: JsonOption = False,
) -> None:
    """Train a completed run again, from the same spec on the same rows, and say whether it ends with the same weights,
    byte for byte; else, at which epoch the two first differ. Exit code 1 when they are not the same.

    With --no-watch it prints the new run's number; --against that number compares later.

    Example: trainyard runs replay 1
    """
    client = context.client()
    if against is None:
        against = client.replay(run, queue=queue).id
        if not watch:
            print_json(client.run(against).json()) if json else print(against)
            return
        hint(f"run {against}: replay of run {run}")
    if not client.run(against).state.ended:
        _follow(client, run, against)
    found = client.compare_replay(run, against)
    print_json(found.json()) if json else _print(client, found)
    if not found.same:
        raise typer.Exit(1)


def _follow(client: Client, run: int, replay: int) -> None:
    from service.cli.progress import follow

    try:
        follow(client, replay)
    except KeyboardInterrupt:
        hint(f"run {replay} goes on; compare later with `trainyard runs replay {run} --against {replay}`")
        raise typer.Exit(130) from None


def _print(client: Client, found: Replay) -> None:
    if found.same:
        print(f"run {found.replay} ended with the same weights as run {found.run}: {found.weights_sha256[0]}")
    elif found.state != "completed":
        print(client.why(found.replay))
    else:
        print(f"run {found.replay} ended with other weights than run {found.run}")
    if (first := found.difference) is not None:
        print(f"they first differ at epoch {first.epoch}:")
        rows = ((name, *map(_exactly, values)) for name, values in first.metrics.items())
        print_table(["METRIC", f">RUN {found.run}", f">RUN {found.replay}"], rows)
    elif not found.same:
        print("their metrics are the same to the last bit, as far as both go")
    if found.step is not None:
        print(f"the first step that differs is {found.step:,}")
    if not found.same:
        environment = "; ".join(found.environment)
        print(f"what differs of the machines: {environment or 'nothing that is recorded and decides the bytes'}")


def _exactly(value: float | None) -> str:
    """All digits: a difference is often in the last ones."""
    return "-" if value is None else repr(value)
