"""The network of a spec on a dataset: the shape of its input, its output layer, what is frozen."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from nn import (
    Activation,
    Array,
    Dense,
    Embedding,
    Flatten,
    Layer,
    Loss,
    Network,
    Preparation,
    Reshape,
    Residual,
    Shape,
    ShapeError,
)
from nn.chain import Chain
from service.assembly.inputs import sample_shape
from service.datasets import Dataset, Schema
from service.errors import DataError
from service.spec import Spec
from service.spec.errors import Path
from service.spec.schema import LayerChoice
from service.wording import listed

MOST_WORDS = 2**24  # float32 holds no more whole numbers exactly


def input_shape(spec: Spec, schema: Schema, preparation: Preparation) -> Shape:
    """The shape of a sample as the first layer that minds takes it: a row of numbers, a series, an image.

    Raises SpecError if the dataset has no such shape.
    """
    row = (preparation.width,)
    layers = [choice.build() for choice in spec.network]
    index, axes = next(((index, axes) for index, layer in enumerate(layers) if (axes := _axes(layer))), (0, {1}))
    if 1 in axes:
        return row
    kind = layers[index].kind
    place = ("network", index, kind)
    try:
        shape = sample_shape(schema, max(axes))
    except DataError as error:
        raise spec.error(place, f"{kind} cannot be here: {error}; put reshape before {kind}") from None
    if math.prod(shape) != preparation.width:
        sentence = "words and empty cells of a table become inputs of their own, which are no series; remove it"
        raise spec.error(place, f"{kind} cannot be here: {sentence}")
    return shape


def _axes(layer: Layer) -> Collection[int]:
    """How many axes of a sample a layer takes; none if it does not mind. What shapes a row anew gets a row."""
    if isinstance(layer, Residual):
        return next((axes for inner in layer.layers if (axes := _axes(inner))), ())
    return {1} if isinstance(layer, Flatten | Reshape) else layer.input_axes or ()


def with_output_layer(spec: Spec, schema: Schema, loss: Loss, shape: Shape) -> tuple[Spec, bool]:
    """The spec whose last layer gives as many numbers as the loss needs for the labels, and whether it was added.

    The last dense layer is the output layer if its activation suits the loss and its units are as many as needed. One
    that is linear with other units is a mistake, as is one that applies what the loss contains. Anything else is a
    hidden layer; a linear dense is added, below a flatten if a sample is not a row by then.
    """
    needed = _needed(spec, schema, loss)
    index, dense, activation = _last_dense(spec)
    if dense is not None and activation in loss.output_activations and dense.units == needed:
        return spec, False
    _refuse_wrong_units(spec, schema, index, dense, activation, needed)
    _refuse_doubled(spec, loss, needed)
    end = _chain(spec, shape).output_shape
    added: list[dict[str, dict[str, object]]] = [{"flatten": {}}] if len(end) > 1 else []
    added.append({"dense": {"units": needed, "activation": "linear"}})
    choices = [LayerChoice.model_validate(choice) for choice in added]
    return spec.model_copy(update={"network": [*spec.network, *choices]}), True


def network(spec: Spec, shape: Shape) -> Network:
    """The network, its frozen layers marked. Raises SpecError at the layer that cannot take what it is given."""
    _chain(spec, shape)
    frozen = spec.train.freeze
    for place, number in enumerate(frozen):
        if number > len(spec.network):
            sentence = f"there is no layer {number}; the network has {len(spec.network)}, the output layer included"
            raise spec.error(("train", "freeze", place), f"{sentence}; remove it")
    try:
        return Network([choice.build() for choice in spec.network], shape, frozen)
    except ValueError as error:
        raise spec.error(("train", "freeze"), f"{error}; leave one of them out") from None


def check_batches(spec: Spec, network: Network, rows: int) -> None:
    """Raise SpecError for batches that are larger than the data, or too small for a layer that needs several rows."""
    size, place = spec.train.batch_size, ("train", "batch_size")
    if size > rows:
        raise spec.error(place, f"a batch of {size} is larger than the {rows} training rows; lower it")
    least, last = network.least_batch, rows % size or size
    if min(size, last) < least:
        which = f"batches of {size} have" if size < least else f"the last batch of each epoch ({rows} rows) has"
        sentence = f"{which} {min(size, last)} row, and batch_norm needs {least} in each; choose another batch_size"
        raise spec.error(place, sentence)


def check_numbers(spec: Spec, dataset: Dataset) -> None:
    """Raise SpecError unless what goes into an embedding are whole numbers within its vocabulary."""
    for place, layer, first in _embeddings([choice.build() for choice in spec.network], ("network",), True):
        if not first:
            raise spec.error(place, "an embedding takes the numbers of the data; it must be the first layer")
        _check_vocabulary(spec, layer, dataset.features, place)


def _embeddings(layers: Sequence[Layer], above: Path, first: bool) -> Iterator[tuple[Path, Embedding, bool]]:
    """Every embedding, in branches too, with its place and whether it takes what is in the data."""
    for index, layer in enumerate(layers):
        place = (*above, index, layer.kind)
        if isinstance(layer, Embedding):
            yield place, layer, first
        elif isinstance(layer, Residual):
            yield from _embeddings(layer.layers, (*place, "layers"), first)
        first = first and isinstance(layer, Reshape | Flatten)


def _check_vocabulary(spec: Spec, layer: Embedding, features: Array, place: Path) -> None:
    if spec.data.scale != "none":
        raise spec.error(("data", "scale"), "an embedding takes whole numbers as they are; set scale: none")
    if features.dtype == np.uint8:
        sentence = "an embedding takes whole numbers, and bytes become 0 to 1; store them as another type"
        raise spec.error(place, sentence)
    wrong = (features != np.floor(features)) | (features < 0) | (features >= layer.vocabulary)
    if wrong.any():
        found = features[wrong].flat[0]
        sentence = f"the vocabulary is the whole numbers 0 to {layer.vocabulary - 1}, and the data holds {found:g}"
        largest = features.max()
        numbers = bool((features == np.floor(features)).all()) and features.min() >= 0 and largest < MOST_WORDS
        advice = f"make it {largest + 1:.0f}" if numbers else "number the words from 0 in the data"
        raise spec.error((*place, "vocabulary"), f"{sentence}; {advice}")


def _needed(spec: Spec, schema: Schema, loss: Loss) -> int:
    try:
        return loss.units(len(schema.classes), len(schema.targets))
    except ValueError as error:
        raise spec.error(("loss",), str(error)) from None


def _refuse_wrong_units(
    spec: Spec, schema: Schema, index: int, dense: Dense | None, activation: str, needed: int
) -> None:
    if dense is None or activation != "linear":
        return
    names = listed([*(schema.classes or schema.targets)][:12]) + (" …" if needed > 12 else "")
    what = "classes" if schema.classes else "targets" if len(schema.targets) > 1 else "target"
    count = len(schema.classes) or len(schema.targets)
    one = f", for which {spec.loss.name} needs {needed}" if spec.loss and needed != count else ""
    sentence = f"layer {index + 1} (dense) is the output layer and has {dense.units} units, but the labels have"
    advice = "change it, or give it an activation to make it a hidden layer"
    place = ("network", index, "dense", "units")
    raise spec.error(place, f"{sentence} {count} {what} ({names}){one}; {advice}")


def _refuse_doubled(spec: Spec, loss: Loss, needed: int) -> None:
    """A softmax or sigmoid at the end of a loss that computes it itself learns badly, and nobody sees why."""
    index, dense, activation = _last_dense(spec)
    own_layer = dense is not None and dense.activation == "linear"
    place = ("network", index + 1, "activation", "function") if own_layer else ("network", index, "dense", "activation")
    doubled = {"cross_entropy": ("softmax",), "binary_cross_entropy": ("sigmoid", "softmax"), "hinge": ("softmax",)}
    if dense is not None and dense.units == needed and activation in doubled.get(loss.kind, ()):
        takes = f"{loss.kind} takes outputs without it" + ("; it contains its own" if loss.kind != "hinge" else "")
        number = index + 1 + own_layer
        raise spec.error(place, f"layer {number} ({place[2]}) ends in {activation}, and {takes}; remove the activation")


def _last_dense(spec: Spec) -> tuple[int, Dense | None, str]:
    """The dense layer that ends the network, its index, and the activation of its outputs, its own or that after it."""
    layers = [choice.build() for choice in spec.network]
    index = len(layers) - 1
    if len(layers) > 1 and isinstance(layers[-1], Activation) and isinstance(layers[-2], Dense):
        if layers[-2].activation == "linear":
            return index - 1, layers[-2], layers[-1].function
    elif layers and isinstance(layers[-1], Dense):
        return index, layers[-1], layers[-1].activation
    return index, None, ""


def _chain(spec: Spec, shape: Shape) -> Chain:
    try:
        return Chain([choice.build() for choice in spec.network], shape)
    except ShapeError as error:
        raise spec.error(_place(error), f"{error}{_advice(error)}") from None


def _place(error: ShapeError) -> Path:
    """Where the layer stands that cannot take its input: in a branch, if a branch caused the error."""
    place: Path = ("network",)
    cause: BaseException | None = error
    while isinstance(cause, ShapeError):
        if cause.layer_number:
            place = (*place, *(("layers",) if len(place) > 1 else ()), cause.layer_number - 1, cause.kind)
        cause = cause.__cause__
    return place


def _advice(error: ShapeError) -> str:
    """What usually helps."""
    axes = len(error.input_shape)
    if error.needs.startswith("at least"):
        return "; make its size smaller, or add padding"
    if error.kind == "reshape":
        return f"; choose sides whose product is {math.prod(error.input_shape)}"
    if error.needs.startswith("a branch that keeps"):
        return "; change its layers so that it ends with what it began with"
    if error.kind == "dense" and axes > 1:
        return "; put flatten (or global_average_pool) before it"
    if error.kind == "conv2d" and axes == 2:
        return "; use conv1d for series"
    if axes == 1 and error.kind in ("conv1d", "conv2d", "max_pool", "average_pool", "global_average_pool"):
        return "; put reshape before it, or move it above flatten"
    return ""
