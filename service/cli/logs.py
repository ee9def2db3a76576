"""`trainyard runs logs`: what a run had to tell, attempt after attempt."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption, RunArgument
from service.cli.edge import ignore_interrupts
from service.cli.output import hint, print_json

if TYPE_CHECKING:
    from service.store.records import LogRecord, RunRecord

MOST = 2**31 - 1


def logs(
    run: RunArgument,
    attempt: Annotated[
        int | None, typer.Option("--attempt", metavar="N", min=1, max=MOST, help="Of this attempt alone.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run, or the attempt, ends.")] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", metavar="N", min=0, max=MOST, help="Only the last lines.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Print the log of a run. With --follow, --json prints an object a line.

    Example: trainyard runs logs 1 --follow
    """
    client = context.client()
    lines = client.logs(run, attempt=attempt) if tail is None else client.log_tail(run, tail, attempt=attempt)
    if json and not follow:
        print_json([line.json() for line in lines])
        return
    before = _print(lines, None, json=json)
    if not follow:
        if before is None and tail != 0:
            hint(_why_none(client.run(run)))
        return
    if before is None and tail == 0 and (last := client.log_tail(run, 1, attempt=attempt)):
        before = last[0]
    place = (0, 0) if before is None else (before.attempt, before.number)
    try:
        _print(client.follow_logs(run, attempt=attempt, after=place), before, json=json)
    except KeyboardInterrupt:
        ignore_interrupts()
        raise typer.Exit(130) from None


def _why_none(run: RunRecord) -> str:
    if run.attempt == 0:
        return f"run {run.id} is {run.state} and has no log yet; `trainyard runs why {run.id}` says more"
    return f"run {run.id} has no log yet, or an earlier version trained it; `trainyard runs why {run.id}` says more"


def _print(lines: Iterable[LogRecord], before: LogRecord | None, *, json: bool) -> LogRecord | None:
    """Print lines, and how many are missing between them; returns the last one."""
    from json import dumps

    from service.display import log_line
    from service.store.logs import left_out

    for missing, line in left_out(lines, before):
        if json:
            print(dumps(line.json()), flush=True)
        else:
            if missing:
                print(f"… {missing:,} lines left out")
            print(log_line(line), flush=True)
        before = line
    return before
