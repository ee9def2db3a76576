"""What every command shares: the settings from its flags, and the client made from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.output import hint

if TYPE_CHECKING:
    from service.client import Client
    from service.settings import Settings

flags: dict[str, Any] = {}
_clients: list[Client] = []

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
MOST_RUNS = 2**31 - 1
RunArgument = Annotated[
    int, typer.Argument(metavar="RUN", min=0, max=MOST_RUNS, help="The run's number.", show_default=False)
]
SpecArgument = Annotated[Path, typer.Argument(metavar="SPEC", help="The job file, YAML or JSON.", show_default=False)]
SpecsArgument = Annotated[
    list[Path], typer.Argument(metavar="SPEC...", help="The job files, YAML or JSON.", show_default=False)
]
SetOption = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the spec, such as train.epochs=5.")
]

GridOption = Annotated[
    list[str],
    typer.Option(
        "--grid",
        metavar="KEY=V,V",
        help="A run for each value of a key, such as seed=1..100; of several grids, for each combination.",
    ),
]


def settings() -> Settings:
    """Of a yard on this machine. Raises InputError where TRAINYARD_URL names one elsewhere."""
    from service.errors import InputError
    from service.settings import load_settings

    here = load_settings(**flags)
    if here.url:
        raise InputError(
            f"this works with a yard's own machine, database and broker, and TRAINYARD_URL names the yard at "
            f"{here.url}; do it there, or without TRAINYARD_URL"
        )
    return here


def client() -> Client:
    """Closed at the end of the command."""
    from service.client import Client

    made = Client(notify=hint, **flags)
    _clients.append(made)
    return made


def close() -> None:
    """Close what the command has opened: Python is not asked to find it at its end."""
    while _clients:
        _clients.pop().close()
