"""`trainyard lr-find`: which learning rate suits a spec, tried here and now, without a yard."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import context
from service.cli.context import JsonOption, SetOption, SpecArgument
from service.cli.output import hint, print_json


def lr_find(
    spec: SpecArgument,
    set: SetOption = [],
    lowest: Annotated[float, typer.Option(help="The rate of the first step.")] = 1e-6,
    highest: Annotated[float, typer.Option(help="The rate of the last step.")] = 10.0,
    steps: Annotated[int, typer.Option(min=20, max=100_000, help="How many rates are tried.")] = 200,
    json: JsonOption = False,
) -> None:
    """Find a learning rate: a short training here whose rate grows until the loss explodes.

    Example: trainyard lr-find examples/digits.yaml
    """
    from service.errors import InputError
    from service.spec import load

    if not 0 < lowest < highest < float("inf"):
        raise InputError(f"the rates must grow from above 0: --lowest {lowest:g} --highest {highest:g} do not")
    loaded = load(spec, set)

    from service.cli.plots import curve

    found = context.client().find_rate(loaded, lowest=lowest, highest=highest, steps=steps)
    if json:
        print_json({"suggestion": found.suggestion, "rates": found.rates.tolist(), "losses": found.losses.tolist()})
        return
    # The explosion at the end would flatten everything before it.
    losses = found.losses.clip(max=1.5 * found.losses[0])
    print(curve(found.rates.tolist(), losses.tolist(), "loss by learning rate", logarithmic=True))
    print()
    print(f"suggestion: {found.suggestion:.2g}, where the loss falls fastest")
    name = loaded.optimizer.name
    hint(f"try it: trainyard submit {spec} --set optimizer.{name}.learning_rate={found.suggestion:.2g}")
    hint("it is an order of magnitude: try a third of it, too")
