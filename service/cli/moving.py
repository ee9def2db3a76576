"""`trainyard runs export`, `import`: runs from one yard to another, or to MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import hint, print_json
from service.cli.verbs import SomeRuns


def add_commands(app: typer.Typer) -> None:
    app.command("export")(export_runs)
    app.command("import")(import_runs)


def export_runs(
    runs: SomeRuns = None,
    where: Annotated[
        str | None, typer.Option(metavar="EXPR", help="All runs that fit and have ended, such as \"tag = 'paper'\".")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="The file to write.")] = None,
    without_data: Annotated[
        bool, typer.Option("--without-data", help="Leave out the datasets, for a yard that has them.")
    ] = False,
    mlflow: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a folder that MLflow reads, in place of a file.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="The experiment of MLflow they belong to; trainyard unless told.")
    ] = None,
) -> None:
    """Write ended runs into one file, with their metrics, weights and data, for another yard; or for MLflow.

    Example: trainyard runs export 1 -o digits.zip
    """
    from service.errors import InputError

    if bool(runs) == (where is not None):
        raise InputError("say which runs: their numbers, or --where with an expression, not both")
    if (out is None) == (mlflow is None):
        raise InputError("say where to: -o with a file for another yard, or --mlflow with a folder")
    if mlflow is None and experiment is not None:
        raise InputError("--experiment belongs to --mlflow: a file for another yard has none")
    client = context.client()
    numbers = list(dict.fromkeys(runs or ())) if where is None else client.ended(where)
    if not numbers:
        raise InputError("no run that fits has ended; `trainyard runs list --where` shows those that fit")
    if out is not None:
        client.export_runs(out, numbers, with_data=not without_data)
    elif mlflow is not None:
        client.export_mlflow(mlflow, numbers, experiment=experiment or "trainyard")
    hint(f"{len(numbers):,} {'run' if len(numbers) == 1 else 'runs'} written to {out or mlflow}")


def import_runs(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Exported files.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """Add the runs of exported files under new numbers; one that is here already stays as it is.

    Example: trainyard runs import digits.zip
    """
    client = context.client()
    found = [run for file in files for run in client.import_runs(file)]
    if json:
        print_json([run.json() for run in found])
        return
    for run in found:
        print(f"run {run.run}: {run.name}, was {run.imported_from}" if run.new else f"run {run.run} is here already")
