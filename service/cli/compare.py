"""`trainyard runs compare`: what differs between runs, their metrics and their curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import GAP, blocks, hint, print_json, print_table
from service.display import number, shortened

if TYPE_CHECKING:
    from service.client import Client
    from service.comparison import Comparison
    from service.figures import Curves

WIDTH = 80  # columns of a terminal
LABEL, CELL = 34, 16  # characters at most, of a key and of a value
NARROW = 8  # characters that a value needs at least, if runs stand side by side
BEST = 6  # curves in one frame; more could not be told apart
SHA = 12  # characters of a hash that tell it from others

SomeRuns = Annotated[
    list[int] | None,
    typer.Argument(metavar="RUN…", min=0, max=context.MOST_RUNS, help="Runs by number.", show_default=False),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="EXPR", help="The newest runs that fit instead, such as \"tag = 'width'\"."),
]
MetricOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Judge by this metric, such as val_loss; else by the one that counts."),
]


def compare(
    runs: SomeRuns = None,
    where: WhereOption = None,
    limit: Annotated[int, typer.Option(min=2, max=10_000, help="At most so many that fit.")] = 20,
    metric: MetricOption = None,
    json: JsonOption = False,
) -> None:
    """Set runs beside each other: what differs in their specs and around them, metrics, curves. A star marks the best.

    Example: trainyard runs compare 1 2 --metric val_loss
    """
    from service.errors import InputError

    client = context.client()
    chosen = pick(client, runs, where, limit)
    if len(set(chosen)) < 2:
        which = "the expression fits" if where is not None else "you named"
        raise InputError(f"a comparison takes two runs or more; {which} {'one' if chosen else 'none'}")
    found = client.compare(chosen, metric)
    if json:
        print_json(found.document())
        return
    show(found)


def pick(client: Client, runs: Sequence[int] | None, where: str | None, limit: int) -> list[int]:
    """The numbers of the runs that are meant; those that fit an expression from the oldest to the newest."""
    from service.errors import InputError

    if bool(runs) == (where is not None):
        raise InputError("say which runs: their numbers, or --where with an expression, not both")
    if runs:
        return list(runs)
    found = [run.id for run in client.runs(where=where, limit=limit + 1)]
    if len(found) > limit:
        hint(f"more runs fit; these are the newest {limit}, --limit takes more")
    return sorted(found[:limit])


# What is printed

Row = tuple[str, list[str]]  # a label, and a cell for each run


def show(found: Comparison) -> None:
    """Side by side if the runs fit, else one below the other, and then without the keys that say little."""
    from service.comparison import telling
    from service.figures import curves

    spec, others = _spec(found), [_facts(found), _metrics(found)]
    heads = [f"RUN {run.id}" for run in found.runs]
    room = _room([*spec, *others[0], *others[1]], heads)
    if not found.spec and not found.facts:
        hint("nothing differs between these runs but their numbers and times")
    if room is not None:
        _show_upright([group for group in (spec, *others) if group], heads, room)
    else:
        kept = telling(found.spec)
        _show_turned([[row for row in spec if row[0] in kept], *others], [str(run.id) for run in found.runs])
        if left := len(spec) - len(kept):
            hint(f"left out: {left} keys that have one value in the runs that have them; --json has all")
    if found.metric is None:
        hint("none of these runs has a metric yet")
    elif any(sum(math.isfinite(value) for _, value in points) > 1 for points in found.curves[found.metric]):
        print()
        show_curves(curves(found, found.metric, pairs=False, apart=BEST))


def _room(rows: Sequence[Row], heads: Sequence[str]) -> int | None:
    """The width of a run's column if the runs stand side by side; None if they do not fit."""
    label = max((len(name) for name, _ in rows), default=0)
    longest = max((len(cell) for _, cells in rows for cell in cells), default=0)
    room = (WIDTH - min(label, LABEL)) // len(heads) - 2
    return room if room >= max(NARROW, min(longest, CELL), *map(len, heads)) else None


def _spec(found: Comparison) -> list[Row]:
    return [(path, [cell(value) for value in values]) for path, values in found.spec.items()]


def _facts(found: Comparison) -> list[Row]:
    return [
        (name, [cell(value if value is None or name != "dataset" else value[:SHA]) for value in values])
        for name, values in found.facts.items()
    ]


def _metrics(found: Comparison) -> list[Row]:
    """The best value of each metric, and the last where that is another."""
    rows = []
    for name in found.metrics:
        summaries, star = found.summaries(name), found.best(name)
        best = ["-" if summary is None else number(summary.best) for summary in summaries]
        last = ["-" if summary is None else number(summary.last) for summary in summaries]
        rows.append(
            (f"{name} best", [("*" if star is not None and text == best[star] else "") + text for text in best])
        )
        if last != best:
            rows.append((f"{name} last", last))
    return rows


def cell(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def _show_upright(groups: Sequence[Sequence[Row]], heads: Sequence[str], room: int) -> None:
    """A row for each key, a column for each run."""
    rows: list[Sequence[str]] = []
    for group in groups:
        rows += [("",) * (len(heads) + 1)] if rows else []
        rows += [(tail(label, LABEL), *(shortened(text, room) for text in cells)) for label, cells in group]
    if rows:
        print_table(["", *(f">{head}" for head in heads)], rows)


def _show_turned(groups: Sequence[Sequence[Row]], heads: Sequence[str]) -> None:
    """A row for each run, a column for each key, in as many tables as the terminal's width takes."""
    from service.comparison import short_names

    columns = [
        (tail(name, LABEL), [shortened(text, CELL) for text in cells])
        for group in groups
        for name, (_, cells) in zip(short_names([label for label, _ in group]), group, strict=True)
    ]
    widths = [max(map(len, (name, *cells))) for name, cells in columns]
    for at, block in enumerate(blocks(widths, WIDTH - max(3, *map(len, heads)) - len(GAP))):
        if at:
            print()
        names, cells = zip(*(columns[place] for place in block), strict=True)
        print_table([">RUN", *(f">{name}" for name in names)], zip(heads, *cells, strict=True))


def tail(label: str, width: int) -> str:
    """The end of a path tells more than its beginning."""
    return label if len(label) <= width else "…" + label[-width + 1 :]


def show_curves(figure: Curves) -> None:
    """Those that stand out, over each other."""
    from service.cli.plots import curves

    front = [line for line in figure.lines if line.colour is not None]
    print(curves([(line.name, line.points) for line in front], figure.title, logarithmic=figure.logarithmic))
    if len(front) < len(figure.lines):
        hint(f"these are the {len(front)} best of {len(figure.lines)}; `trainyard runs plot … -o FILE` draws them all")
