"""Where lines and ticks of a chart lie."""

from __future__ import annotations

import json
import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.web.pages.charts import BOTTOM, HEIGHT, LEFT, POINTS, RIGHT, TOP, WIDTH, Drawn, chart, even_ticks, thinned

VALUES = st.floats(-1e12, 1e12) | st.just(math.nan) | st.just(math.inf)


def test_a_line_goes_from_the_lower_left_to_the_upper_right():
    drawn = chart("loss", [Drawn("train", ((1, 0.0), (2, 0.5), (3, 1.0)))])
    assert drawn is not None
    [(x1, y1), (_, y2), (x3, y3)] = [tuple(map(float, part.split())) for part in drawn.lines[0].path[1:].split("L")]
    assert (x1, x3) == (LEFT, WIDTH - RIGHT)
    assert y1 > y2 > y3
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2)


def test_a_value_that_is_no_number_leaves_a_gap():
    drawn = chart("loss", [Drawn("train", ((1, 1.0), (2, 2.0), (3, math.nan), (4, 2.0), (5, 1.0)))])
    assert drawn is not None
    assert drawn.lines[0].path.count("M") == 2
    assert json.loads(drawn.data)["lines"] == [["train", [[1, 1.0], [2, 2.0], [3, None], [4, 2.0], [5, 1.0]]]]


def test_one_point_is_a_dot_and_none_is_no_chart():
    drawn = chart("accuracy", [Drawn("test", ((7, 0.9),))])
    assert drawn is not None
    assert drawn.lines[0].dot is not None
    assert chart("accuracy", [Drawn("test", ((7, math.nan),))]) is None
    assert chart("accuracy", []) is None


def test_values_over_decades_get_a_logarithmic_axis():
    drawn = chart("loss", [Drawn("train", ((1, 10.0), (2, 1.0), (3, 0.1)))])
    assert drawn is not None
    assert drawn.logarithmic
    assert {"10", "1", "0.1"} <= {tick.text for tick in drawn.y_ticks}


def test_while_a_run_trains_the_axis_goes_to_its_last_epoch():
    drawn = chart("loss", [Drawn("train", ((1, 2.0), (2, 1.0)))], last_x=100)
    assert drawn is not None
    assert drawn.x_ticks[-1].text == "100"


@given(st.lists(VALUES, min_size=1, max_size=40), st.booleans())
def test_everything_lies_within_the_frame(values: list[float], far: bool):
    points = tuple((number * (1000 if far else 1), value) for number, value in enumerate(values, 1))
    drawn = chart("loss", [Drawn("train", points)])
    if drawn is None:
        assert not any(map(math.isfinite, values))
        return
    places = [tuple(map(float, part.split())) for part in drawn.lines[0].path.replace("M", "L").split("L") if part]
    assert all(LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM for x, y in places)
    assert all(LEFT <= tick.at <= WIDTH - RIGHT for tick in drawn.x_ticks)
    assert all(TOP <= tick.at <= HEIGHT - BOTTOM for tick in drawn.y_ticks)
    assert len(drawn.y_ticks) <= 12


@given(st.randoms(use_true_random=False), st.integers(POINTS + 1, 2000))
def test_a_long_line_keeps_its_ends_and_its_spikes(random: Random, length: int):
    values = [random.uniform(-1, 1) for _ in range(length)]
    points = tuple(enumerate(values, 1))
    kept = thinned(points)
    assert len(kept) <= POINTS
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert {min(values), max(values)} <= {value for _, value in kept}
    assert list(kept) == sorted(kept)


def test_ticks_are_round_numbers():
    assert [text for _, text in even_ticks(0.0, 1.0)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [text for _, text in even_ticks(-3, 17)] == ["0", "5", "10", "15"]
