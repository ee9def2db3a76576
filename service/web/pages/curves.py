"""The curves of a run that trains, as far as it has come: no point is read twice, and so many are kept at most."""

from __future__ import annotations

import math
from threading import Lock

from service.client import Client
from service.comparison import Points
from service.web.pages.charts import POINTS


class Curve:
    """Points in the order of their epochs: of each stretch of epochs the lowest and the highest, so that spikes stay.

    A stretch is one epoch, and grows by doubling, so that there are never more than POINTS of them.
    """

    def __init__(self) -> None:
        self._epochs = 1  # of a stretch
        self._kept: dict[int, list[tuple[int, float]]] = {}

    def add(self, epoch: int, value: float) -> None:
        self._put((epoch, value))
        while len(self._kept) > POINTS:
            points, self._epochs, self._kept = self.points(), 2 * self._epochs, {}
            for point in points:
                self._put(point)

    def _put(self, point: tuple[int, float]) -> None:
        there = self._kept.setdefault(point[0] // self._epochs, [])
        finite = [one for one in (*there, point) if math.isfinite(one[1])] or [point]
        there[:] = min(finite, key=_value), max(finite, key=_value)

    def points(self) -> Points:
        return tuple(sorted({point for kept in self._kept.values() for point in kept}))


def _value(point: tuple[int, float]) -> float:
    return point[1]


class SoFar:
    """The curves of one attempt, by the names of their metrics."""

    def __init__(self) -> None:
        self._reading = Lock()
        self._last = 0  # epoch
        self._curves: dict[str, Curve] = {}

    def read(self, client: Client, run_id: int) -> dict[str, Points]:
        with self._reading:
            for row in client.history(run_id, self._last):
                epoch = self._last = row.pop("epoch")
                for name, value in row.items():
                    self._curves.setdefault(name, Curve()).add(epoch, value)
            return {name: curve.points() for name, curve in self._curves.items()}


def whole(client: Client, run_id: int) -> dict[str, Points]:
    """The curves of a run, with every point."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in client.history(run_id):
        epoch = row.pop("epoch")
        for name, value in row.items():
            found.setdefault(name, []).append((epoch, value))
    return {name: tuple(points) for name, points in found.items()}
