"""`trainyard demo`: a yard, a real run through its queue like any user's, the result, and where to look."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from service.cli.output import hint
from service.cli.progress import follow
from service.client import Client
from service.display import lasted, number
from service.errors import TrainyardError
from service.processes import stop
from service.store.records import RunRecord
from service.yard import GRACE_SECONDS, running, start

EXAMPLES = (Path(__file__).parents[2] / "examples", Path(__file__).parents[1] / "examples")  # a checkout; a wheel


def demo(client: Client) -> None:
    """Raises TrainyardError when the run does not complete."""
    spec = next(folder / "digits.yaml" for folder in EXAMPLES if (folder / "digits.yaml").exists())
    found = running(client.settings)
    if found is not None:
        hint(f"a yard runs in this home already, it is used: {found.web_url}")
        _train(client, spec)
        return
    hint("starting a yard: an embedded broker, one worker with two slots, a web page …")
    process, state = start(client.settings, "--workers", "2", "--port", "0", detached=False)
    hint(f"the yard is up: {state.web_url}")
    try:
        _train(client, spec)
    finally:
        stop(process, GRACE_SECONDS)
    hint("the yard is down again; nothing is left running")


def _train(client: Client, spec: Path) -> None:
    run = client.submit(spec, tags=["demo"])
    hint(f"submitted {spec.name}: run {run.id}, 1,797 handwritten digits of 8 × 8 pixels")
    run = follow(client, run.id)
    if run.state != "completed":
        raise TrainyardError(client.why(run.id))
    _summarise(client, run)


def _summarise(client: Client, run: RunRecord) -> None:
    accuracy = run.metrics["test_accuracy"]
    print()
    print(f"  run {run.id} completed: {run.epoch} epochs in {lasted(run)}")
    print(f"  test accuracy   {accuracy.last:.4f}, on digits that the training never saw")
    print(f"  best epoch      {accuracy.best_epoch}, validation loss {number(run.metrics['val_loss'].best)}")
    print(f"  history         {client.settings.database}")
    print()
    print("  next:")
    rows = [
        (f"{_program()} runs show {run.id}", "the run, its curves"),
        (f"{_program()} up", "a yard that stays"),
        (f"{_program()} submit examples/digits.yaml --watch", "train it again"),
    ]
    width = max(len(command) for command, _ in rows)
    for command, meaning in rows:
        print(f"    {command:<{width}}  {meaning}")
    print()


def _program() -> str:
    """How the person can call this program: by its name where that is on PATH, else by its path from here."""
    this = Path(sys.argv[0])
    if shutil.which(this.name) == str(this.absolute()) or not this.exists():
        return "trainyard"
    return os.path.relpath(this) if this.is_relative_to(Path.cwd()) or not this.is_absolute() else str(this)
