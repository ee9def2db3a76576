"""What a trained network says of new rows."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nn import Array, Loss
from nn.metrics import decided
from service.assembly import prepared
from service.datasets import Schema, arrays, columns, tables
from service.datasets.roles import Roles
from service.datasets.tables import Table
from service.errors import DataError
from service.weights import Weights
from service.wording import listed, nearest

if TYPE_CHECKING:
    import polars as pl

SHOWN = 10  # column names in an error


def predict(weights: Weights, file: Path) -> pl.DataFrame:
    """A row for each row of a .csv, .tsv, .parquet or .npz file. Raises DataError if its columns do not fit.

    Classes: `prediction`, then a column for each class, with its probability if the loss makes any (`probability_…`)
    and the output as it is otherwise (`score_…`). Several labels at once: a column of 0 and 1 for each label under its
    name, then their probabilities. Numbers: `prediction`, or one `prediction_<target>` for each target.
    """
    features = read_features(weights, file)
    try:
        return predict_rows(weights, features)
    except ValueError as error:  # an embedding's: a number outside its vocabulary
        raise DataError(f"{file.name}: {error}") from None


def predict_rows(weights: Weights, features: Array) -> pl.DataFrame:
    """The same for features (n, width), not yet scaled."""
    schema, loss, raw = weights.schema, loss_of(weights), raw_outputs(weights, features)
    task: str = schema.task
    word = "probability" if loss.probabilistic else "score"
    if task == "regression":
        alone = len(schema.targets) == 1
        names = ["prediction"] if alone else [f"prediction_{target}" for target in schema.targets]
        return _frame(names, raw.T)
    if task == "multilabel":
        names = [*schema.targets, *(f"{word}_{label}" for label in schema.targets)]
        return _frame(names, [*(raw > 0).astype(np.int64).T, *loss.scores(raw).T])
    best = np.array(schema.classes)[decided(raw)]
    return _frame(
        ["prediction", *(f"{word}_{name}" for name in schema.classes)], [best.tolist(), *_by_class(loss, raw)]
    )


def _frame(names: Iterable[str], columns: Iterable[Any]) -> pl.DataFrame:
    import polars as pl

    return pl.DataFrame([pl.Series(name, column) for name, column in zip(names, columns, strict=True)])


def _by_class(loss: Loss, raw: Array) -> Array:
    """The scores of each class (classes, n); the only logit of two classes speaks for the second, and against the
    first."""
    scores: Array = loss.scores(raw if raw.shape[1] > 1 else np.concatenate([-raw, raw], axis=1))
    return scores.T


def loss_of(weights: Weights) -> Loss:
    """The loss that the network was trained with: it knows what the outputs mean. A stored spec always names it."""
    assert weights.spec.loss is not None
    loss: Loss = weights.spec.loss.build()
    return loss


def raw_outputs(weights: Weights, features: Array) -> Array:
    """The network's outputs (n, outputs) for features (n, width), not yet scaled."""
    inputs = prepared(weights.preparation, features, weights.scaler).reshape(-1, *weights.network.input_shape)
    return weights.network.predict(weights.parameters, inputs)


def read_features(weights: Weights, file: Path) -> Array:
    """Features (n, width) from a file, in the order in which the network was trained on them; NaN is an empty cell."""
    schema, gaps = weights.schema, weights.preparation.fill != "error"
    if file.suffix.lower() == ".npz":
        if schema.categories:
            raise DataError(f"{file.name}: the network was trained on columns of words; give it a table")
        return arrays.read_features(file, schema.width, gaps, schema.image_shape)
    if file.suffix.lower() not in (".csv", ".tsv", ".parquet", ".pq"):
        raise DataError(f"{file.name}: new rows are read from .csv, .tsv, .parquet or .npz files")
    table = tables.read(file)
    names = _matched(table, weights) if schema.features else _counted(table, schema)
    categories = schema.categories or ((),) * len(names)
    return np.column_stack([_column(table, name, of, gaps) for name, of in zip(names, categories, strict=True)])


def _column(table: Table, name: str, categories: tuple[str, ...], gaps: bool) -> Array:
    return columns.codes(table, name, categories, gaps) if categories else tables.numbers(table, name, "new", gaps)


def _matched(table: Table, weights: Weights) -> list[str]:
    """The columns by name. The target, and what weighs or divides rows, may be there or not.

    Other columns may be only if the spec chose its features.
    """
    schema = weights.schema
    unused = {*schema.targets, *Roles.of(weights.spec).columns}
    missing = [name for name in schema.features if name not in table.columns]
    extra = [name for name in table.columns if name not in unused and name not in schema.features]
    if missing:
        near = nearest(missing[0], extra) if len(missing) == 1 else None
        there = f"; rename '{near}' if that is meant" if near else ""
        names = listed([f"'{name}'" for name in missing[:SHOWN]]) + (" …" if len(missing) > SHOWN else "")
        raise DataError(f"{table.name} lacks the column{'s' if len(missing) > 1 else ''} {names}{there}")
    if extra and weights.spec.data.features is None:
        names = listed([f"'{name}'" for name in extra[:SHOWN]]) + (" …" if len(extra) > SHOWN else "")
        raise DataError(f"{table.name} has columns the network was not trained on: {names}; remove them")
    return list(schema.features)


def _counted(table: Table, schema: Schema) -> list[str]:
    """Without names in training, all columns but the target's, which must be as many as the features."""
    names = [name for name in table.columns if name not in schema.targets]
    if len(names) != schema.width:
        shape = f" (images of {' × '.join(map(str, schema.image_shape))})" if schema.image_shape else ""
        raise DataError(f"{table.name} has {len(names)} columns; the network takes {schema.width}{shape}")
    return names
