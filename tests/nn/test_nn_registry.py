import ast
import dataclasses
import sys
from pathlib import Path

import pytest

import nn
from nn import (
    ACTIVATIONS,
    INITIALIZERS,
    LAYERS,
    LOSSES,
    METRICS,
    OPTIMIZERS,
    SCALERS,
    SCHEDULES,
    Registry,
    direction,
    setting,
)
from nn.registry import field_types, item_type

REGISTRIES = [ACTIVATIONS, INITIALIZERS, LAYERS, LOSSES, METRICS, OPTIMIZERS, SCALERS, SCHEDULES]


def test_the_names_are_those_of_the_job_file():
    assert list(LAYERS) == [
        "activation",
        "conv1d",
        "max_pool",
        "average_pool",
        "global_average_pool",
        "conv2d",
        "dense",
        "dropout",
        "embedding",
        "batch_norm",
        "layer_norm",
        "residual",
        "flatten",
        "reshape",
    ]
    assert list(ACTIVATIONS) == [
        *("linear", "relu", "leaky_relu", "elu", "selu", "softplus", "tanh", "sigmoid", "softmax", "gelu", "silu"),
    ]
    assert list(LOSSES) == ["cross_entropy", "binary_cross_entropy", "mse", "quadratic", "mae", "huber", "hinge"]
    assert list(INITIALIZERS) == [
        *("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_uniform", "lecun_normal"),
        *("orthogonal", "normal", "uniform", "constant", "zeros"),
    ]
    assert list(OPTIMIZERS) == [
        *("sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adam", "adamw", "amsgrad", "nadam"),
    ]
    assert list(SCHEDULES) == [
        *("constant", "step", "exponential", "polynomial", "cosine", "one_cycle", "reduce_on_plateau"),
    ]
    assert list(METRICS) == [
        "accuracy", "top_k", "precision", "recall", "f1", "precision_micro", "recall_micro", "f1_micro", "log_loss",
        "roc_auc", "mae", "rmse", "r2",
    ]  # fmt: skip
    assert list(SCALERS) == ["standard", "minmax", "none"]


def test_every_part_has_a_sentence_and_its_own_name():
    for registry in REGISTRIES:
        for name, part in registry.items():
            assert part.kind == name
            assert part.__doc__
            assert part.__doc__.splitlines()[0].endswith(".")
            assert not part.__doc__.startswith(f"{part.__name__}(")  # not the signature dataclass writes


def test_every_setting_has_facts_and_a_plain_type():
    for registry in (LAYERS, LOSSES, METRICS, OPTIMIZERS, SCHEDULES):
        for part in registry.values():
            for field in dataclasses.fields(part):
                assert {"above", "least", "below", "most", "choices", "doc"} == set(field.metadata)
                assert field.metadata["doc"]
                kinds = {item_type(kind) or kind for kind in field_types(part)[field.name]}
                assert kinds <= {int, float, bool, str, type(None), nn.Layer}


