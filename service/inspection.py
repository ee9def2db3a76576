"""Looking inside a trained network: its layers, what its first layer looks for in images, and the images that it takes
for something else most firmly; how its weights and their gradients are spread says `service.spreads`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nn import Array, LayerSummary, Network
from nn.metrics.decisions import by_class, decided
from service.assembly.inputs import preparation
from service.assembly.layers import input_shape
from service.datasets import Dataset, Schema
from service.evaluation import Evaluation, assembly_of, judge
from service.pictures import data_url
from service.prediction import raw_outputs
from service.spec import Spec
from service.spreads import Gradients, Spread, gradients, spreads
from service.weights import Weights

FILTERS = 64  # of the first layer, shown as pictures
MISTAKES = 24


@dataclass(frozen=True)
class Layers:
    """The network as a table: what a sample is, layer after layer, and how many parameters there are."""

    input_shape: tuple[int, ...]
    layers: tuple[LayerSummary, ...]
    parameters: int


@dataclass(frozen=True, eq=False)
class Mistake:
    """An image (height, width) or (height, width, channels) uint8, its class and the one it was taken for."""

    row: int
    image: Array
    true: str
    told: str


@dataclass(frozen=True, eq=False)
class Inside:
    """`filters` are images uint8 like those of the data, grey 128 for 0. They and `mistakes` are empty without images.

    `evaluation` is None where the run kept no rows back, and the network is not judged by what it has learned.
    """

    spreads: tuple[Spread, ...]
    gradients: Gradients
    filters: tuple[Array, ...]
    units: int  # of the first layer, of which the filters may be some
    mistakes: tuple[Mistake, ...]
    evaluation: Evaluation | None

    def document(self) -> dict[str, Any]:
        """Plain values for JSON."""
        from service.store.records import jsonable

        return {
            "spreads": [jsonable(asdict(spread)) for spread in self.spreads],
            "gradients": jsonable(asdict(self.gradients)),
            "filters": [data_url(image) for image in self.filters],
            "units": self.units,
            "mistakes": [{**vars(mistake), "image": data_url(mistake.image)} for mistake in self.mistakes],
            "evaluation": self.evaluation.document() if self.evaluation else None,
        }


def layers(spec: Spec, schema: Schema) -> Layers:
    """The network of a resolved spec, without reading data or weights."""
    shape = input_shape(spec, schema, preparation(spec, schema))
    return of_network(Network([choice.build() for choice in spec.network], shape))


def of_network(network: Network) -> Layers:
    return Layers(network.input_shape, tuple(network.summary()), network.size)


def inside(weights: Weights, dataset: Dataset) -> Inside:
    """All there is to see, on the rows that were kept for test, or else for validation."""
    filters = first_filters(weights)
    made = assembly_of(weights, dataset)
    judged = next((split for split in ("test", "validation") if getattr(made, split) is not None), None)
    evaluation = judge(made, weights, dataset, judged) if judged else None
    mistakes = worst(weights, dataset, getattr(made.outline, f"{judged}_rows")) if judged else ()
    return Inside(
        spreads(weights), gradients(weights, made), tuple(filters[:FILTERS]), len(filters), mistakes, evaluation
    )


def first_filters(weights: Weights) -> Sequence[Array]:
    """What each unit of the first layer with weights looks for, as an image; empty where that says nothing."""
    image = weights.schema.image_shape
    name = next((name for name in weights.parameters.views if name.endswith(".weight")), None)
    if len(image) not in (2, 3) or name is None:
        return ()
    weight = weights.parameters.views[name]
    if ".conv2d." in name:
        filters = weight.transpose(3, 0, 2, 1)  # (row, channel, column, unit) to (unit, row, column, channel)
        channels = filters.shape[-1]
        filters = filters[..., 0] if channels == 1 else filters
    elif ".dense." in name and weight.shape[0] == math.prod(image):
        filters = weight.T.reshape(-1, *image)
    else:
        return ()
    if filters.ndim == 4 and filters.shape[-1] != 3:  # neither grey nor coloured: as strong as the channels together
        filters = filters.mean(axis=-1)
    return [_grey(filter) for filter in filters]


def _grey(values: Array) -> Array:
    """Numbers around 0 as bytes around 128, each picture at its full contrast."""
    top = float(np.abs(values).max()) or 1.0
    grey: Array = np.asarray(128 + 127 * values / top, np.uint8)
    return grey


def worst(weights: Weights, dataset: Dataset, rows: Array) -> tuple[Mistake, ...]:
    """The images of these rows that the network is most firmly wrong about: by how far the wrong output leads."""
    schema = dataset.schema
    if schema.task != "classification" or len(schema.image_shape) not in (2, 3):
        return ()
    labels, outputs = dataset.labels[rows], raw_outputs(weights, dataset.features[rows])
    told, scores = decided(outputs), by_class(outputs)
    each = np.arange(len(rows))
    lead = scores[each, told] - scores[each, labels]
    wrong = np.flatnonzero(told != labels)
    firmest = wrong[np.argsort(-lead[wrong], kind="stable")][:MISTAKES]
    low, high = float(dataset.features.min()), float(dataset.features.max())
    return tuple(
        Mistake(
            int(rows[at]), _bytes(dataset.features[rows[at]].reshape(schema.image_shape), low, high),
            schema.classes[labels[at]], schema.classes[told[at]],
        )
        for at in firmest.tolist()
    )  # fmt: skip


def _bytes(image: Array, low: float, high: float) -> Array:
    """An image as bytes; those of one channel without it, those of neither one nor three as one."""
    if image.ndim == 3 and image.shape[-1] != 3:
        image = image.mean(axis=-1)
    if image.dtype == np.uint8:
        return image
    return np.asarray(255 * (image - low) / ((high - low) or 1.0), np.uint8)
