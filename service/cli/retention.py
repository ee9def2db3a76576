"""`trainyard runs remove` and `prune`: what a yard need not keep."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli import context
from service.cli.context import JsonOption
from service.cli.output import hint, print_json, print_table
from service.cli.verbs import SomeRuns, WhereOption
from service.display import shortened, size

if TYPE_CHECKING:
    from service.client import Client
    from service.retention import Decision, Pruned
    from service.store.removal import Removed

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask; for scripts.")]
SPARE = 16 * 2**20  # bytes in a SQLite file that are worth a word


def add_commands(app: typer.Typer) -> None:
    for command in (remove, prune):
        app.command()(command)


def remove(
    runs: SomeRuns = None,
    where: WhereOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Remove runs that have ended, for ever: metrics, weights, checkpoints, all that is theirs. Asks before.

    Example: trainyard runs remove --where "state = failed and finished < '30 days ago'" --yes
    """
    from service.errors import InputError

    if bool(runs) == (where is not None):
        raise InputError("say which runs: their numbers, or --where with an expression, not both")
    client = context.client()

    def ask(dry_run: bool) -> Removed:
        return (
            client.remove(runs or [], dry_run=dry_run) if where is None else client.remove_all(where, dry_run=dry_run)
        )

    if not yes and not dry_run and (found := ask(dry_run=True)).runs:
        _confirm(f"remove {_counted(found.runs)} for ever, with {size(found.bytes)} of weights and checkpoints?")
    removed = ask(dry_run)
    if json:
        from dataclasses import asdict

        print_json(asdict(removed) | ({"points": None} if dry_run else {}))  # they are not counted before
    else:
        verb = "would be removed" if dry_run else "removed"
        points = "all metrics" if dry_run else f"{removed.points:,} points of metrics"
        print(f"{_counted(removed.runs)} {verb}, with {points} and {size(removed.bytes)} of weights and checkpoints")
    if removed.left:
        why = "not ended yet, or needed by a run that begins with its weights"
        hint(f"not removed, though the expression fits: {_counted(removed.left)}, {why}")
    if not dry_run:
        _tell_spare(client)


def prune(
    keep_best: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of each name, keep the weights of the best N runs only.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="METRIC", help="What is best; else by the metric that `runs list` shows.")
    ] = None,
    checkpoints_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Checkpoints go so long after their run has ended: '7 days'.")
    ] = None,
    weights_after: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Weights go so long after their run has ended.")
    ] = None,
    where: Annotated[str | None, typer.Option(metavar="EXPR", help="Look only at runs that fit.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Explain what would go, and change nothing.")] = False,
    yes: YesOption = False,
    json: JsonOption = False,
) -> None:
    """Make room: give up weights and checkpoints by a policy, and datasets and leftovers that no run needs.

    Histories stay. With both --keep-best and --weights-after, weights go that are neither among the best nor new.

    Example: trainyard runs prune --keep-best 3 --checkpoints-after "7 days" --dry-run
    """
    client = context.client()
    policy: dict[str, Any] = {
        "keep_best": keep_best, "by": by, "where": where,
        "checkpoints_after": _seconds("--checkpoints-after", checkpoints_after),
        "weights_after": _seconds("--weights-after", weights_after),
    }  # fmt: skip
    if dry_run:
        _show(client.prune(**policy, dry_run=True), json, "would be free")
        return
    if not yes and (planned := client.prune(**policy, dry_run=True)).going:
        _confirm(f"give up {_listed(planned)}, {size(planned.bytes)} in all, for ever?")
    _show(client.prune(**policy), json, "are free now")
    _tell_spare(client)


def _confirm(question: str) -> None:
    """Ask on a terminal. Raises InputError where nobody can answer."""
    from service.errors import InputError

    if not sys.stdin.isatty():
        raise InputError(f"{question} Nobody can answer here: say --yes if you mean it")
    print(f"{question[0].upper()}{question[1:]} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        hint("nothing was changed")
        raise typer.Exit(1)


def _counted(runs: int) -> str:
    return f"{runs:,} {'run' if runs == 1 else 'runs'}"


def _seconds(option: str, text: str | None) -> float | None:
    from service.errors import InputError
    from service.expressions.values import duration

    if text is None:
        return None
    seconds = duration(text)
    if seconds is None:
        raise InputError(f"{option} '{text}' is no duration; write it as '7 days', '12 h' or '90 min'")
    return seconds


def _listed(pruned: Pruned) -> str:
    """The weights of 3 runs, the checkpoints of 1 run, 2 datasets, leftovers."""
    numbers = {what: sum(d.what == what for d in pruned.going) for what in ("weights", "checkpoint", "dataset")}
    parts = [
        f"{words} {_counted(numbers[what])}"
        for what, words in (("weights", "the weights of"), ("checkpoint", "the checkpoints of"))
        if numbers[what]
    ]
    if number := numbers["dataset"]:
        parts.append(f"{number:,} dataset{'' if number == 1 else 's'}")
    if any(decision.what == "leftovers" for decision in pruned.going):
        parts.append("leftovers")
    return ", ".join(parts)


def _show(pruned: Pruned, json: bool, free: str) -> None:
    if json:
        print_json({"decisions": [decision.json() for decision in pruned.decisions], "bytes": pruned.bytes})
        return
    if pruned.decisions:
        print_table([">RUN", "<NAME", "WHAT", "", ">SIZE", "~WHY"], map(_row, pruned.decisions))
        print()
    print(f"{size(pruned.bytes)} {free}" if pruned.going else "there is nothing to give up")


def _row(decision: Decision) -> tuple[Any, ...]:
    run = "-" if decision.run is None else decision.run
    goes = "goes" if decision.goes else "stays"
    return run, shortened(decision.name, 12), decision.what, goes, size(decision.bytes), decision.why


def _tell_spare(client: Client) -> None:
    free = client.space().free
    if free > SPARE:
        hint(f"the file has {size(free)} to spare for new runs; `trainyard db compact` gives them back to the disk")
