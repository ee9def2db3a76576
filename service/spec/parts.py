"""Pydantic models made from the registries of `nn`: a layer added there is known here, with its limits."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Collection, Mapping
from functools import reduce
from operator import or_
from types import NoneType
from typing import Annotated, Any, ClassVar, ForwardRef, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from nn.registry import field_types, item_type
from service.wording import did_you_mean, listed, shown, unknown

_BOUNDS = {"above": "gt", "least": "ge", "below": "lt", "most": "le"}
_PLAIN = (int, float, str)  # what the lists of settings hold
_LARGEST = 2**31 - 1  # for whole numbers without a limit of their own; what follows computes with 64 bits


class Strict(BaseModel):
    """Unknown keys and wrong types are errors; nothing is converted. A key with nothing behind it, which is null, is as
    good as none where it may be left out."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _given(cls, value: Any) -> Any:
        """What is told; validators of the models below see it before, with its nulls."""
        if not isinstance(value, dict):
            return value
        fields = cls.model_fields
        return {
            name: item
            for name, item in value.items()
            if item is not None or name not in fields or fields[name].is_required()
        }

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = handler(core)
        properties = handler.resolve_ref_schema(full).get("properties", {})
        for name, item in properties.items():
            if not cls.model_fields[name].is_required():
                properties[name] = _or_null(item)
        return full


class Settings(Strict):
    """The settings of one part of `nn`. A plain value or nothing stands for its first setting or its defaults."""

    part: ClassVar[type]

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, value: Any) -> Any:
        return long_form(cls.part, value)

    def build(self) -> Any:
        """The part itself. Raises ValueError for settings that do not go together."""
        return self.part(**{name: _built(value) for name, value in self.__dict__.items()})

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = super().__get_pydantic_json_schema__(core, handler)
        properties = handler.resolve_ref_schema(full).get("properties", {})
        forms: list[dict[str, Any]] = [full]
        if properties:
            forms.append({"title": next(iter(properties)), **next(iter(properties.values()))})
        if not _required(cls.part):
            forms.append({"type": "null"})
        return {"anyOf": forms} if len(forms) > 1 else full


class Choice(Strict):
    """One of a registry: a mapping with the part's name as its only key, or the name alone."""

    noun: ClassVar[str]
    parts: ClassVar[Mapping[str, type]]

    @model_validator(mode="before")
    @classmethod
    def _long_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {value: None}
        if not isinstance(value, dict):
            raise PydanticCustomError("sentence", f"expected a {cls.noun} such as {cls._example()}, got {shown(value)}")
        if len(value) != 1 and all(name in cls.parts for name in value):
            problem = f"expected one {cls.noun}, got {len(value)} ({', '.join(value)})" if value else ""
            raise PydanticCustomError("sentence", problem or f"expected a {cls.noun}; known: {', '.join(cls.parts)}")
        if strange := [name for name in value if name not in cls.parts]:
            problem = unknown(cls.noun, strange[0], cls.parts)
            raise PydanticCustomError("sentence", problem, {"key": strange[0]})
        return {name: {} if body is None else body for name, body in value.items()}

    @property
    def name(self) -> str:
        return next(name for name, settings in self.__dict__.items() if settings is not None)

    @property
    def settings(self) -> Settings:
        settings: Settings = getattr(self, self.name)
        return settings

    def build(self) -> Any:
        return self.settings.build()

    @model_serializer(mode="plain")
    def _document(self) -> dict[str, Any]:
        return {self.name: self.settings.model_dump(mode="json")}

    @classmethod
    def _example(cls) -> str:
        name, part = next(iter(cls.parts.items()))
        first = next(iter(dataclasses.fields(part)), None)
        return f"'{name}'" if first is None or not _required(part) else f"'{name}: {{{first.name}: …}}'"

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        full = handler(core)
        body = handler.resolve_ref_schema(full)
        for name, item in body.get("properties", {}).items():
            item.pop("default", None)
            item["anyOf"] = [form for form in item["anyOf"] if form != {"type": "null"}]
            if not _required(cls.parts[name]):
                item["anyOf"].append({"type": "null"})
        body.update({"type": "object", "minProperties": 1, "maxProperties": 1})
        bare = [name for name, part in cls.parts.items() if not _required(part)]
        return {"anyOf": [full, {"enum": bare}]} if bare else full


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of what may be null as well."""
    about: dict[str, Any] = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    forms = schema.get("anyOf") or [{key: value for key, value in schema.items() if key not in about}]
    null = {"type": "null"}
    return {"anyOf": forms if null in forms else [*forms, null], **about}


def choice(noun: str, parts: Mapping[str, type]) -> type[Choice]:
    """The model of "one of these parts"."""
    name = f"{noun.title()}Choice"
    models = {part_name: settings(part, name) for part_name, part in parts.items()}
    fields: dict[str, Any] = {
        part_name: (inner | None, Field(None, description=summary(inner.part))) for part_name, inner in models.items()
    }
    model = create_model(name, __base__=Choice, **fields)
    model.noun, model.parts = noun, parts
    for inner in models.values():
        if any(holds_parts(types) for types in field_types(inner.part).values()):  # a residual layer holds layers
            inner.model_rebuild(_types_namespace={name: model})
    return model


def settings(part: type, choice_name: str = "") -> type[Settings]:
    """The model of one part's settings; `choice_name` is the model from which it chooses parts inside it."""
    types = field_types(part)
    fields: dict[str, Any] = {
        field.name: _parts_field(field, choice_name)
        if holds_parts(types[field.name])
        else _field(field, types[field.name])
        for field in dataclasses.fields(part)
    }
    model = create_model(f"{part.__name__}Settings", __base__=Settings, __doc__=summary(part), **fields)
    model.part = part
    return model


