"""The command `trainyard top`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import print_json

if TYPE_CHECKING:
    from service.client import Client

PAGE = 100  # columns, where there is no terminal, and COLUMNS does not say


def top(
    interval: Annotated[float, typer.Option(min=0.1, max=3600, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print it once, as without a terminal.")] = False,
    json: JsonOption = False,
) -> None:
    """Watch the yard on one screen: slots, queues, what trains, what ended; q quits, ? explains the keys.

    Example: trainyard top
    """
    client = context.client()
    if json:
        glance = client.glance()
        waiting = {name: {"waiting": number, "oldest_seconds": age} for name, (number, age) in glance.queues.items()}
        print_json(glance.json() | {"queues": waiting})
        return
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        _print(client)
        return
    from service.cli.top.screen import show

    client.notify = lambda sentence: None  # it would be written across the screen
    show(client, interval)


def _print(client: Client) -> None:
    """All there is to see, as wide as the terminal, or a page. Raises what the store raises."""
    from service.cli.output import console
    from service.cli.top.look import yard_of
    from service.cli.top.view import Scene, lines

    target = console()
    width = target.width if target.is_terminal or "COLUMNS" in os.environ else PAGE
    for line in lines(Scene(yard_of(client), client.glance()), width):
        line.rstrip()
        target.print(line)
