"""Curves in the terminal: what stands beside an axis is where it says."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.cli.plots import HEIGHT, Axis, curve, curves

NUMBERS = st.floats(-1e9, 1e9)


@given(st.lists(NUMBERS, min_size=1, max_size=5), st.booleans(), st.sampled_from([(HEIGHT, 4), (64, 5)]))
def test_a_label_is_a_number_of_its_cell(values, logarithmic, size):
    values = [value / 1e8 for value in values] if logarithmic else values
    assume(len(set(values)) == 1 or max(values) - min(values) > 1e-2 * max(1.0, *map(abs, values)))
    cells, most = size
    axis = Axis.of(values, cells, logarithmic)
    assert axis.low < min(values) <= max(values) < axis.high
    labels = axis.labels(most)
    assert 1 <= len(labels) <= most + 1
    each = (axis.high - axis.low) / cells
    for cell, label in labels.items():
        value = math.log10(float(label)) if logarithmic else float(label)
        assert axis.low + (cell - 0.1) * each <= value <= axis.low + (cell + 1.1) * each


def test_labels_are_not_cut_to_what_tells_them_apart():
    points = [(epoch, 1.77 * math.exp(-epoch / 6) + 0.06) for epoch in range(1, 31)]
    rows = [row.rpartition("│")[2].strip() for row in curves([("run 1", points)], "val_loss").splitlines()]
    assert [label for label in rows if label in ("2", "1.5", "1", "0.5", "0")] == ["1.5", "1", "0.5"]


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, -math.inf]])
def test_nothing_is_drawn_of_no_number(values):
    x = [10.0**-number for number, _ in enumerate(values)]
    assert curve(x, values, "loss", logarithmic=True) == "loss: no finite value"
    assert curves([("run 1", [*enumerate(values)])], "loss") == "loss: no finite value"


def test_what_has_no_logarithm_is_left_out():
    assert "0.001" in curves([("run 1", [(1, 1.0), (2, 0.0), (3, -1.0), (4, 0.001)])], "loss", logarithmic=True)