def long_form(part: type, value: Any) -> Any:
    """A mapping of settings for what may be written short: `0.2` is {rate: 0.2} for dropout, nothing is {}."""
    if value is None:
        return {}
    first = next(iter(dataclasses.fields(part)), None)
    if first is None or isinstance(value, dict):
        return value
    takes_list = any(item_type(kind) is not None for kind in field_types(part)[first.name])
    return value if isinstance(value, list) and not takes_list else {first.name: value}


def summary(part: Any) -> str:
    """The first line of the documentation of a part."""
    return (inspect.getdoc(part) or "").partition("\n")[0]


def _required(part: type) -> list[str]:
    return [
        field.name
        for field in dataclasses.fields(part)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]


def _field(field: dataclasses.Field[Any], types: tuple[Any, ...]) -> tuple[Any, Any]:
    """The type and the limits of a pydantic field."""
    facts = field.metadata
    limits: dict[str, Any] = {_BOUNDS[key]: facts[key] for key in _BOUNDS if facts.get(key) is not None}
    items = [item_type(kind) for kind in types if item_type(kind) in _PLAIN]
    if (int in types or int in items) and float not in types and "le" not in limits and "lt" not in limits:
        limits["le"] = _LARGEST
    annotation: Any = reduce(or_, (kind for kind in types if kind is not int or float not in types))
    if items:
        item: Any = Annotated[items[0], Field(**limits)]
        annotation, limits = list[item], {"min_length": 1}
        annotation = annotation | None if NoneType in types else annotation
    elif facts.get("choices"):
        annotation = Literal[tuple(facts["choices"])]
        if int in types:
            annotation, limits = _name_or_number(facts["choices"], limits), {}
        annotation = annotation | None if NoneType in types else annotation
    if field.default_factory is not dataclasses.MISSING:
        return annotation, Field(default_factory=field.default_factory, description=facts.get("doc"), **limits)
    default = ... if field.default is dataclasses.MISSING else field.default
    return annotation, Field(default, description=facts.get("doc"), **limits)


def holds_parts(types: tuple[Any, ...]) -> bool:
    """Whether a setting is a list of parts, such as the layers of a branch."""
    return any(item_type(kind) not in (None, *_PLAIN) for kind in types)


def _parts_field(field: dataclasses.Field[Any], choice_name: str) -> tuple[Any, Any]:
    return list[ForwardRef(choice_name)], Field(..., min_length=1, description=field.metadata.get("doc"))  # type: ignore[misc]


def _built(value: Any) -> Any:
    """What a part takes: choices inside it built, lists as tuples."""
    if isinstance(value, list):
        return tuple(_built(item) for item in value)
    return value.build() if isinstance(value, Choice) else value


def _name_or_number(names: Collection[str], limits: Mapping[str, Any]) -> Any:
    """The type of a name or a whole number, where a wrong value is one problem and not one for each of the two."""
    number = "a whole number" + (f" of at least {limits['ge']}" if "ge" in limits else "")

    def check(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
        try:
            return handler(value)
        except ValidationError:
            near = did_you_mean(value, names) if isinstance(value, str) else ""
            problem = f"must be {listed([*names, number], 'or')}, got {shown(value)}{near}"
            raise PydanticCustomError("sentence", "{problem}", {"problem": problem}) from None

    return Annotated[Literal[tuple(names)] | Annotated[int, Field(**limits)], WrapValidator(check)]
