"""`trainyard`: the commands that stand alone; the groups live beside this file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from service.cli import context, db, evaluate, lr_find, notify, runs, tokens, workers, yard
from service.cli.context import GridOption, JsonOption, RunArgument, SetOption, SpecArgument, SpecsArgument
from service.cli.edge import fail, translated
from service.cli.output import hint, print_facts, print_json, print_table, write_file
from service.cli.top.command import top
from service.cli.usage import UsageError, told
from service.display import memory_here, size

if TYPE_CHECKING:
    from service.assembly import Report
    from service.spec import Specs

app = typer.Typer(
    name="trainyard",
    help="Train neural networks on the machines you have.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)
app.add_typer(runs.app, name="runs")
app.add_typer(workers.app, name="workers")
app.add_typer(tokens.app, name="tokens")
app.add_typer(db.app, name="db")
app.add_typer(notify.app, name="notify")
yard.add_commands(app)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"trainyard {version('trainyard')}")
        raise typer.Exit


@app.callback()
def settings(
    home: Annotated[Path | None, typer.Option(help="Folder of the history.", envvar="TRAINYARD_HOME")] = None,
    database: Annotated[str | None, typer.Option(help="Database URL, instead of TRAINYARD_DATABASE_URL.")] = None,
    broker: Annotated[str | None, typer.Option(help="Broker URL, instead of TRAINYARD_BROKER_URL.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    context.flags.update(home=home, database_url=database, broker_url=broker)


@app.command()
def check(spec: SpecArgument, set: SetOption = [], json: JsonOption = False) -> None:
    """Check a spec as submit does: shapes, parameters, memory.

    Example: trainyard check examples/digits.yaml
    """
    from service.spec import load

    loaded = load(spec, set)  # before the client is imported, so that an error is told at once

    report = context.client().check(loaded)
    if json:
        print_json(report.document())
    else:
        show_report(report)


def show_report(report: Report) -> None:
    print(f"{report.name}: {report.task}, loss {report.loss}, metrics {', '.join(report.metrics)}")
    print()
    rows = [
        (layer.number, f"{layer.kind} {layer.settings}", _shape(layer.output_shape), f"{layer.parameters:,}")
        for layer in report.layers
    ]
    print_table([">#", "~LAYER", ">OUTPUT", ">PARAMETERS"], [("", "input", _shape(report.input_shape), ""), *rows])
    print()
    print_facts(
        [
            ("parameters", f"{report.parameters:,}"),
            ("rows", f"{report.train_rows:,} train, {report.validation_rows:,} validation, {report.test_rows:,} test"),
            ("steps", f"{report.steps_per_epoch:,} an epoch, {report.epochs} epochs, batches of {report.batch_size}"),
            ("memory", f"about {size(report.memory_bytes)}"),
        ]
    )
    if report.memory_bytes > memory_here():
        hint(f"warning: this machine has {size(memory_here())} of memory; the run needs a worker with more")
    for note in report.notes:
        hint(f"note: {note}")


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


@app.command()
def submit(
    spec: SpecsArgument,
    set: SetOption = [],
    grid: GridOption = [],
    queue: Annotated[str, typer.Option(help="The queue it waits in.")] = "default",
    priority: Annotated[int, typer.Option(min=-(10**6), max=10**6, help="Higher goes first.")] = 0,
    tag: Annotated[list[str], typer.Option(help="A word to find it by; may be repeated.")] = [],
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    json: JsonOption = False,
) -> None:
    """Queue a run and print its number; or many, of several files or of files with several specs (divided by ---), all
    or none.

    Example: trainyard submit examples/digits.yaml --set train.epochs=5 --tag try --watch
    """
    from service.spec import Specs

    specs = Specs(spec, set, grid)  # before the client is imported, so that an error is told at once
    if len(specs) > 1:
        submit_many(specs, watch=watch, json=json, queue=queue, priority=priority, tags=tag)
        return
    loaded = specs.only()
    client = context.client()
    run = client.submit(loaded, queue=queue, priority=priority, tags=tag)
    if not watch:
        print_json(run.json()) if json else print(run.id)
        return
    hint(f"run {run.id}: {run.name}")
    runs.follow_to_end(client, run.id, json=json)


def submit_many(specs: Specs, *, watch: bool, json: bool, **named: Any) -> None:
    from service.display import ranges
    from service.errors import InputError

    if watch:
        raise InputError(f"--watch follows one run, and these are {len(specs):,}; `trainyard status` counts them")
    numbers = context.client().submit_many(specs, **named)
    if json:
        print_json(numbers)
    else:
        print(f"{len(numbers):,} runs queued: {ranges(numbers)}")


WRITERS: dict[str, Callable[[Any, Any], Any]] = {
    ".csv": lambda frame, file: frame.write_csv(file),
    ".tsv": lambda frame, file: frame.write_csv(file, separator="\t"),
    ".parquet": lambda frame, file: frame.write_parquet(file),
}


@app.command()
def predict(
    run: RunArgument,
    input: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="A table (.csv, .tsv, .parquet) or arrays (.npz).", show_default=False),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here: .csv, .tsv or .parquet.")] = None,
) -> None:
    """Predict each row of a table, or each image of an .npz file, with the best weights of a run.

    Example: trainyard predict 1 examples/flowers.csv -o predictions.csv
    """
    from service.errors import InputError

    if out is not None and out.suffix not in WRITERS:
        raise InputError(f"{out}: predictions can be written as {', '.join(WRITERS)}")
    frame = context.client().predict(run, input)
    if out is None:
        print(frame.write_csv(), end="")
    else:
        write_file(out, lambda file: WRITERS[out.suffix](frame, file))
        hint(f"{len(frame):,} rows written to {out}")


app.command()(evaluate.evaluate)
app.command()(top)
app.command()(lr_find.lr_find)


@app.command()
def schema(
    reference: Annotated[bool, typer.Option("--reference", help="Explain every key in Markdown instead.")] = False,
) -> None:
    """Print the JSON Schema of the spec, for editors.

    Example: trainyard schema > trainyard.schema.json
    """
    from service import spec

    if reference:
        print(spec.reference(), end="")
    else:
        print_json(spec.json_schema())


def main(arguments: list[str] | None = None) -> NoReturn:
    with translated():
        try:
            code = app(arguments, prog_name="trainyard", standalone_mode=False)
        except UsageError as error:
            fail(told(error), 2)
        except typer.Abort:  # the answer to a question was Ctrl-C, or the end of a file
            fail("given up; nothing was done", 1)
        finally:
            context.close()
        sys.exit(code if isinstance(code, int) else 0)
