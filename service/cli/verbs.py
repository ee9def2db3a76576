"""`trainyard runs cancel`, `pause`, `resume`, `retry`, `clone`: what a person asks of runs, by number or by fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption, RunArgument, SetOption
from service.cli.output import hint, print_json

if TYPE_CHECKING:
    from service.store.records import RunRecord
    from service.store.tables import State

SomeRuns = Annotated[list[int] | None, typer.Argument(metavar="RUN…", min=0, max=context.MOST_RUNS, show_default=False)]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="All runs that fit, such as \"state = queued and tag = 'try'\"."),
]


def add_commands(app: typer.Typer) -> None:
    for command in (cancel, pause, resume, retry, clone):
        app.command()(command)


def cancel(runs: SomeRuns = None, where: WhereOption = None) -> None:
    """Cancel runs, waiting or training; a run that trains keeps its weights and its checkpoint.

    Example: trainyard runs cancel --where "state = queued and tag = 'try'"
    """
    client = context.client()
    _ask(runs, where, client.cancel, client.cancel_all)


def pause(runs: SomeRuns = None, where: WhereOption = None) -> None:
    """Put runs to rest until they are resumed; one that trains saves its work and gives its slot to others.

    Example: trainyard runs pause 2 3
    """
    client = context.client()
    _ask(runs, where, client.pause, client.pause_all)


def resume(runs: SomeRuns = None, where: WhereOption = None) -> None:
    """Queue paused runs again; they go on from where they were.

    Example: trainyard runs resume 2 3
    """
    client = context.client()
    _ask(runs, where, client.resume, client.resume_all)


def retry(runs: SomeRuns = None, where: WhereOption = None) -> None:
    """Queue failed or cancelled runs again; they go on from their last checkpoints.

    Example: trainyard runs retry 3
    """
    client = context.client()
    _ask(runs, where, client.retry, client.retry_all)


def _ask(
    runs: list[int] | None,
    where: str | None,
    one: Callable[[int], RunRecord],
    all_that_fit: Callable[[str], dict[int, State]],
) -> None:
    check_which(runs, where)
    if where is None:
        for run in runs or ():
            print(f"run {run} is {one(run).state}")
        return
    states = Counter(all_that_fit(where).values())
    if not states:
        hint("no run fits and is in a state for it; `trainyard runs list --where` shows those that fit")
    for state, number in states.items():
        print(f"{number:,} {'run is' if number == 1 else 'runs are'} {state}")


def check_which(runs: list[int] | None, where: str | None) -> None:
    from service.errors import InputError

    if bool(runs) == (where is not None):
        raise InputError("say which runs: their numbers, or --where with an expression, not both")


def clone(
    run: RunArgument,
    set: SetOption = [],
    queue: Annotated[str | None, typer.Option(help="Another queue than the run's.")] = None,
    priority: Annotated[int | None, typer.Option(help="Another priority; higher goes first.")] = None,
    tag: Annotated[list[str], typer.Option(help="Other tags than the run's; may be repeated.")] = [],
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    json: JsonOption = False,
) -> None:
    """Submit a run's spec once more, with keys changed, on the rows it was submitted with. Prints the new number.

    Example: trainyard runs clone 1 --set optimizer.adam.learning_rate=0.0005 --watch
    """
    from service.cli.runs import follow_to_end

    client = context.client()
    made = client.clone(run, overrides=set, queue=queue, priority=priority, tags=tag or None)
    if watch:
        hint(f"run {made.id}: {made.name}, cloned from run {run}")
        follow_to_end(client, made.id, json=json)
    else:
        print_json(made.json()) if json else print(made.id)
