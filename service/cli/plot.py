"""`trainyard runs plot`: what there is to see of runs, in the terminal, as a picture, or as a page."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.compare import BEST, LABEL, MetricOption, SomeRuns, WhereOption, pick, show_curves, tail
from service.cli.context import JsonOption
from service.cli.output import hint, print_json, print_table, write_file
from service.display import size

if TYPE_CHECKING:
    from service.client import Client
    from service.comparison import Comparison
    from service.figures import Figure

SUFFIXES = (".png", ".html")
BAR = 24  # characters of the longest bar


class Kind(StrEnum):
    CURVES = "curves"
    CONFUSION = "confusion"
    PARALLEL = "parallel"
    IMPORTANCE = "importance"


def plot(
    runs: SomeRuns = None,
    where: WhereOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many that fit.")] = 1000,
    kind: Annotated[
        Kind,
        typer.Option(
            help="Curves of a metric; the confusion matrix of one run; parallel coordinates of the keys that differ; "
            "the importance of these keys for a metric."
        ),
    ] = Kind.CURVES,
    metric: MetricOption = None,
    split: Annotated[
        str | None, typer.Option(help="Of the confusion matrix: train, validation or test (if there is one).")
    ] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--linear", help="The scale of curves; else their values decide.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write here: .png, or .html for a browser.")] = None,
    json: JsonOption = False,
) -> None:
    """Draw runs: into a picture, into a page that works without a network, or in the terminal.

    Example: trainyard runs plot 1 2 -o curves.png
    """
    from service.errors import InputError

    if out is not None and out.suffix.lower() not in SUFFIXES:
        raise InputError(f"{out}: a plot can be written as {', '.join(SUFFIXES)}")
    if out is not None and json:
        raise InputError("--json prints the numbers of a plot and -o draws it; ask for one of them")
    if split is not None and kind is not Kind.CONFUSION:
        raise InputError("--split is for --kind confusion; of curves, --metric val_loss says which rows")
    client = context.client()
    chosen = pick(client, runs, where, limit)
    if not chosen:
        raise InputError("no run fits the expression")
    if kind is Kind.CONFUSION:
        _confusion(client, chosen, split, out, json)
        return
    found = client.compare(chosen, metric, curves=kind is Kind.CURVES)
    match kind:
        case Kind.CURVES:
            _curves(found, metric, log, out, json)
        case Kind.PARALLEL:
            _parallel(found, out, json)
        case Kind.IMPORTANCE:
            _importance(found, out, json)


def _curves(found: Comparison, metric: str | None, log: bool | None, out: Path | None, json: bool) -> None:
    from service.figures import curves

    if json:
        print_json(found.document())
    elif out is not None:
        _write(out, curves(found, metric, log))
    else:
        show_curves(curves(found, metric, log, apart=BEST))


def _confusion(client: Client, chosen: Sequence[int], split: str | None, out: Path | None, json: bool) -> None:
    from service.cli.evaluate import show_confusion
    from service.errors import InputError
    from service.figures import matrix

    if len(set(chosen)) > 1:
        raise InputError(f"a confusion matrix is of one run, and these are {len(set(chosen))}")
    found = client.evaluate(chosen[0], split=split)
    figure = matrix(chosen[0], found)
    if json:
        print_json({"run": chosen[0], **found.document()})
    elif out is not None:
        _write(out, figure)
    else:
        print(figure.title)
        print()
        show_confusion(found)


def _parallel(found: Comparison, out: Path | None, json: bool) -> None:
    from service.errors import InputError
    from service.figures import parallel

    if json:
        print_json(found.document())
    elif out is not None:
        _write(out, parallel(found))
    else:
        raise InputError("parallel coordinates need a file: -o FILE.png, or -o FILE.html for a browser")


def _importance(found: Comparison, out: Path | None, json: bool) -> None:
    from service.figures import bars
    from service.importance import importance

    weighed = importance(found)
    if json:
        print_json(weighed.document())
    elif out is not None:
        _write(out, bars(weighed))
    else:
        print(bars(weighed).title)
        print()
        longest = max(weighed.shares.values())
        rows = [(tail(path, LABEL), f"{x:.1%}", "█" * round(BAR * x / longest)) for path, x in weighed.shares.items()]
        print_table(["KEY", ">IMPORTANCE", ""], rows)


def _write(out: Path, figure: Figure) -> None:
    if out.suffix.lower() == ".png":
        from service.figures.png import png as drawn
    else:
        from service.figures.page import page as drawn
    data = drawn(figure)
    write_file(out, lambda file: file.write(data))
    hint(f"{figure.title}: {size(len(data))} written to {out}")
