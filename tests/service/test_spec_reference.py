"""The JSON Schema and the reference are made from the models, and say all of them."""

import dataclasses
from pathlib import Path

import pytest

import nn
from service.spec import json_schema, load, reference
from service.spec.document import read

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))
KINDS = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def fits(value, schema, root):
    """As much of JSON Schema as ours uses."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema and not any(fits(value, form, root) for form in schema["anyOf"]):
        return False
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        return False
    kind = schema.get("type")
    if kind in ("integer", "number"):
        number = isinstance(value, int | float if kind == "number" else int) and not isinstance(value, bool)
        return number and value >= schema.get("minimum", value) and value <= schema.get("maximum", value)
    if kind and not isinstance(value, KINDS[kind]):
        return False
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        known = schema.get("additionalProperties", True) or set(value) <= set(properties)
        sized = schema.get("minProperties", 0) <= len(value) <= schema.get("maxProperties", len(value))
        required = set(schema.get("required", ())) <= set(value)
        return known and sized and required and all(fits(value[key], properties.get(key, {}), root) for key in value)
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {}), root) for item in value)
    return True


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_json_schema_accepts_the_examples_and_their_documents(path):
    schema = json_schema()
    assert fits(read(path.read_text(), "").values, schema, schema)
    assert fits(load(path).document(), schema, schema)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"other": 1},
        {"network": [{"dense": {"unit": 5}}]},
        {"network": [{"dense": 5, "dropout": 0.5}]},
        {"network": [{}]},
        {"network": ["dense"]},
        {"optimizer": "adm"},
        {"train": {"epochs": "ten"}},
    ],
)
def test_the_json_schema_refuses_what_is_wrong(change):
    schema = json_schema()
    assert not fits({"version": 1, "data": {"source": "iris"}, "network": [], **change}, schema, schema)


def test_the_reference_names_every_part_and_every_key():
    text = reference()
    registries = (nn.LAYERS, nn.LOSSES, nn.OPTIMIZERS, nn.ACTIVATIONS, nn.INITIALIZERS, nn.METRICS, nn.SCALERS)
    for registry in registries:
        for name, part in registry.items():
            assert f"### {name}\n" in text
            if dataclasses.is_dataclass(part):
                assert all(f"| `{field.name}` |" in text for field in dataclasses.fields(part))
    for path in EXAMPLES[:1]:
        document = load(path).document()
        for section in (document, document["data"], document["data"]["split"], document["train"]):
            assert all(f"| `{key}` |" in text for key in section)


def test_every_key_of_the_reference_says_what_it_means():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert rows
    assert all(line.split("|")[4].strip() for line in rows)
