"""`trainyard runs inside`: how the weights of a run are spread, and the gradients of its loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption, RunArgument
from service.cli.output import print_json
from service.display import bars, number, shortened

if TYPE_CHECKING:
    from service.spreads import Spread

WIDTH = 80  # columns of a terminal
BARS = 20  # of a histogram, which has one of them if all values are the same
FIGURE = 10  # columns of the longest number, such as -1.234e-05


def inside(
    run: RunArgument,
    gradients: Annotated[
        bool, typer.Option("--gradients", help="Also how the gradients of the loss are spread; it reads the data.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Show how the best weights of a run are spread, array after array.

    Example: trainyard runs inside 1 --gradients
    """
    client = context.client()
    weights, found = client.spreads(run), client.gradients(run) if gradients else None
    if json:
        from dataclasses import asdict

        from service.store.records import jsonable

        told = None if found is None else jsonable(asdict(found))
        print_json({"run": run, "weights": [jsonable(asdict(spread)) for spread in weights], "gradients": told})
        return
    size = sum(math.prod(spread.shape) for spread in weights)
    print(f"run {run}, its best weights: {size:,} parameters in {len(weights):,} arrays")
    _show(weights)
    if found is not None:
        from service.spreads import gradient_words, still_words

        for words in filter(None, (gradient_words(found), still_words(found))):
            print(f"\n{fill(words, WIDTH)}")
        _show(found.spreads)


def _show(spreads: Iterable[Spread]) -> None:
    from service.spreads import besides

    for spread in spreads:
        shape = f"{_size(spread.shape)}{besides(spread)}"
        print(f"\n{shortened(spread.name, WIDTH - len(shape) - 2)}  {shape}")
        low, high = f"{number(spread.low):>{FIGURE}}", f"{number(spread.high):<{FIGURE}}"
        words = f"mean {number(spread.mean)}, deviation {number(spread.deviation)}"
        print(f"{low} {bars(spread.counts, BARS):^{BARS}} {high} {words}")


def _size(shape: Sequence[int]) -> str:
    """64 × 128 = 8,192 parameters."""
    number = math.prod(shape)
    axes = f"{' × '.join(map(str, shape))} = " if len(shape) > 1 else ""
    return f"{axes}{number:,} parameter{'' if number == 1 else 's'}"
