"""The yard on this machine: up, down, status, doctor, demo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import hint, print_facts, print_json, print_table
from service.display import duration, size

if TYPE_CHECKING:
    from service.store.space import Space
    from service.yard import YardState

WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, max=512, help="Training processes (slots) in the pool; 0: no worker here.")
]
PortOption = Annotated[int | None, typer.Option(min=0, max=65535, help="Port of the page; 0: any free one.")]


def add_commands(app: typer.Typer) -> None:
    for command in (demo, up, down, status, doctor):
        app.command()(command)


def demo() -> None:
    """Start a yard, train a network on handwritten digits, show the result, end the yard.

    Example: trainyard demo
    """
    from service.cli.demo import demo

    context.settings()
    demo(context.client())


def up(
    workers: WorkersOption = 2,
    port: PortOption = None,
    host: Annotated[str | None, typer.Option(help="Address of the page.")] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
) -> None:
    """Start the yard on this machine: broker, pool and web page. Ctrl-C saves all runs and ends it; a second one ends
    it at once, and runs go on from their last checkpoints.

    Example: trainyard up --workers 2 --detach
    """
    from service.yard import Yard, running, start

    context.flags.update(port=port, host=host)
    settings = context.settings()
    if not detach:
        Yard(settings, workers).run(_announce)
        return
    if (found := running(settings)) is not None:
        from service.yard import YardRunning

        raise YardRunning(found.pid)
    flags = ["--workers", str(workers), "--port", str(settings.port), "--host", settings.host]
    _, state = start(settings, *flags, detached=True)
    _announce(state)


def _announce(state: YardState) -> None:
    print(f"the yard is up: {state.web_url} (process {state.pid})", flush=True)
    hint("next: trainyard submit SPEC --watch · trainyard runs list · trainyard down")


def down() -> None:
    """End the yard of this home; what trains is saved and goes on with the next `up`.

    Example: trainyard down
    """
    from service.errors import TrainyardError
    from service.yard import end, running

    settings = context.settings()
    state = running(settings)
    if state is None:
        print("no yard runs in this home")
    elif end(settings, state.pid):
        print("the yard is down; what was training is saved")
    else:
        raise TrainyardError(f"process {state.pid} has not ended yet; see {settings.home / 'logs'}")


def status(json: JsonOption = False) -> None:
    """Show the yard: where it is, what waits, what trains.

    Example: trainyard status
    """
    client = context.client()
    workers = [worker for worker in client.workers() if worker.state != "stopped"]
    served = {queue for worker in workers for queue in worker.queues}
    waiting = {**dict.fromkeys(sorted({"default", *served}), (0, 0.0)), **client.waiting()}
    facts = client.places()
    space, undelivered = client.space(), client.undelivered()
    if json:
        queues = {name: {"waiting": number, "oldest_seconds": wait} for name, (number, wait) in waiting.items()}
        pool = [worker.json() for worker in workers]
        told = {u.subscriber: {"waiting": u.waiting, "given_up": u.given_up} for u in undelivered}
        print_json({**facts, "workers": pool, "queues": queues, "notifications": told, "space": space.json()})
        return
    print_facts((name.replace("_", " "), value or "-") for name, value in facts.items())
    print()
    counts = client.counts()
    print("runs: " + (", ".join(f"{number} {name}" for name, number in counts.items() if number) or "none"))
    for name, (number, wait) in waiting.items():
        oldest = f", the oldest for {duration(wait)}" if number else ""
        print(f"queue {name}: {number} waiting{oldest}")
    for worker in workers:
        print(f"worker {worker.name}: {worker.state}, {worker.busy} of {worker.slots} slots busy")
    for subscriber in undelivered:
        print(subscriber.sentence)
    print()
    _show_space(space)


def _show_space(space: Space) -> None:
    """What the history takes, and what could go."""
    runs = f"{space.runs:,} {'run' if space.runs == 1 else 'runs'}"
    names = ("metrics", "logs", "weights", "checkpoints", "datasets", "rest", "free")
    parts = {name: getattr(space, name) for name in names}
    facts = [(f"  {name}", size(number)) for name, number in parts.items() if number]
    print_facts([("space", f"{size(space.database)} for {runs}"), *facts])
    if space.prunable:
        hint(f"`trainyard runs prune --checkpoints-after 0s` could free {size(space.prunable)} now")


def doctor() -> None:
    """Look for what could go wrong on this machine, and say what to do.

    Example: trainyard doctor
    """
    from service.doctor import examine

    findings = examine(context.client())
    print_table(["", "WHAT", "~FINDING"], ((f.verdict, f.what, f.sentence) for f in findings))
    if any(finding.verdict == "wrong" for finding in findings):
        raise typer.Exit(1)
