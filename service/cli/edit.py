"""`trainyard runs edit`: name, note, tags and parents, changed afterwards."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import context
from service.cli.output import hint
from service.cli.verbs import SomeRuns, WhereOption, check_which


def edit(
    runs: SomeRuns = None,
    where: WhereOption = None,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    note: Annotated[
        str | None, typer.Option(help="A note in place of the one there is; an empty one removes it.")
    ] = None,
    tag: Annotated[list[str], typer.Option(help="A tag to add; may be repeated.")] = [],
    untag: Annotated[list[str], typer.Option(help="A tag to take away; may be repeated.")] = [],
    parent: Annotated[
        list[str],
        typer.Option(
            metavar="KIND=RUN",
            help="What it came from: cloned_from, fine_tuned_from or replay_of, and a run's number or none.",
        ),
    ] = [],
) -> None:
    """Change what people have noted of runs. Who changed what, and when, is kept: `runs show`.

    Example: trainyard runs edit 3 --note "the labels were shuffled" --tag suspect
    """
    check_which(runs, where)
    parents = dict(map(_parent, parent))
    client = context.client()
    changed = client.edit(where or runs or [], name=name, note=note, tag=tag, untag=untag, parents=parents)
    if changed:
        print(f"{len(changed):,} {'run' if len(changed) == 1 else 'runs'} changed")
    else:
        none = where is not None and not client.runs(where, limit=1)
        hint(f"nothing changed: {'no run fits' if none else 'it is so already'}")


def _parent(text: str) -> tuple[str, int | None]:
    from service.errors import InputError

    kind, _, number = (part.strip() for part in text.partition("="))
    if number != "none" and not (number.isdecimal() and 0 < int(number) <= context.MOST_RUNS):
        raise InputError(f"--parent {text}: write KIND=RUN, with the number of a run or none, as in cloned_from=3")
    return kind, None if number == "none" else int(number)
