"""From a row of a dataset to what the network takes: how it is prepared, and in which shape."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nn import SCALERS, Array, ByteScaler, Preparation, Shape
from service.datasets import Dataset, Schema
from service.errors import DataError
from service.spec import Spec


def preparation(spec: Spec, schema: Schema, indicated: tuple[int, ...] = ()) -> Preparation:
    """What turns rows of the dataset into inputs; `indicated` are the columns whose empty cells are told."""
    is_bytes = schema.dtype == "uint8"
    scaler = ByteScaler() if is_bytes and spec.data.scale == "none" else SCALERS[spec.data.scale]()
    fill = "error" if is_bytes else spec.data.missing.build().fill
    return Preparation(scaler, schema.width, schema.category_counts, fill, indicated)


def prepared(preparation: Preparation, features: Array, arrays: Mapping[str, Array]) -> Array:
    """Rows (n, columns) as inputs (n, width). Raises DataError if the numbers are too large for float32."""
    with np.errstate(over="ignore", invalid="ignore"):
        inputs = preparation.apply(features, arrays)
    if not np.isfinite(inputs).all():
        raise DataError("the features hold numbers too large to scale in 32 bits; write them in another unit")
    return inputs


def sample_shape(schema: Schema, axes: int) -> Shape:
    """The shape in which a row goes to a layer that takes so many axes: numbers, a series, an image with channels.

    Raises DataError if the dataset has no such shape.
    """
    image = schema.image_shape
    if axes == 1:
        return (schema.width,)
    if axes == 2 and len(image) < 3:
        return image or (schema.width, 1)
    if axes == 3 and len(image) in (2, 3):
        return (*image, 1)[:3]
    has = f"images of {' × '.join(map(str, image))}" if image else f"rows of {schema.width} numbers"
    needs = {2: "(length, channels)", 3: "(height, width, channels)"}.get(axes, f"{axes} axes")
    raise DataError(f"the dataset holds {has}, and the network takes samples of {needs}")


def check_augment(spec: Spec, schema: Schema, preparation: Preparation, shape: Shape) -> None:
    """Raise SpecError if the spec wants to augment what is no image."""
    if spec.data.augment is None:
        return
    if len(shape) == 2:
        sentence = "only images can be augmented, and the network takes its samples as series"
        raise spec.error(("data", "augment"), f"{sentence}; remove it")
    if len(schema.image_shape) not in (2, 3):
        sentence = f"only images can be augmented, and {spec.data.source} holds rows of {schema.width} numbers"
        raise spec.error(("data", "augment"), f"{sentence}; remove it")
    side = min(schema.image_shape[:2])
    if spec.data.augment.build().shift >= side:
        sentence = f"a shift by {side} pixels or more moves images of {side} out of sight; make it smaller"
        raise spec.error(("data", "augment", "shift"), sentence)
    if preparation.indicated:
        sentence = "with indicators of its empty cells a row is more than an image, which alone can be augmented"
        raise spec.error(("data", "augment"), f"{sentence}; set data.missing.indicator: false")


def indicated(spec: Spec, dataset: Dataset, train_rows: Array) -> tuple[int, ...]:
    """The columns whose empty cells are inputs of their own. Raises SpecError if gaps cannot be filled."""
    if not dataset.schema.missing:
        return ()
    missing, place = spec.data.missing.build(), ("data", "missing")
    if missing.fill == "error":
        sentence = f"{spec.data.source} has empty cells; say what fills them: mean, median or most_frequent"
        raise spec.error(place, sentence)
    empty = np.isnan(dataset.features[train_rows])
    for column in np.flatnonzero(empty.all(axis=0))[:1].tolist():
        name = f"'{dataset.schema.features[column]}'" if dataset.schema.features else str(column + 1)
        sentence = f"column {name} is empty in every training row, so there is nothing to fill it with; leave it out"
        raise spec.error(place, sentence)
    return tuple(np.flatnonzero(empty.any(axis=0)).tolist()) if missing.indicator else ()
