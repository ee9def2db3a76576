"""The spec: every key, its type, its limits, its default and what it means.

This is where a key is added. The reference, the JSON Schema and the error messages are made from these models.
"""

from __future__ import annotations

from pathlib import Path as File
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from nn import LAYERS, LOSSES, OPTIMIZERS, SCALERS, EarlyStopping
from service.spec.document import Document
from service.spec.errors import Path, SpecError, shown
from service.spec.parts import Choice, Settings, Strict, choice, settings

VERSION = 1

if TYPE_CHECKING:
    LayerChoice: TypeAlias = Choice
    LossChoice: TypeAlias = Choice
    OptimizerChoice: TypeAlias = Choice
    EarlyStoppingSettings: TypeAlias = Settings
    ScalerName: TypeAlias = str
else:
    LayerChoice = choice("layer", LAYERS)
    LossChoice = choice("loss", LOSSES)
    OptimizerChoice = choice("optimizer", OPTIMIZERS)
    EarlyStoppingSettings = settings(EarlyStopping)
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


def _different(names: list[str]) -> list[str]:
    if twice := [name for name in names if names.count(name) > 1]:
        raise PydanticCustomError("sentence", f"'{twice[0]}' is listed twice")
    return names


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


class Split(Strict):
    """How the rows are divided; what is left trains. The seed decides which row goes where."""

    validation: float = Field(0.2, ge=0, lt=1, description="share of the rows on which every epoch is judged")
    test: float = Field(0.1, ge=0, lt=1, description="share of the rows kept for one judgement at the end")
    stratify: bool | None = Field(
        None,
        description="give every part the same share of each class; unless told, done when there are classes",
    )

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        if self.validation + self.test >= 1:
            raise PydanticCustomError("sentence", "validation and test take every row; nothing is left to train on")
        return self


class DataSection(Strict):
    """What to learn from."""

    source: OneLine = Field(
        description="a built-in dataset, a registered one, or a file (CSV, Parquet, npz, idx) relative to the spec"
    )
    target: Names | None = Field(None, description="the column that holds the labels, or several for regression")
    features: Names | None = Field(None, description="the columns to learn from; unless told, all others")
    task: Literal["classification", "regression"] | None = Field(
        None, description="what the labels are; unless told, the loss decides, or else the kind of the labels"
    )
    split: Split = Field(Split(), description="how the rows are divided")
    scale: ScalerName = Field(
        "standard",
        description="standard: mean 0 and deviation 1; minmax: 0 to 1; none: as they are, except that bytes (0 to 255) "
        "become 0 to 1. Measured on the training rows alone",
    )


class TrainSection(Strict):
    """How long and in which portions."""

    epochs: int = Field(20, ge=1, le=1_000_000, description="passes over the training rows")
    batch_size: int = Field(32, ge=1, le=2**31 - 1, description="rows in one step")
    early_stopping: EarlyStoppingSettings | None = Field(None, description="stop when a metric no longer improves")
    threads: int = Field(
        1, ge=1, le=1024, description="BLAS threads; part of the spec because another number gives other last digits"
    )


class Spec(Strict):
    """A job: data, network, loss, optimizer, training. Made by `load`, `parse` or `from_document`."""

    version: Annotated[int, AfterValidator(_only_version_1)] = Field(
        description="the version of this format: 1", json_schema_extra={"const": VERSION}
    )
    name: OneLine | None = Field(None, description="what the run is called; unless told, the file's name")
    data: DataSection = Field(description="what to learn from")
    network: list[LayerChoice] = Field(
        description="the layers from input to output; the output layer may be left out, the labels decide it"
    )
    loss: LossChoice | None = Field(
        None, description="what is minimised; unless told, cross_entropy for classes and mse for numbers"
    )
    optimizer: OptimizerChoice = Field(
        default_factory=lambda: OptimizerChoice.model_validate("adam"), description="how the parameters are moved"
    )
    train: TrainSection = Field(TrainSection(), description="how long and in which portions")
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