def test_the_first_field_is_what_a_bare_value_means():
    firsts = {name: dataclasses.fields(layer)[0].name for name, layer in LAYERS.items() if dataclasses.fields(layer)}
    assert firsts == {
        "activation": "function",
        "conv2d": "units",
        "conv1d": "units",
        "dense": "units",
        "dropout": "rate",
        "embedding": "vocabulary",
        "batch_norm": "momentum",
        "layer_norm": "epsilon",
        "max_pool": "size",
        "average_pool": "size",
        "residual": "layers",
        "reshape": "shape",
    }
    assert {dataclasses.fields(part)[0].name for part in OPTIMIZERS.values()} == {"learning_rate"}
    settings = {name: dataclasses.fields(part) for name, part in SCHEDULES.items()}
    assert {name: fields[0].name for name, fields in settings.items() if fields} == {
        "step": "every",
        "exponential": "gamma",
        "polynomial": "power",
        "cosine": "final",
        "one_cycle": "rise",
        "reduce_on_plateau": "monitor",
    }


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LAYERS["dense"](0), "dense: units must be at least 1, got 0"),
        (lambda: LAYERS["dense"](1.5), "dense: units must be a whole number, got 1.5"),
        (lambda: LAYERS["dense"](True), "dense: units must be a whole number, got True"),
        (lambda: LAYERS["dense"]("8"), "dense: units must be a whole number, got '8'"),
        (
            lambda: LAYERS["dense"](8, "rleu"),
            "dense: activation must be one of linear, relu, .*, silu, got 'rleu'",
        ),
        (lambda: LAYERS["dense"](8, bias=1), "dense: bias must be true or false, got 1"),
        (
            lambda: LAYERS["dense"](8, initializer="he"),
            "dense: initializer must be one of glorot_uniform, .*, got 'he'",
        ),
        (lambda: LAYERS["dropout"](1), "dropout: rate must be below 1, got 1"),
        (lambda: LAYERS["dropout"](-0.1), "dropout: rate must be at least 0, got -0.1"),
        (
            lambda: LAYERS["conv2d"](8, 3, padding="sane"),
            "conv2d: padding must be one of valid, same, a whole number, got 'sane'",
        ),
        (lambda: LAYERS["conv2d"](8, 3, padding=-1), "conv2d: padding must be at least 0, got -1"),
        (lambda: LAYERS["conv2d"](8, 3, padding=1.5), "conv2d: padding must be a name or a whole number, got 1.5"),
        (lambda: LAYERS["max_pool"](2, padding=2), "max_pool: padding must be below the size of 2, got 2"),
        (lambda: LAYERS["reshape"](8), "reshape: shape must be a list of whole numbers, got 8"),
        (lambda: LAYERS["reshape"](()), r"reshape: shape must not be empty, got \(\)"),
        (lambda: LAYERS["reshape"]((8, 0)), r"reshape: shape must be at least 1 in each place, got \(8, 0\)"),
        (lambda: LAYERS["reshape"]((8, "a")), r"reshape: shape must be a whole number in each place, got \(8, 'a'\)"),
        (lambda: LAYERS["dense"]((8, 8)), r"dense: units must be a whole number, got \(8, 8\)"),
        (lambda: LAYERS["residual"](()), r"residual: layers must not be empty, got \(\)"),
        (lambda: LAYERS["residual"]((3,)), r"residual: layers must be a layer in each place, got \(3,\)"),
        (lambda: OPTIMIZERS["adam"](0), "adam: learning_rate must be above 0, got 0"),
        (lambda: OPTIMIZERS["sgd"](float("nan")), "sgd: learning_rate must be a finite number, got nan"),
        (lambda: OPTIMIZERS["sgd"](float("inf")), "sgd: learning_rate must be a finite number, got inf"),
        (lambda: nn.EarlyStopping(patience=0), "EarlyStopping: patience must be at least 1, got 0"),
    ],
)
def test_a_wrong_setting_is_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        make()


def test_a_limit_from_above_includes_itself():
    @dataclasses.dataclass(frozen=True)
    class Part(nn.Settings):
        share: float = setting(0.5, most=1)

    assert Part(1).share == 1
    with pytest.raises(ValueError, match="at most 1"):
        Part(1.1)


def test_a_name_is_taken_once_and_an_unknown_one_is_told():
    registry: Registry[type] = Registry("thing")
    registry.register("a")(type("A", (), {}))
    with pytest.raises(ValueError, match="already a thing called 'a'"):
        registry.register("a")(type("B", (), {}))
    with pytest.raises(KeyError, match="no thing called 'b'; there are a"):
        registry["b"]


def test_a_metric_has_a_direction_on_every_split():
    assert [direction(name) for name in ("loss", "val_loss", "mae", "test_mae")] == ["lower"] * 4
    assert [direction(name) for name in ("accuracy", "val_accuracy", "test_top_3")] == ["higher"] * 3
    with pytest.raises(KeyError, match="beauty"):
        direction("val_beauty")


def test_the_public_api_is_what_all_says():
    assert len(nn.__all__) == len(set(nn.__all__))
    assert all(hasattr(nn, name) for name in nn.__all__)


def test_the_engine_imports_numpy_and_the_standard_library_only():
    allowed = {"numpy", "nn"} | set(sys.stdlib_module_names)
    for path in Path(nn.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert {name.split(".")[0] for name in names} <= allowed, path
