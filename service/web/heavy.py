"""What takes a core, memory or room on the disk: done by few at once, and few wait for it.

Who waits holds one of the threads that all requests share. More than a few shall not, so that a page which everybody
opens at once leaves threads for the rest of the yard; they are told to come again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import TYPE_CHECKING

from service.client import Client
from service.errors import Unreachable

if TYPE_CHECKING:
    from service.evaluation import Evaluation
    from service.inspection import Inside
    from service.spreads import Gradients

WAITING = 6  # of the 40 threads of the server
PATIENCE_SECONDS = 10.0
EVALUATIONS = 2  # at once: each takes a core and the dataset's memory
REMEMBERED = 16  # networks whose insides are
LARGEST = 4 * 2**20  # bytes of the pictures of one that is


class Busy(Unreachable):
    def __init__(self, doing: str) -> None:
        super().__init__(f"the yard {doing} just now; ask again in a moment")


class Few:
    """Turns at something, of which there are so many at once. `doing`: what whoever gets none is told."""

    def __init__(self, number: int, doing: str) -> None:
        self._free, self._doing = BoundedSemaphore(number), doing
        self._places = BoundedSemaphore(number + WAITING)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises Busy if others wait already, or if it takes too long."""
        if not self._places.acquire(blocking=False):
            raise Busy(self._doing)
        try:
            if not self._free.acquire(timeout=PATIENCE_SECONDS):
                raise Busy(self._doing)
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._places.release()


class Judges:
    """What is read of weights and data, for the API and for the pages."""

    def __init__(self, client: Client) -> None:
        self._client, self._few = client, Few(EVALUATIONS, "evaluates other runs")
        self._insides: OrderedDict[tuple[int, str | None], Inside] = OrderedDict()
        self._lock = Lock()

    def evaluate(self, run_id: int, split: str | None, last: bool) -> Evaluation:
        with self._few.turn():
            return self._client.evaluate(run_id, split=split, last=last)

    def gradients(self, run_id: int) -> Gradients:
        with self._few.turn():
            return self._client.gradients(run_id)

    def inside(self, run_id: int) -> Inside:
        """Read once, as long as it is remembered."""
        known = run_id, self._client.run(run_id).weights_sha256
        if (found := self._remembered(known)) is not None:
            return found
        with self._few.turn():
            if (found := self._remembered(known)) is None:  # by whoever had the turn before
                found = self._client.inside(run_id)
                self._remember(known, found)
        return found

    def _remembered(self, known: tuple[int, str | None]) -> Inside | None:
        with self._lock:
            if known in self._insides:
                self._insides.move_to_end(known)
            return self._insides.get(known)

    def _remember(self, known: tuple[int, str | None], found: Inside) -> None:
        pictures = [*found.filters, *(mistake.image for mistake in found.mistakes)]
        if known[1] is None or sum(picture.nbytes for picture in pictures) > LARGEST:
            return  # the weights of a checkpoint are others after the next one
        with self._lock:
            self._insides[known] = found
            if len(self._insides) > REMEMBERED:
                self._insides.popitem(last=False)
