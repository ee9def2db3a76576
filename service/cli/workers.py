"""`trainyard workers`: list, start, scale, drain, stop, trust."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import hint, print_json, print_table
from service.display import duration

if TYPE_CHECKING:
    from service.store.records import WorkerRecord

app = typer.Typer(help="See and change the pool.", no_args_is_help=True)

WorkerArgument = Annotated[str, typer.Argument(metavar="WORKER", help="The worker's name.", show_default=False)]


@app.command("list")
def list_workers(
    all: Annotated[bool, typer.Option("--all", help="Those that have stopped, too.")] = False,
    json: JsonOption = False,
) -> None:
    """List workers: slots, what they serve, when they were last heard of.

    Example: trainyard workers list
    """
    known = [worker for worker in context.client().workers() if all or worker.state != "stopped"]
    if json:
        print_json([worker.json() for worker in known])
        return
    rows = (
        (w.name, w.host, _state(w), f"{w.busy}/{w.slots}", ",".join(w.queues), f"{duration(w.silent_seconds)} ago")
        for w in known
    )
    print_table(["WORKER", "<HOST", "STATE", ">BUSY", "<QUEUES", ">SEEN"], rows)
    for worker in known:
        if worker.set_aside is not None:
            print(f"\n{worker.name} is set aside: {worker.set_aside}")
            hint(f"`trainyard workers trust {worker.name}` takes it back")
    if not known:
        hint("no worker; `trainyard up` starts a yard with one, `trainyard workers start` adds one")


def _state(worker: WorkerRecord) -> str:
    return "set aside" if worker.set_aside is not None and worker.live else worker.state


@app.command()
def start(
    slots: Annotated[int, typer.Option(min=1, max=512, help="Runs it trains at the same time.")] = 1,
    queues: Annotated[str, typer.Option(help="The queues it serves, with commas.")] = "default",
    name: Annotated[str | None, typer.Option(help="Its name; the host's without.")] = None,
    metrics_host: Annotated[str, typer.Option(help="Address its metrics are served at.")] = "127.0.0.1",
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
) -> None:
    """Start a worker here and stay in front; Ctrl-C saves its runs, hands them over and ends. A second one ends it at
    once, and its runs go on from their last checkpoints.

    Example: trainyard workers start --slots 4 --queues default,urgent
    """
    settings = context.settings()
    environment = os.environ | {
        "TRAINYARD_HOME": str(settings.home),
        "TRAINYARD_DATABASE_URL": settings.database_url,
        "TRAINYARD_BROKER_URL": settings.broker_url,
    }
    command = [
        sys.executable, "-m", "workers", "--slots", str(slots), "--queues", queues,
        "--metrics-host", metrics_host, "--metrics-port", str(metrics_port),
    ]  # fmt: skip
    os.execvpe(sys.executable, command + (["--name", name] if name else []), environment)


@app.command()
def scale(
    worker: WorkerArgument,
    slots: Annotated[int, typer.Argument(min=1, max=512, help="How many slots it shall have.", show_default=False)],
) -> None:
    """Change a worker's number of slots while runs train; a busy slot ends its run first.

    Example: trainyard workers scale lab-7 4
    """
    context.client().scale(worker, slots)
    wanted = "1 slot" if slots == 1 else f"{slots} slots"
    print(f"worker {worker} was asked for {wanted}; `trainyard workers list` shows when it has them")


@app.command()
def drain(
    worker: WorkerArgument,
    hand_over: Annotated[
        bool, typer.Option("--hand-over", help="Save what it trains and hand it over, as `stop` does.")
    ] = False,
) -> None:
    """Let a worker finish what it trains, take nothing new, and end.

    Example: trainyard workers drain lab-7
    """
    if hand_over:
        stop(worker)
        return
    context.client().drain(worker)
    print(f"worker {worker} finishes what it trains and ends")


@app.command()
def stop(worker: WorkerArgument) -> None:
    """Let a worker save what it trains, hand it over to other workers, and end.

    Example: trainyard workers stop lab-7
    """
    context.client().stop(worker)
    print(f"worker {worker} saves what it trains, hands it over and ends")


@app.command()
def trust(worker: WorkerArgument) -> None:
    """Give runs again to a worker that was set aside for losing runs that others completed.

    Example: trainyard workers trust lab-7
    """
    context.client().trust(worker)
    print(f"worker {worker} gets runs again; what it lost so far no longer counts")
