"""Figures of runs: what is drawn of them, the files that come out, and what there is no drawing of."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path

import numpy as np
import optuna
import plotly
import pytest
from test_comparison import beside, record

from nn import PerClass
from service import figures
from service.errors import InputError
from service.evaluation import Evaluation
from service.figures import Bars, Curves, Line, Matrix
from service.figures.page import page
from service.figures.png import png
from service.importance import importance


def runs(*curves, metric="val_loss", specs=None):
    """Runs 1, 2, … with these curves of one metric."""
    specs = specs or [{"seed": number} for number, _ in enumerate(curves)]
    best = [min((value for value in curve if math.isfinite(value)), default=math.nan) for curve in curves]
    made = [record(at + 1, specs[at], {metric: best[at]}) for at in range(len(curves))]
    points = {at + 1: {metric: tuple(enumerate(curve, 1))} for at, curve in enumerate(curves)}
    return beside(*made, metric=metric, curves=points)


def grid(count=40):
    """Runs whose loss depends on the learning rate, a little on the activation, and not on the seed."""
    specs, losses = [], []
    for number in range(count):
        rate, tanh = 10 ** -(1 + number % 5), number % 3 == 0
        dense = {"units": 64, "activation": "tanh" if tanh else "relu"}
        specs.append(
            {"network": [{"dense": dense}], "optimizer": {"sgd": {"learning_rate": rate}}, "seed": number * 7 % 11}
        )
        losses.append([abs(math.log10(rate) + 3) + 0.1 * tanh + 0.001 * number])
    return runs(*losses, specs=specs)


# What is drawn


def test_of_a_few_runs_both_curves_are_drawn_and_the_training_rows_are_dashed():
    curves = {1: {"loss": ((1, 3.0), (2, 2.0)), "val_loss": ((1, 4.0), (2, 3.0))}, 2: {"val_loss": ((1, 2.0),)}}
    made = (record(number, metrics={"loss": 1.0, "val_loss": 1.0}) for number in curves)
    found = beside(*made, metric="val_loss", curves=curves)
    drawn = figures.curves(found)
    assert [(line.name, line.colour, line.dashed) for line in drawn.lines] == [
        ("run 1 loss", 0, True), ("run 1 val_loss", 0, False), ("run 2 val_loss", 1, False),
    ]  # fmt: skip
    assert (drawn.title, drawn.metric) == ("loss and val_loss of 2 runs", "loss")
    assert [line.name for line in figures.curves(found, "val_loss").lines] == ["run 1", "run 2"]


def test_of_many_runs_the_best_stand_out_and_the_others_are_there():
    drawn = figures.curves(runs(*([value, value / 2] for value in range(1, 31))))
    assert [line.name for line in drawn.lines if line.colour is not None] == [f"run {number}" for number in range(1, 7)]
    assert len(drawn.lines) == 30


@pytest.mark.parametrize(
    ("metric", "values", "told", "logarithmic"),
    [
        ("val_loss", [2.0, 0.01], None, True),
        ("val_loss", [2.0, 1.0], None, False),
        ("val_loss", [2.0, 0.01, 0.0], None, False),
        ("val_accuracy", [0.01, 1.0], None, False),
        ("val_loss", [2.0, 1.0], True, True),
        ("val_loss", [2.0, 0.01], False, False),
    ],
)
def test_a_loss_that_spans_decades_has_a_logarithmic_axis_unless_told(metric, values, told, logarithmic):
    assert figures.curves(runs(values, metric=metric), logarithmic=told).logarithmic is logarithmic


def test_a_run_that_diverged_is_left_out_and_if_all_did_it_is_told():
    assert [line.name for line in figures.curves(runs([math.nan], [1.0])).lines] == ["run 2"]
    with pytest.raises(InputError, match="no value of val_loss can be drawn"):
        figures.curves(runs([math.nan, math.inf]))
    with pytest.raises(InputError, match="none of these runs has a metric yet"):
        figures.curves(beside(record(1)))


def test_parallel_axes_have_numbers_at_their_places_words_apart_and_a_place_for_none():
    specs = [
        {"optimizer": {"sgd": {"learning_rate": rate}}, "loss": word, "seed": seed}
        for rate, word, seed in ((0.001, "a", None), (0.1, "b", 5), (0.01, "c", 6))
    ]
    drawn = figures.parallel(runs([3.0], [1.0], [2.0], specs=specs))
    assert drawn.runs == ("run 2", "run 3", "run 1")  # the best first
    assert drawn.ranks == (0.0, 0.5, 1.0)
    axes = {axis.name: axis for axis in drawn.axes}
    assert list(axes) == ["learning_rate", "loss", "seed", "val_loss"]
    assert axes["learning_rate"].heights == pytest.approx((1.0, 0.5, 0.0))  # by the logarithm
    assert axes["loss"].heights == (0.5, 1.0, 0.0)
    assert axes["seed"].heights[2] == 0.0 < min(axes["seed"].heights[:2])
    assert axes["seed"].ticks[0] == (0.0, "-")
    assert {text for _, text in axes["val_loss"].ticks} == {"1", "2", "3"}


def test_what_has_no_parallel_coordinates_is_told():
    same = [{"seed": 1}] * 3
    with pytest.raises(InputError, match="no key of the spec differs"):
        figures.parallel(runs([3.0], [1.0], [2.0], specs=same))
    with pytest.raises(InputError, match="take two runs or more with val_loss; there is 1 here"):
        figures.parallel(runs([3.0], [math.nan]))


def test_a_matrix_is_of_one_class_a_row():
    judged = Evaluation("test", 3, {"accuracy": 2 / 3}, ("a", "b"), None, np.array([[1, 1], [0, 1]]))
    assert figures.matrix(7, judged) == Matrix(
        "run 7 on its 3 test rows, accuracy 0.6667", ("a", "b"), ((1, 1), (0, 1))
    )
    with pytest.raises(InputError, match="run 7 predicts numbers"):
        figures.matrix(7, Evaluation("test", 3, {}, (), None, None))
    labels = PerClass(*(np.zeros(2),) * 4)
    with pytest.raises(InputError, match="run 7 predicts several labels at once"):
        figures.matrix(7, Evaluation("test", 3, {}, ("a", "b"), labels, None))


# Importance


def test_the_key_that_decides_is_the_most_important_and_the_shares_are_one():
    found = importance(grid())
    assert next(iter(found.shares)) == "optimizer.sgd.learning_rate"
    assert set(found.shares) == {"optimizer.sgd.learning_rate", "network[0].dense.activation", "seed"}
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["optimizer.sgd.learning_rate"] > 0.5
    assert found.document()["direction"] == "lower"


def test_keys_that_some_runs_lack_are_weighed_without_a_warning_or_a_line_of_log(caplog):
    optuna.logging.enable_propagation()
    caplog.set_level(0)
    specs = [{"optimizer": {"adam" if n % 4 else "sgd": {"learning_rate": 10 ** -(n % 5)}}} for n in range(20)]
    found = importance(runs(*([float(n % 5 + 1)] for n in range(20)), specs=specs))
    assert "optimizer.sgd.learning_rate" in found.shares
    optuna.logging.disable_propagation()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("losses", "specs", "sentence"),
    [
        ([1.0] * 7 + [math.nan], None, "importance takes 8 runs or more with val_loss; 7 of these have it"),
        (list(range(9)), [{"seed": 1}] * 9, "no key of the spec differs between these runs"),
        ([1.0] * 9, None, "val_loss is 1 in all of these runs, so no key matters"),
    ],
)
def test_what_has_no_importance_is_told(losses, specs, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        importance(runs(*([loss] for loss in losses), specs=specs))


# Files

ODD = "</script><b>$\\frac{x}$ 数"
DRAWN = {
    "curves": lambda: figures.curves(runs(*([1234.5, math.nan, 0.001 * value] for value in range(1, 13)))),
    "odd": lambda: Curves(ODD, ODD, (Line(ODD, ((1, 0.0), (2, math.inf), (3, 1e-9), (4, 1234.5)), 0, False),), True),
    "one epoch": lambda: figures.curves(runs([1234.5])),
    "matrix": lambda: Matrix(ODD, (*(f"class {n}" for n in range(44)), ODD), ((0, 1234, *[1] * 43),) * 45),
    "parallel": lambda: figures.parallel(runs([1234.5], [2.0], [3.0], [3.0])),
    "bars": lambda: Bars(ODD, ("seed", ODD), (0.8765, 0.1235)),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_picture_is_a_png_with_something_on_it(name):
    from matplotlib import image

    data = png(DRAWN[name]())
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    pixels = image.imread(io.BytesIO(data), format="png")
    assert min(pixels.shape[:2]) >= 150
    assert pixels[..., :3].std() > 0.02


@pytest.mark.parametrize("name", DRAWN)
def test_a_page_holds_its_numbers_and_asks_the_network_for_nothing(name):
    text = page(DRAWN[name]()).decode()
    script = Path(plotly.__file__).with_name("package_data") / "plotly.min.js"
    own = text.replace(script.read_text(encoding="utf-8"), "", 1)
    assert len(own) < 200_000 < len(text)  # plotly's script is in it
    assert re.findall(r"https?://|<[a-z]+[^>]* (?:src|href)=|<b>|\\u003cb\\u003e|</script>[<$b]", own) == []
    assert '"showSendToCloud": false' in own
    assert "0.8765" in own if name == "bars" else re.search(r"1234|1,234", own)
