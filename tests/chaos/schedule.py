"""The schedule of faults: made from the seed alone, so that a failure can be struck again.

Two lanes go on side by side, one fault after the other in each: faults of workers, and faults of what they need. So a
worker dies now and then while the database is away, and no part is broken twice at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WORKERS = (
    "slot killed", "pool killed", "supervisor killed", "machine killed", "slot frozen", "worker frozen",
    "worker stopped", "yard killed", "yard stopped", "supervisors race", "pool scaled", "run cancelled", "run paused",
)  # fmt: skip
BROKER = ("broker flushed", "broker killed", "broker frozen", "broker restarted empty", "submit killed")
SERVICES: dict[str, tuple[str, ...]] = {
    "sqlite": (*BROKER, "disk full"),
    "postgresql": (
        *BROKER,
        "database killed",
        "database stopped",
        "database frozen",
        "disk full",
        "silent link",
        "cut link",
    ),
}
DECKS = {  # a lane's kinds; one that is named twice comes twice as often
    "sqlite": {"workers": (*WORKERS, "slot killed", "machine killed"), "services": SERVICES["sqlite"]},
    "postgresql": {
        "workers": (*WORKERS, "slot killed", "machine killed", "clock off"),
        "services": SERVICES["postgresql"],
    },
}


@dataclass(frozen=True)
class Strike:
    """One fault: when, which, on the how-manieth of the possible victims (as a share), and how long, as a share."""

    number: int
    lane: str
    at: float  # seconds after the beginning
    kind: str
    pick: float
    length: float

    def __str__(self) -> str:
        return f"{self.number:4d}  {self.at:6.1f} s  {self.kind:24} pick {self.pick:.3f}  length {self.length:.3f}"


def plan(database: str, seed: int, seconds: float, faults: int, only: Sequence[str] = ()) -> list[Strike]:
    """So many faults in so many seconds, every kind as often as any other, in the order of their moments."""
    drawn = []
    decks = {lane: [kind for kind in deck if not only or kind in only] for lane, deck in DECKS[database].items()}
    lanes = {lane: deck for lane, deck in decks.items() if deck}
    for lane, deck in lanes.items():
        # Not hash(): Python salts it anew in every process.
        generator = random.Random(f"{database} {lane} {seed}")
        number = faults // len(lanes) + (lane == next(iter(lanes))) * (faults % len(lanes))
        kinds = _dealt(deck, generator)
        for index in range(number):
            at = (index + generator.uniform(0.1, 0.9)) * seconds / number
            drawn.append((at, lane, next(kinds), generator.random(), generator.random()))
    return [Strike(number, lane, at, *rest) for number, (at, lane, *rest) in enumerate(sorted(drawn), 1)]


def _dealt(deck: Sequence[str], generator: random.Random) -> Iterator[str]:
    """The cards of a shuffled deck, of another one when it is used up, and so on."""
    while True:
        yield from generator.sample(deck, len(deck))
