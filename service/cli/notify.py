"""`trainyard notify`: others are told when runs end."""

from __future__ import annotations

import typer

from service.cli import context
from service.cli.output import print_table

app = typer.Typer(no_args_is_help=True)


@app.callback()
def notify() -> None:  # without it the only command of the group would be the group
    """Tell others when runs end."""


@app.command()
def test() -> None:
    """Send an example to the address and the command that are set up here, and say what came back.

    Example: trainyard notify test
    """
    answers = context.client().notify_test()
    rows = ((subscriber, "ok" if answer.good else "wrong", answer.sentence) for subscriber, answer in answers.items())
    print_table(["<TO", "", "~ANSWER"], rows)
    if not all(answer.good for answer in answers.values()):
        raise typer.Exit(1)
