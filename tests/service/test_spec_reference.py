"""The JSON Schema and the reference are made from the models, and say all of them."""

import copy
import dataclasses
import operator
from functools import reduce
from pathlib import Path

import pytest

import nn
from service.spec import Spec, SpecError, json_schema, load, reference
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


FULL = Spec.from_document(
    {
        "version": 1,
        "name": "full",
        "data": {"source": "iris", "split": {"folds": 3, "test": 0.2}, "scale": "minmax", "augment": {"shift": 2}},
        "network": [
            {"dense": {"units": 8, "activation": "tanh"}},
            {"residual": {"layers": [{"dropout": 0.5}]}},
        ],
        "optimizer": {"sgd": {"learning_rate": 0.5, "momentum": 0.9}},
        "schedule": {"step": {"every": 3, "gamma": 0.5}},
        "begin": {"run": 3, "weights": "last"},
        "train": {"epochs": 3, "early_stopping": {"patience": 3}, "freeze": [1]},
        "limits": {"seconds": 5.0},
        "metrics": ["accuracy"],
        "seed": 7,
    }
).document()


def keys(document, path=()):
    """Every key of a document, as its path."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        if isinstance(key, str):
            yield (*path, key)
        if isinstance(value, dict | list):
            yield from keys(value, (*path, key))


def made_with(path, *value):
    """The spec with another value at a key, or without it, and whether the JSON Schema accepts it. None: it is none."""
    document = copy.deepcopy(FULL)
    inside = reduce(operator.getitem, path[:-1], document)
    del inside[path[-1]]
    inside |= dict.fromkeys(path[-1:], *value) if value else {}
    accepted = fits(document, json_schema(), json_schema())
    try:
        return Spec.from_document(document).document(), accepted
    except SpecError:
        return None, accepted


PARTS = [("optimizer", "sgd"), ("schedule", "step")]  # with nothing behind them they have their defaults


@pytest.mark.parametrize(
    "path", [path for path in keys(FULL) if path not in PARTS], ids=lambda path: ".".join(map(str, path))
)
def test_null_is_as_good_as_nothing_wherever_a_key_may_be_left_out(path):
    without, accepted = made_with(path)
    assert made_with(path, None) == (without, accepted)
    assert accepted or without is None


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
