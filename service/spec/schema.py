"""The spec: every key, its type, its limits, its default and what it means.

This is where a key is added. The reference, the JSON Schema and the error messages are made from these models.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, Literal, LiteralString, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from nn import (
    LAYERS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    SCALERS,
    SCHEDULES,
    Augmentation,
    EarlyStopping,
    Missing,
    Target,
    metric,
)
from service.spec.document import Document
from service.spec.errors import Path, SpecError
from service.spec.parts import Choice, Settings, Strict, choice, settings
from service.wording import shown, unknown

VERSION = 1
HEAVIEST = 1e9  # a class; a weight must stay a number in 32 bits, and so must its gradients

if TYPE_CHECKING:
    LayerChoice: TypeAlias = Choice
    LossChoice: TypeAlias = Choice
    OptimizerChoice: TypeAlias = Choice
    ScheduleChoice: TypeAlias = Choice
    EarlyStoppingSettings: TypeAlias = Settings
    TargetSettings: TypeAlias = Settings
    MissingSettings: TypeAlias = Settings
    AugmentationSettings: TypeAlias = Settings
    ScalerName: TypeAlias = str
else:
    LayerChoice = choice("layer", LAYERS)
    LossChoice = choice("loss", LOSSES)
    OptimizerChoice = choice("optimizer", OPTIMIZERS)
    ScheduleChoice = choice("schedule", SCHEDULES)
    EarlyStoppingSettings = settings(EarlyStopping)
    TargetSettings = settings(Target)
    MissingSettings = settings(Missing)
    AugmentationSettings = settings(Augmentation)
    ScalerName = Literal[tuple(SCALERS)]


def _only_version_1(version: int) -> int:
    if version != VERSION:
        raise PydanticCustomError("sentence", f"this Trainyard reads version {VERSION} of the spec, not {version}")
    return version


def _one_line(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise PydanticCustomError("sentence", "must be one line of visible text")
    return text


def _names(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise PydanticCustomError("sentence", f"expected a column's name or a list of them, got {shown(value)}")
    return [value] if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    """A single value stands for the list of it."""
    return value if isinstance(value, list) else [value]


def _different(names: list[str]) -> list[str]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise PydanticCustomError("sentence", f"'{twice[0]}' is listed twice")
    return names


def _class_weights(value: Any) -> Any:
    if value == "balanced":
        return value
    if not isinstance(value, dict) or not value:
        example = "'balanced' or a mapping of classes to weights such as {spam: 2.0}"
        raise PydanticCustomError("sentence", f"expected {example}, got {shown(value)}")
    for name, weight in value.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not 0 <= weight <= HEAVIEST:
            sentence = f"the weight of '{name}' must be a number from 0 to {HEAVIEST:,.0f}, got {shown(weight)}"
            raise PydanticCustomError("sentence", sentence)
    return {name: float(weight) for name, weight in value.items()}


_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def _memory(text: Any) -> Any:
    pattern = rf"[0-9]{{1,6}}(\.[0-9]{{1,3}})? ?({'|'.join(_UNITS)})"
    if not isinstance(text, str) or not re.fullmatch(pattern, text) or not memory_bytes(text):
        raise PydanticCustomError("sentence", f"expected an amount such as 512 MiB or 2 GiB, got {shown(text)}")
    return text


def memory_bytes(text: str) -> int:
    """The bytes of an amount as `limits.memory` has it: 2 GiB."""
    number, unit = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", text).groups()  # type: ignore[union-attr]
    return int(float(number) * _UNITS[unit])


def _metric_name(name: str) -> str:
    try:
        metric(name)
    except KeyError:
        known = [*(known for known in METRICS if known != "top_k"), "top_3", "top_5"]
        raise PydanticCustomError("sentence", unknown("metric", name, known)) from None
    return name


OneLine = Annotated[str, AfterValidator(_one_line), Field(max_length=200)]
Names = Annotated[
    list[OneLine],
    BeforeValidator(_names),
    AfterValidator(_different),
    Field(min_length=1),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
        mode="validation",
    ),
]


ClassWeights = Annotated[
    Literal["balanced"] | dict[str, float] | None,
    BeforeValidator(_class_weights),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": "balanced"},
                {"type": "object", "additionalProperties": {"type": "number", "minimum": 0, "maximum": HEAVIEST}},
                {"type": "null"},
            ]
        },
        mode="validation",
    ),
]
MetricName = Annotated[OneLine, AfterValidator(_metric_name)]


class Split(Strict):
    """How the rows are divided; what is left trains. The seed decides which row goes where."""

    validation: float = Field(0.2, ge=0, lt=1, description="share of the rows on which every epoch is judged")
    test: float = Field(0.1, ge=0, lt=1, description="share of the rows kept for one judgement at the end")
    stratify: bool | None = Field(
        None,
        description="give every part the same share of each class; unless told, done when there are classes",
    )
    group: OneLine | None = Field(
        None,
        description="a column: all rows with the same value stay in one part, such as those of one patient; the shares "
        "are met as nearly as that allows",
    )
    column: OneLine | None = Field(
        None, description="a column that says it itself, in place of shares: train, validation or test"
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=10_000,
        description="cross-validation, in place of a share for validation: the rows outside the test are dealt to so "
        "many folds, each of which validates in one run",
    )
    fold: int = Field(1, ge=1, description="with folds, the one that validates in this run, from 1")

    @model_validator(mode="before")
    @classmethod
    def _shares_told_otherwise(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        none = {"validation": 0, "test": 0} if value.get("column") else {"validation": 0} if value.get("folds") else {}
        return {**none, **{key: share for key, share in value.items() if share is not None}}

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        for key, sentence in self._contradictions():
            raise PydanticCustomError("sentence", sentence, {"key": key})
        return self

    def _contradictions(self) -> Iterator[tuple[str, LiteralString]]:
        for key in ("validation", "test", "stratify", "group", "folds"):
            if self.column is not None and getattr(self, key):
                yield key, "'{key}' cannot stand beside 'column', which says already where each row goes"
        if self.folds is not None and self.validation:
            yield "validation", "'validation' cannot stand beside 'folds', one of which validates"
        if self.fold > 1 and self.folds is None:
            yield "fold", "'fold' needs 'folds', how many there are"
        if self.folds is not None and self.fold > self.folds:
            yield "fold", "'fold' is counted from 1 to 'folds', and this is beyond"
        if self.group is not None and self.stratify:
            yield "stratify", "'stratify' cannot stand beside 'group': groups stay whole, whatever their classes"

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.validation + self.test >= 1:
            raise PydanticCustomError("sentence", "validation and test take every row; nothing is left to train on")
        return self


class DataSection(Strict):
    """What to learn from."""

    source: OneLine = Field(
        description="a built-in dataset, or a file relative to the spec: CSV, TSV, Parquet, npz, idx or a folder of idx"
    )
    target: Names | None = Field(
        None, description="the column that holds the labels, or several for regression and multilabel"
    )
    features: Names | None = Field(
        None, description="the columns to learn from; unless told, all that have no other use"
    )
    task: Literal["classification", "regression", "multilabel"] | None = Field(
        None,
        description="what the labels are: classes, numbers, or several columns of 0 and 1; unless told, the loss "
        "decides, or else the kind of the labels",
    )
    one_hot: Names | None = Field(
        None,
        description="columns of whole numbers that are categories; each value becomes an input of its own, as those of "
        "a column of words do without being told",
    )
    missing: MissingSettings = Field(
        default_factory=lambda: MissingSettings.model_validate("error"),
        description="what stands in for empty cells of the features: error, mean, median, most_frequent",
    )
    weights: OneLine | None = Field(
        None, description="a column of numbers from 0 up: how much each row counts in the loss"
    )
    split: Split = Field(Split(), description="how the rows are divided")
    scale: ScalerName = Field(
        "standard",
        description="standard: mean 0 and deviation 1; minmax: 0 to 1; none: as they are, except that bytes (0 to 255) "
        "become 0 to 1. Measured on the training rows alone",
    )
    augment: AugmentationSettings | None = Field(
        None, description="how training images are changed at random, anew in every epoch"
    )

    @model_validator(mode="after")
    def _a_fill_for_the_indicator(self) -> Self:
        try:
            self.missing.build()
        except ValueError as error:
            told = {"key": "missing", "fault": str(error).removeprefix("Missing: ")}
            raise PydanticCustomError("sentence", "{fault}", told) from None
        return self

    @model_validator(mode="after")
    def _one_use_of_a_column(self) -> Self:
        uses = [(name, "target") for name in self.target or ()]
        uses += [(name, "features") for name in self.features or ()]
        told = {"weights": self.weights, "split.group": self.split.group, "split.column": self.split.column}
        for key, name in told.items():
            for other, use in uses:
                if name is not None and name == other:
                    told = {"key": key.split(".")[0], "name": name, "one": use, "other": key}
                    raise PydanticCustomError("sentence", "'{name}' cannot be both data.{one} and data.{other}", told)
            uses += [(name, key)] if name is not None else []
        return self


class TrainSection(Strict):
    """How long, in which portions, and what keeps it in bounds."""

    epochs: int = Field(20, ge=1, le=1_000_000, description="passes over the training rows")
    batch_size: int = Field(32, ge=1, le=2**31 - 1, description="rows in one batch")
    accumulate: int = Field(
        1, ge=1, le=2**20, description="batches whose gradients make one step together, as one large batch would"
    )
    warmup: float = Field(
        0.0, ge=0, le=1_000_000, description="epochs in which the learning rate rises from 0 before its schedule begins"
    )
    l1: float = Field(
        0.0, ge=0, description="added to the gradient of each weight: this times its sign. As with l2, not to biases"
    )
    l2: float = Field(
        0.0,
        ge=0,
        description="added to the gradient of each weight: this times the weight. Not to biases; not in the loss shown",
    )
    clip_norm: float | None = Field(
        None, gt=0, description="the longest a step's gradient may be; a longer one is shortened to this"
    )
    clip_value: float | None = Field(
        None,
        gt=0,
        description="the largest that an entry of the gradient may be, either way; a larger one becomes this",
    )
    average: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="keep a moving average of the weights with this decay; it is judged and saved in their place",
    )
    class_weights: ClassWeights = Field(
        None,
        description="how much a row counts by its class: `balanced` (all classes the same in all), or a mapping of "
        "classes to numbers, 1 for those it leaves out",
    )
    freeze: Annotated[list[Annotated[int, Field(ge=1)]], BeforeValidator(_listed)] = Field(
        default=[],
        description="numbers of the layers, from 1, that keep the parameters they begin with, as in fine-tuning",
    )
    early_stopping: EarlyStoppingSettings | None = Field(None, description="stop when a metric no longer improves")
    target: TargetSettings | None = Field(None, description="stop when a metric is good enough")
    max_seconds: float | None = Field(
        None, gt=0, description="stop at the first end of an epoch after this much training, all attempts together"
    )
    log_every: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="keep loss, learning_rate and gradient_norm of every so many steps, besides the metrics of each "
        "epoch; unless told, of none. The loss is the batch's, the gradient's norm that before it is clipped",
    )
    threads: int = Field(
        1, ge=1, le=1024, description="BLAS threads; part of the spec because another number gives other last digits"
    )


class Limits(Strict):
    """What a run may take at most. One that takes more fails, with its weights and its checkpoint saved."""

    seconds: float | None = Field(
        None,
        gt=0,
        description="of a slot's time, all attempts together; to end in good order, see `train.max_seconds`",
    )
    memory: Annotated[str, BeforeValidator(_memory)] | None = Field(
        None, description="of the process that trains it, such as 2 GiB; an empty process has about 100 MiB"
    )
    stalled_epochs: int | None = Field(
        None, ge=1, description="epochs in a row in which the training loss sets no new low"
    )


class Beginning(Strict):
    """Begin with another run's parameters instead of new ones: those whose name and shape are the same."""

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, value: Any) -> Any:
        """`begin: 7` is {run: 7}."""
        return {"run": value} if isinstance(value, int) and not isinstance(value, bool) else value

    run: int = Field(ge=1, le=2**53 - 1, description="the number of the run")
    weights: Literal["best", "last"] = Field("best", description="which of its weights")
    sha256: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="the hash that they must have; filled in by submit"
    )


