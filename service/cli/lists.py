"""`trainyard runs list`, `best`, `stats`, `pareto`: many runs at once."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import hint, print_json, print_table
from service.display import age, duration, headline, lasted, number, shortened

if TYPE_CHECKING:
    from service.store.records import RunRecord

LONGEST = 24  # characters of a text in a column that was asked for
WhereOption = Annotated[
    str | None,
    typer.Option(
        metavar="EXPR", help="Only runs that this expression fits, as in \"val_accuracy > 0.9 and tag = 'base'\"."
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV for scripts and tables.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many.")]


def add_commands(app: typer.Typer) -> None:
    app.command("list")(list_runs)
    for command in (best, stats, pareto):
        app.command()(command)


def list_runs(
    where: WhereOption = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help="By a field, and asc or desc; metrics begin with the best.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option(metavar="FIELDS", help='Other columns, such as "id, tags, optimizer, best(val_loss)".')
    ] = None,
    after: Annotated[
        int | None, typer.Option(min=0, max=context.MOST_RUNS, help="The next page: behind this run.")
    ] = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """List runs, the newest first. BEST is of the metric that early stopping watches, or else of the first asked for:
    on test, if the run has ended and kept rows for it, else on validation.

    Example: trainyard runs list --where "state = completed" --sort "best(val_loss)" --columns "id, optimizer, val_loss"
    """
    _check_format(json, csv)
    client = context.client()
    found = client.runs(where, sort=sort, after=after, limit=limit + 1)
    more, found = len(found) > limit, found[:limit]
    if columns is not None or csv:
        fields = CSV_COLUMNS if columns is None else columns
        _print_values(client.values([run.id for run in found], fields), fields, json=json, as_csv=csv)
    elif json:
        print_json([run.json() for run in found])
    else:
        _print_runs(found)
    if more and not json:
        hint(f"there are more: --after {found[-1].id}, or --limit")
    if not found and not json:
        hint("no run fits" if where or after else "no run yet; `trainyard submit SPEC` queues one")


def _check_format(json: bool, csv: bool) -> None:
    if json and csv:
        from service.errors import InputError

        raise InputError("--json or --csv, not both")


CSV_COLUMNS = "id, name, state, queue, priority, attempts, epoch, epochs, created, started, finished, worker, error"


def _print_runs(runs: Iterable[RunRecord]) -> None:
    print_table([">RUN", "<NAME", "STATE", ">EPOCH", "BEST", ">TIME", "<WORKER"], map(_row, runs))


def _row(run: RunRecord) -> tuple[Any, ...]:
    return (
        run.id,
        shortened(run.name, 16),
        run.state,
        f"{run.epoch}/{run.epochs}",
        headline(run),
        lasted(run),
        run.worker or "-",
    )


def _print_values(rows: Sequence[Mapping[str, Any]], fields: str, *, json: bool, as_csv: bool) -> None:
    if json:
        from service.store.records import jsonable

        print_json(jsonable(list(rows)))
    elif as_csv:
        from service.expressions import parse_fields

        _print_csv(parse_fields(fields, tags=True), (row.values() for row in rows))
    elif rows:
        head = [
            f">{name}" if _is_number(rows, name) else _heading(name, (row[name] for row in rows)) for name in rows[0]
        ]
        print_table(head, ([_shown(value, name) for name, value in row.items()] for row in rows))


def _print_csv(header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    from service.store.records import jsonable

    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(header)
    out.writerows(jsonable([_joined(value) for value in row]) for row in rows)


def _heading(name: str, values: Iterable[Any]) -> str:
    """Free text may be shortened; states, numbers and times may not."""
    return f"<{name}" if name != "state" and any(isinstance(value, str | list) for value in values) else name


def _is_number(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(isinstance(row[name], int | float) and not isinstance(row[name], bool) for row in rows)


def _shown(value: Any, name: str = "") -> str:
    match value:
        case float() if name == "duration":
            return duration(value)
        case None:
            return "-"
        case datetime():
            return age(value)
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float():
            return number(value)
    return shortened(" ".join(str(_joined(value)).split()), LONGEST) or "-"


def _joined(value: Any) -> Any:
    """Tags as one text; none of them has a blank in it."""
    return " ".join(value) if isinstance(value, list) else value


MetricOption = Annotated[str, typer.Option(metavar="METRIC", help="Such as val_accuracy.", show_default=False)]


def best(metric: MetricOption, where: WhereOption = None, limit: LimitOption = 5, json: JsonOption = False) -> None:
    """List the runs that are best by a metric, each at its best epoch.

    Example: trainyard runs best --metric val_accuracy --where "name = digits"
    """
    client = context.client()
    found = client.best(metric, where, limit=limit)
    if json:
        print_json([run.json() for run in found])
        return
    rows = ((run.id, shortened(run.name, 16), run.state, *_at_best(run, metric), lasted(run)) for run in found)
    print_table([">RUN", "<NAME", "STATE", f">{metric}", ">AT EPOCH", ">TIME"], rows)
    if len(found) > 1:
        hint(f"what makes them differ: trainyard runs compare {' '.join(str(run.id) for run in found)}")
    if not found:
        hint(f"no run that fits has {metric}")


def _at_best(run: RunRecord, metric: str) -> tuple[str, int]:
    summary = run.metrics[metric]
    return number(summary.best), summary.best_epoch


def stats(
    by: Annotated[str, typer.Option(metavar="FIELDS", help='Such as "optimizer, train.batch_size".')],
    metric: MetricOption,
    where: WhereOption = None,
    limit: LimitOption = 20,
    json: JsonOption = False,
    csv: CsvOption = False,
) -> None:
    """Group runs that are alike in some fields, and tell how a metric is spread over each group.

    Example: trainyard runs stats --by optimizer --metric val_accuracy
    """
    from service.expressions import parse_fields
    from service.store.records import jsonable

    _check_format(json, csv)
    found = context.client().stats(metric, by, where, limit=limit)
    names = list(parse_fields(by))
    rest = ("count", "mean", "deviation", "best", "run_id")
    if csv:
        _print_csv([*names, *rest], ((*group.key, *(getattr(group, name) for name in rest)) for group in found))
        return
    if json:
        print_json(
            [
                {"group": dict(zip(names, jsonable(list(group.key)), strict=True))}
                | {name: jsonable(getattr(group, name)) for name in rest}
                for group in found
            ]
        )
        return
    rows = (
        (
            *map(_shown, group.key),
            group.count,
            number(group.mean),
            number(group.deviation),
            number(group.best),
            group.run_id,
        )
        for group in found
    )
    keys = [_heading(name, (group.key[place] for group in found)) for place, name in enumerate(names)]
    print_table([*keys, ">RUNS", ">MEAN", ">DEVIATION", ">BEST", ">OF RUN"], rows)
    if not found:
        hint(f"no run that fits has {metric}")


def pareto(
    first: Annotated[str, typer.Argument(metavar="FIELD", help="Such as val_accuracy.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="FIELD", help="Such as duration.", show_default=False)],
    where: WhereOption = None,
    json: JsonOption = False,
) -> None:
    """List the runs that no other beats in two fields at once: Pareto's front. Metrics are as good as they are best,
    other fields the smaller the better, unless asc or desc is told.

    Example: trainyard runs pareto "best(val_accuracy)" duration --where "state = completed"
    """
    client = context.client()
    found = client.pareto(first, second, where)
    if json:
        print_json([run.json() for run in found])
        return
    fields = [field.removesuffix(" desc").removesuffix(" asc") for field in (first, second)]
    values = client.values([run.id for run in found], ", ".join(fields))
    rows = (
        (run.id, shortened(run.name, 16), run.state, *(_shown(row[field], field) for field in fields))
        for run, row in zip(found, values, strict=True)
    )
    print_table([">RUN", "<NAME", "STATE", *(f">{field}" for field in fields)], rows)
    if not found:
        hint("no run that fits has both")
