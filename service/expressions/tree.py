"""What an expression says: frozen values, made by the parser, read by whatever answers it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

Value: TypeAlias = bool | int | float | str | datetime
Path: TypeAlias = tuple[str | int, ...]


class Kind(StrEnum):
    """What a field can be compared with, in words for a person."""

    NUMBER = "a number"
    TEXT = "a text"
    TRUTH = "true or false"
    TIME = "a time"
    DURATION = "a duration"


# What a run is asked for


@dataclass(frozen=True)
class Column:
    """Something that every run has or may have: its state, its queue, when it was created."""

    name: str
    kind: Kind
    choices: tuple[str, ...] = ()

    @property
    def kinds(self) -> frozenset[Kind]:
        return frozenset({self.kind})

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Tag:
    """The run's tags. A run may have several, so = and `like` ask whether one of them fits."""

    kinds = frozenset({Kind.TEXT})
    choices = ()

    def __str__(self) -> str:
        return "tag"


@dataclass(frozen=True)
class Metric:
    """A metric's value: `of` is last or best, or the number of an epoch."""

    name: str
    of: str | int = "last"

    kinds = frozenset({Kind.NUMBER})
    choices = ()

    def __str__(self) -> str:
        if isinstance(self.of, int):
            return f"at({self.name}, {self.of})"
        return self.name if self.of == "last" else f"{self.of}({self.name})"


@dataclass(frozen=True)
class Key:
    """What stands at a path of the spec. `named`: a part such as an optimizer, of which the name is compared."""

    path: Path
    kinds: frozenset[Kind] = frozenset()
    choices: tuple[str, ...] = ()
    named: bool = False

    def __str__(self) -> str:
        return ".".join(map(str, self.path))


@dataclass(frozen=True)
class Layers:
    """How many layers the spec's network lists."""

    kinds = frozenset({Kind.NUMBER})
    choices = ()

    def __str__(self) -> str:
        return "network.layers"


Field: TypeAlias = Column | Tag | Metric | Key | Layers


# What is said of it


@dataclass(frozen=True)
class Comparison:
    """`operator` is one of = != < <= > >= and `like`, `not like` (one value), or `in`, `not in` (one or more).

    Only a value that is there, and is of the kind of `values`, satisfies it. Of tags, the negative operators say that
    there is none which the positive one fits.
    """

    field: Field
    operator: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Missing:
    """The run has nothing there. NaN is nothing, and so is a null in the spec."""

    field: Field


@dataclass(frozen=True)
class Not:
    part: Expression


@dataclass(frozen=True)
class And:
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    parts: tuple[Expression, ...]


Expression: TypeAlias = Comparison | Missing | Not | And | Or
