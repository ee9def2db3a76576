"""The loop of `trainyard top`: keys, signals and looks come in, frames go out."""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live

from service.cli.top import terminal, view
from service.cli.top.look import Looker, Seen
from service.cli.top.view import Scene
from service.ending import Ending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.client import Client

VERBS = {"cancel": "is cancelled", "pause": "is paused", "resume": "waits again"}


@dataclass
class Hand:
    """What keys have changed: where we are, what is selected, what is asked."""

    client: Client
    looker: Looker
    mode: str = "list"
    selected: int | None = None
    question: str | None = None
    quits: bool = False
    _runs: list[int] = field(default_factory=list)

    def scene(self, seen: Seen) -> Scene:
        if seen.glance is not None:
            self._follow(view.selectable(seen.glance))
        details = seen.details if seen.details and seen.details.run.id == self.selected else None
        return Scene(
            seen.yard, seen.glance, seen.problem, details, self.selected, self.mode, self.question, seen.message
        )

    def _follow(self, runs: list[int]) -> None:
        """Keep the selected run selected wherever it goes; where it has gone from the screen, take its neighbour."""
        if self.mode == "list" and self.selected not in runs and self.question is None:
            place = self._runs.index(self.selected) if self.selected in self._runs else 0
            self.selected = runs[min(place, len(runs) - 1)] if runs else None
        self._runs = runs

    def press(self, key: str) -> None:
        self.looker.forget_message()
        if self.question is not None:
            self.question = None
            if key in ("y", "Y"):
                self._ask("cancel")
        elif key in ("q", "Q"):
            self.quits = True
        elif key in ("?", "h"):
            self._go("list" if self.mode == "help" else "help")
        elif key == "back" or (key == "enter" and self.mode != "list"):
            self._go("list")
        elif self.selected is not None:
            self._press_of_run(key, self.selected)

    def _press_of_run(self, key: str, run_id: int) -> None:
        if key == "enter":
            self._go("details")
        elif key == "c":
            self.question = f"cancel run {run_id}?"
        elif key == "p":
            self._ask("resume" if self._state(run_id) == "paused" else "pause")
        elif key in ("up", "down", "first", "last"):
            self._move(key, run_id)

    def _move(self, key: str, run_id: int) -> None:
        last = len(self._runs) - 1
        place = self._runs.index(run_id) if run_id in self._runs else 0
        place = {"up": place - 1, "down": place + 1, "first": 0, "last": last}[key]
        if self._runs:
            self.selected = self._runs[min(max(0, place), last)]
        if self.mode == "details":
            self.looker.show(self.selected)

    def _go(self, mode: str) -> None:
        self.mode = mode
        self.looker.show(self.selected if mode == "details" else None)

    def _state(self, run_id: int) -> str:
        glance = self.looker.seen.glance
        shown = [*glance.running, *glance.paused, *glance.waiting] if glance else []
        return next((run.state.value for run in shown if run.id == run_id), "")

    def _ask(self, verb: str) -> None:
        run_id, client = self.selected, self.client
        if run_id is None:
            return

        def deed() -> str:
            answer = client.resume(run_id) if verb == "resume" else getattr(client, verb)(run_id, timeout=0.0)
            asked = f"was asked to {verb}" if answer.state == "running" else VERBS[verb]
            return f"run {run_id} {asked}"

        self.looker.ask(deed)


def show(client: Client, interval: float) -> None:
    """Have the terminal until a key or a signal ends it; then it is as it was before."""
    ending, file = Ending(), sys.stdin.fileno()
    ending.listen()
    console = Console(highlight=False)
    with _bell() as (reader, ring), terminal.keys_at_once(file):
        looker = Looker(client, interval, ring)
        hand = Hand(client, looker)
        looker.start()
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while ending.asked is None and not hand.quits:
                _draw(live, hand.scene(looker.seen))
                ready, _, _ = select.select([file, reader, ending], [], [])
                if reader in ready:
                    os.read(reader, 4096)
                if file in ready:
                    _press(hand, os.read(file, 1024))
    ending.leave()


def _press(hand: Hand, data: bytes) -> None:
    """Nothing to read: the terminal has gone."""
    hand.quits |= not data
    for key in terminal.keys(data):
        hand.press(key)


def _draw(live: Live, scene: Scene) -> None:
    width, height = terminal.size(sys.stdout.fileno())
    live.console.size = ConsoleDimensions(width, height)  # as it is now, whatever COLUMNS said at the start
    live.update(Group(*view.lines(scene, width, height)), refresh=True)


@contextmanager
def _bell() -> Iterator[tuple[int, Any]]:
    """A pipe that can be read when somebody has rung, as a change of the terminal's size does."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)

    def ring(*_: Any) -> None:
        with suppress(BlockingIOError):  # it rings already
            os.write(writer, b"!")

    before = signal.signal(signal.SIGWINCH, ring)
    try:
        yield reader, ring
    finally:
        signal.signal(signal.SIGWINCH, before)
