"""Looking inside a network: what is drawn of it is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import nn
from nn.data import minibatches
from nn.training import Loop
from service import assembly, datasets
from service.inspection import inside, layers
from service.prediction import raw_outputs
from service.spec import parse
from service.spreads import GRADIENT_ROWS, gradient_words, gradients, spread, still_words
from service.web.pages.inside import histogram
from service.weights import Weights, pack, unpack

EXAMPLES = Path(__file__).parents[2] / "examples"
DENSE = """
version: 1
data: {source: digits, split: {test: 0.2}}
network: [{dense: {units: 12, activation: relu}}]
"""
IRIS = "{{version: 1, data: {{source: iris, split: {{{}}}}}, network: [{{dense: {{units: 4, activation: relu}}}}]}}"
CONVOLVED = """
version: 1
data: {source: digits, split: {test: 0.2}}
network: [{conv2d: {units: 5, size: 3, activation: relu}}, flatten]
"""


def trained(text: str, epochs: int = 1) -> tuple[Weights, datasets.Dataset]:
    spec = parse(text, "spec", [f"train.epochs={epochs}"])
    dataset = datasets.load(spec)
    made = assembly.assemble(spec, dataset)
    state = nn.State.start(made.plan)
    for _ in nn.train(made.plan, state, made.train, made.validation):
        pass
    return unpack(pack(state.parameters, made.scaler, made.spec, dataset.schema)), dataset


def untrained(text: str, overrides: Sequence[str] = ()) -> tuple[Weights, datasets.Dataset]:
    spec = parse(text, "spec", overrides)
    dataset = datasets.load(spec)
    made = assembly.assemble(spec, dataset)
    parameters = nn.State.start(made.plan).parameters
    return unpack(pack(parameters, made.scaler, made.spec, dataset.schema)), dataset


@pytest.fixture(scope="module")
def dense() -> tuple[Weights, datasets.Dataset]:
    return trained(DENSE, 2)


def test_the_layers_follow_from_spec_and_schema_alone(dense):
    weights, dataset = dense
    found = layers(weights.spec, dataset.schema)
    assert found.input_shape == weights.network.input_shape
    assert found.parameters == weights.network.size == 64 * 12 + 12 + 12 * 10 + 10
    assert [layer.output_shape for layer in found.layers] == [(12,), (10,)]


def test_a_filter_of_a_dense_layer_is_its_column_as_an_image(dense):
    weights, dataset = dense
    found = inside(weights, dataset)
    assert (len(found.filters), found.units) == (12, 12)
    column = weights.parameters.views["1.dense.weight"][:, 3].reshape(8, 8)
    assert found.filters[3].shape == (8, 8)
    order = column.ravel().argsort()
    assert (np.diff(found.filters[3].ravel()[order].astype(int)) >= 0).all()
    assert np.abs(found.filters[3].astype(int) - 128).max() == pytest.approx(127, abs=1)


def test_a_filter_of_a_convolution_is_its_kernel():
    weights, dataset = trained(CONVOLVED)
    found = inside(weights, dataset)
    kernel = weights.parameters.views["1.conv2d.weight"][:, 0, :, 2]
    assert [image.shape for image in found.filters] == [(3, 3)] * 5
    order = kernel.ravel().argsort()
    assert (np.diff(found.filters[2].ravel()[order].astype(int)) >= 0).all()


def test_mistakes_are_wrong_and_the_firmest_comes_first(dense):
    weights, dataset = dense
    found = inside(weights, dataset)
    assert found.evaluation is not None
    wrong = found.evaluation.rows - np.trace(found.evaluation.confusion)
    assert 1 < len(found.mistakes) == min(24, wrong)
    assert all(mistake.true != mistake.told for mistake in found.mistakes)
    assert all(dataset.schema.classes[dataset.labels[mistake.row]] == mistake.true for mistake in found.mistakes)
    outputs = raw_outputs(weights, dataset.features[[mistake.row for mistake in found.mistakes]])
    true = [dataset.schema.classes.index(mistake.true) for mistake in found.mistakes]
    leads = outputs.max(axis=1) - outputs[range(len(true)), true]
    assert (np.diff(leads) <= 1e-5).all()
    first = dataset.features[found.mistakes[0].row].reshape(8, 8)
    assert found.mistakes[0].image.argmax() == first.argmax()
    test_rows = set(assembly.outline(weights.spec, dataset, weights).test_rows.tolist())
    assert {mistake.row for mistake in found.mistakes} <= test_rows


def test_without_images_there_are_no_pictures():
    found = inside(*trained(IRIS.format("test: 0.2")))
    assert (found.filters, found.mistakes) == ((), ())
    assert [each.name for each in found.spreads][:2] == ["1.dense.weight", "1.dense.bias"]


def test_without_rows_that_were_kept_back_nothing_is_judged():
    found = inside(*trained(IRIS.format("validation: 0, test: 0")))
    assert found.evaluation is None


def test_a_spread_counts_every_value():
    found = spread("weight", np.array([0.0, 0.0, 1.0, 4.0]))
    assert (sum(found.counts), found.low, found.high, found.mean) == (4, 0.0, 4.0, 1.25)


@pytest.mark.parametrize("value", [0.0, -1.5, 1e-30, 3e7])
def test_values_that_are_all_the_same_are_one_bar_between_the_value_and_itself(value):
    found = spread("bias", np.full(3, value))
    assert (found.low, found.high, found.counts) == (value, value, (3,))
    drawn = histogram(found)
    assert (drawn.low, drawn.high, drawn.path.count("M")) == (f"{value:.4g}", f"{value:.4g}", 1)


# Gradients

BATCH = """
version: 1
data: {source: digits, split: {validation: 0.2}}
network: [{dense: {units: 9, activation: tanh}}, {dropout: 0.4}, batch_norm, {dense: {units: 5, activation: relu}}]
train: {class_weights: {"3": 5.0}, l2: 0.1}
"""


def slope(weights: Weights, made: assembly.Assembly, data: nn.Data, name: str, place: tuple[int, ...]) -> float:
    """The central difference of the mean loss by one number, in float64."""
    parameters = nn.FlatBuffer(weights.parameters.shapes, flat=weights.parameters.flat.astype(np.float64))
    targets, losses = made.plan.loss.targets(data.labels, made.plan.outputs), []
    for step in (1e-5, -2e-5):
        parameters.views[name][place] += step
        outputs, _ = made.plan.network.forward(parameters, data.inputs(data.features).astype(np.float64))
        losses.append(float(made.plan.loss.value(outputs, targets, weights=data.weights)))
    return (losses[0] - losses[1]) / 2e-5


def test_a_gradient_is_the_slope_of_the_loss_of_the_network_as_it_answers():
    weights, dataset = trained(BATCH)
    made = assembly.assemble(weights.spec, dataset, weights)
    data = made.train.take(np.arange(100))
    kept = weights.parameters.flat.tobytes()
    found = nn.gradient(made.plan, weights.parameters, data)
    for name, place in (("1.dense.weight", (20, 3)), ("3.batch_norm.scale", (2,)), ("5.dense.bias", (4,))):
        assert found.views[name][place] == pytest.approx(slope(weights, made, data, name, place), rel=1e-2, abs=1e-6)
    assert not found.views["3.batch_norm.mean"].any()
    assert weights.parameters.flat.tobytes() == kept  # no statistic has moved


def test_without_noise_it_is_the_gradient_that_training_takes():
    weights, dataset = trained(DENSE)
    made = assembly.assemble(weights.spec, dataset, weights)
    data, state = made.train.take(np.arange(made.plan.batch_size)), nn.State.start(made.plan)
    np.copyto(state.parameters.flat, weights.parameters.flat)
    loop = Loop(made.plan, state, data)
    loop.differentiate(next(minibatches(data, loop.targets, loop.labels, np.arange(len(data)), len(data))))
    np.testing.assert_allclose(nn.gradient(made.plan, weights.parameters, data).flat, loop.gradients.flat, atol=1e-7)


KINDS = {
    "iris": ["[{dense: {units: 4, activation: relu}}, layer_norm]", "[{residual: {layers: [dense: {units: 4}]}}]"],
    "digits": [
        "[{conv2d: {units: 3, size: 3, activation: relu}}, max_pool, batch_norm, flatten]",
        "[{conv2d: {units: 2, size: 3}}, {activation: tanh}, average_pool, global_average_pool]",
        "[{conv1d: {units: 3, size: 3}}, {reshape: {shape: [18]}}, {dropout: 0.2}]",
        "[{embedding: {vocabulary: 17, units: 2}}, flatten]",
    ],
}


def test_every_layer_and_every_loss_has_gradients_to_look_at():
    specs = [f"{{version: 1, data: {{source: {source}, scale: none}}, network: {network}}}"
             for source, networks in KINDS.items() for network in networks]  # fmt: skip
    used = {kind for kind in nn.LAYERS if any(kind in spec for spec in specs)}
    assert used == set(nn.LAYERS)
    plain = "{{version: 1, data: {{source: {}}}, network: [{{dense: {{units: 3, activation: tanh}}}}], loss: {}}}"
    specs += [
        plain.format("breast_cancer" if "classification" in loss.tasks else "diabetes", name)
        for name, loss in nn.LOSSES.items()
    ]
    for text in specs:
        weights, dataset = untrained(text)
        found = gradients(weights, assembly.assemble(weights.spec, dataset, weights))
        assert found.spreads, text
        assert found.still == (), text
        assert all(sum(each.counts) + each.strange == np.prod(each.shape) for each in found.spreads)


DEEP = """
version: 1
data: {source: iris}
network: [{dense: {units: 4, activation: relu}}, {dense: {units: 4, activation: relu}}]
"""


def test_a_dead_layer_is_told_and_so_are_those_below_it_and_a_frozen_one_is_not_dead():
    weights, dataset = untrained(DEEP)
    weights.parameters.views["2.dense.weight"][...] = 0
    weights.parameters.views["2.dense.bias"][...] = -1
    found = gradients(weights, assembly.assemble(weights.spec, dataset, weights))
    assert found.still == ("1.dense", "2.dense")
    assert (
        still_words(found) == "Dead: 1.dense and 2.dense get no gradient from any of these rows, and so learn nothing."
    )
    assert histogram(found.spreads[0]).words.endswith("all 0")
    weights, dataset = untrained(DEEP, ["train.freeze=[1]"])
    found = gradients(weights, assembly.assemble(weights.spec, dataset, weights))
    assert (found.still, found.frozen) == ((), ("1.dense",))
    assert {each.name.partition(".")[0] for each in found.spreads} == {"2", "3"}
    assert "Frozen, and so left out: 1.dense." in gradient_words(found)


def test_gradients_are_of_a_bounded_number_of_rows_the_same_each_time(dense, monkeypatch):
    weights, dataset = dense
    made = assembly.assemble(weights.spec, dataset, weights)
    found = gradients(weights, made)
    assert (found.rows, found.of) == (GRADIENT_ROWS, len(made.train))
    assert found == gradients(weights, made)
    assert f"512 of its {len(made.train):,} training rows, drawn by its seed" in gradient_words(found)


def test_a_spread_of_what_is_hardly_a_number_is_a_spread_nonetheless():
    assert sum(spread("tiny", np.array([0, 1e-45, 3e-44], np.float32)).counts) == 3
    found = spread("strange", np.array([1.0, np.nan, -np.inf, 0.0], np.float32))
    assert (sum(found.counts), found.strange, found.zeros) == (2, 2, 1)
    assert sum(spread("none", np.full(3, np.nan)).counts) == 0
    assert histogram(spread("none", np.full(3, np.nan))).words.endswith("100 % are not finite")
