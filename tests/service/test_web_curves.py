"""Curves of runs that train: bounded, with every spike, and read no further back than needed."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.web.pages.charts import POINTS
from service.web.pages.curves import Curve, SoFar, whole


def drawn(values: list[float]) -> list[tuple[int, float]]:
    curve = Curve()
    for epoch, value in enumerate(values, 1):
        curve.add(epoch, value)
    return [*curve.points()]


@given(st.integers(0, 5 * POINTS), st.randoms(use_true_random=False))
def test_a_curve_keeps_its_ends_and_its_extremes_and_no_more_points_than_can_be_seen(length, random):
    values = [random.choice([random.uniform(-9, 9), math.nan, math.inf, 1e6]) for _ in range(length)]
    points = drawn(values)
    assert len(points) <= 2 * POINTS
    assert points == sorted(points)
    assert {repr(point) for point in points} <= {repr(point) for point in enumerate(values, 1)}
    finite = [value for value in values if math.isfinite(value)]
    kept = [value for _, value in points if math.isfinite(value)]
    assert not finite or (min(kept), max(kept)) == (min(finite), max(finite))
    if length <= POINTS:
        assert [epoch for epoch, _ in points] == [*range(1, length + 1)]


def test_stretches_are_of_one_length():
    epochs = [epoch for epoch, _ in drawn([float(epoch) for epoch in range(10 * POINTS)])]
    gaps = [later - earlier for earlier, later in pairwise(epochs)]
    assert max(gaps) <= 16


class Asked:
    """A client whose run trains on."""

    def __init__(self) -> None:
        self.epochs, self.asked = 0, list[int]()

    def history(self, run_id: int, after_epoch: int = 0) -> list[dict[str, Any]]:
        self.asked.append(after_epoch)
        return [{"epoch": epoch, "loss": 1 / epoch} for epoch in range(after_epoch + 1, self.epochs + 1)]


def test_no_point_is_read_twice():
    client: Any = Asked()
    so_far = SoFar()
    for client.epochs in (0, 3, 3, 7):
        assert so_far.read(client, 1) == whole(client, 1)
    assert client.asked[::2] == [0, 0, 3, 3]
