"""Looking inside a network: what is drawn of it is what it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import nn
from service import assembly, datasets
from service.inspection import inside, layers, spread
from service.prediction import raw_outputs
from service.spec import parse
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
    assert sum(spread("bias", np.zeros(3)).counts) == 3