class Spec(Strict):
    """A job: data, network, loss, optimizer, training. Made by `load`, `parse` or `from_document`."""

    version: Annotated[int, AfterValidator(_only_version_1)] = Field(
        description="the version of this format: 1", json_schema_extra={"const": VERSION}
    )
    name: OneLine | None = Field(
        None, description="what the run is called; unless told, the file's name, or without a file the data's"
    )
    data: DataSection = Field(description="what to learn from")
    network: list[LayerChoice] = Field(
        description="the layers from input to output; the output layer may be left out, the labels decide it"
    )
    loss: LossChoice | None = Field(
        None,
        description="what is minimised; unless told, cross_entropy for classes, mse for numbers and "
        "binary_cross_entropy for several labels at once",
    )
    optimizer: OptimizerChoice = Field(
        default_factory=lambda: OptimizerChoice.model_validate("adam"), description="how the parameters are moved"
    )
    schedule: ScheduleChoice = Field(
        default_factory=lambda: ScheduleChoice.model_validate("constant"),
        description="how the learning rate changes from step to step",
    )
    metrics: Annotated[list[MetricName] | None, BeforeValidator(_listed)] = Field(
        None,
        description="what is measured besides the loss, by name; unless told, accuracy for classes and labels, mae "
        "for numbers",
    )
    begin: Beginning | None = Field(None, description="begin with another run's parameters (fine-tuning)")
    train: TrainSection = Field(TrainSection(), description="how long and in which portions")
    limits: Limits = Field(Limits(), description="what it may take at most, or else fails")
    max_attempts: int = Field(5, ge=1, le=1000, description="how often a run whose worker vanished is tried again")
    seed: int = Field(0, ge=0, le=2**53 - 1, description="decides the split, the first weights and every later draw")

    _origin: Document = PrivateAttr(default_factory=lambda: Document("spec"))
    _folder: File | None = PrivateAttr(None)

    def document(self) -> dict[str, Any]:
        """Everything, defaults included, as plain values for JSON. `from_document` gives an equal spec."""
        return self.model_dump(mode="json")

    @classmethod
    def from_document(cls, document: Any, source: str = "the stored spec") -> Spec:
        """The spec of stored values. Raises SpecError, without lines, if they are no valid spec."""
        from service.spec.reading import validate

        return validate(Document(source, document))

    def written(self) -> Document:
        """The spec as a document that knows where it was written."""
        origin = self._origin
        return Document(origin.source, self.document(), dict(origin.marks), dict(origin.overridden))

    @property
    def source_file(self) -> File:
        """`data.source` as a path: relative to the spec's folder, or to the current one if it has none."""
        return (self._folder or File()) / File(self.data.source).expanduser()

    def error(self, path: Path, sentence: str) -> SpecError:
        """An error at a place of the file this spec was read from, or at the override that replaced it."""
        return self._origin.error(path, sentence)

    def __eq__(self, other: object) -> bool:
        """Equal content; where it was read from does not matter."""
        return isinstance(other, Spec) and self.document() == other.document()

    __hash__ = None  # type: ignore[assignment]
