"""Weights as a file, and what a network says of new rows."""

import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import nn
from service import weights as files
from service.assembly import assemble
from service.assembly.inputs import preparation
from service.datasets import Schema, built_in, load, tensors
from service.errors import DataError
from service.prediction import predict, predict_rows
from service.spec import parse

FLOWERS = Path(__file__).parents[2] / "examples" / "flowers.csv"


def trained(text):
    spec = parse(f"version: 1\n{text}")
    dataset = load(spec)
    assembly = assemble(spec, dataset)
    state = nn.State.start(assembly.plan)
    assert list(nn.train(assembly.plan, state, assembly.train, assembly.validation))
    return files.pack(state.best_parameters, assembly.scaler, assembly.spec, dataset.schema), assembly, state


IRIS = "data: {source: iris}\nnetwork: [dense: {units: 8, activation: tanh}]\noptimizer: {adam: 0.02}\n"


@pytest.fixture(scope="module")
def iris():
    return trained(IRIS)[0]


@pytest.fixture
def complaint(iris, tmp_path):
    def read(frame, name="t.csv"):
        frame.write_csv(tmp_path / name)
        with pytest.raises(DataError) as caught:
            predict(files.unpack(iris), tmp_path / name)
        return str(caught.value)

    return read


def test_weights_come_back_as_they_were_and_say_what_they_are():
    data, assembly, state = trained(IRIS)
    again = files.unpack(data)
    assert again.spec == assembly.spec
    assert again.schema == built_in("iris").schema
    assert again.parameters.flat.tobytes() == state.best_parameters.flat.tobytes()
    assert files.sha256(again.parameters) == files.sha256(state.best_parameters)
    assert files.pack(again.parameters, again.scaler, again.spec, again.schema) == data


def test_any_safetensors_reader_finds_the_parameters_by_name(iris):
    from safetensors.numpy import load as load_tensors

    arrays = load_tensors(iris)
    assert arrays["1.dense.weight"].shape == (4, 8)
    assert set(arrays) >= {"2.dense.weight", "2.dense.bias", "scaler.shift", "scaler.scale"}


def test_the_hash_is_over_the_parameters_in_the_order_of_the_layers():
    parameters = nn.FlatBuffer({"1.dense.weight": (2, 3), "1.dense.bias": (3,)})
    parameters.flat[:] = np.arange(9)
    assert files.sha256(parameters) == hashlib.sha256(np.arange(9, dtype="<f4").tobytes()).hexdigest()


def test_a_table_is_predicted_with_the_target_or_without_in_any_order_of_columns(iris, tmp_path):
    frame = pl.read_csv(FLOWERS)
    whole = predict(files.unpack(iris), FLOWERS)
    assert whole.columns == ["prediction", "probability_setosa", "probability_versicolor", "probability_virginica"]
    assert (whole["prediction"] == frame["species"]).mean() > 0.9
    np.testing.assert_allclose(whole.drop("prediction").sum_horizontal(), 1, rtol=1e-5)
    frame.select(reversed(frame.columns)).drop("species").write_parquet(tmp_path / "t.parquet")
    assert predict(files.unpack(iris), tmp_path / "t.parquet").equals(whole)


def test_predictions_are_those_of_the_network_that_was_trained():
    data, assembly, state = trained("data: {source: diabetes}\nnetwork: [dense: {units: 8, activation: relu}]\n")
    raw = assembly.plan.network.predict(state.best_parameters, assembly.test.features)
    frame = predict_rows(files.unpack(data), built_in("diabetes").features[assembly.outline.test_rows])
    assert frame.columns == ["prediction"]
    np.testing.assert_array_equal(frame["prediction"], raw[:, 0])


def test_without_column_names_their_number_decides(tmp_path):
    data = trained("data: {source: digits, scale: minmax}\nnetwork: []\noptimizer: {adam: 0.02}\n")[0]
    digits = built_in("digits")
    pl.DataFrame(digits.features[:5], schema=[f"p{n}" for n in range(64)]).write_csv(tmp_path / "t.csv")
    made = predict(files.unpack(data), tmp_path / "t.csv")
    assert made["prediction"].to_list() == ["0", "1", "2", "3", "4"]
    np.savez(tmp_path / "t.npz", x=digits.features[:5].reshape(5, 8, 8))
    assert predict(files.unpack(data), tmp_path / "t.npz").equals(made)
    pl.DataFrame({"a": [1], "b": [2]}).write_csv(tmp_path / "t.csv")
    with pytest.raises(DataError, match=r"t.csv has 2 columns; the network takes 64 \(images of 8 × 8\)"):
        predict(files.unpack(data), tmp_path / "t.csv")


def test_a_number_outside_the_vocabulary_of_an_embedding_is_told_with_the_file(tmp_path):
    np.savez(tmp_path / "words.npz", x=np.arange(80).reshape(20, 4) % 7, y=np.arange(20) % 2)
    source = f"data: {{source: {tmp_path / 'words.npz'}, scale: none}}\ntrain: {{epochs: 1, batch_size: 4}}\n"
    data = trained(source + "network: [embedding: {vocabulary: 7, units: 2}, flatten]\n")[0]
    np.savez(tmp_path / "new.npz", x=[[0, 1, 2, 7]])
    with pytest.raises(DataError, match=r"new.npz: embedding takes the whole numbers 0 to 6, and the input has 7"):
        predict(files.unpack(data), tmp_path / "new.npz")


def test_scores_are_given_where_the_loss_makes_no_probabilities():
    data = trained("data: {source: iris}\nnetwork: []\nloss: mse\ntrain: {epochs: 2}\n")[0]
    assert predict(files.unpack(data), FLOWERS).columns[1] == "score_setosa"


def untrained(task, outputs, loss, **schema):
    """Weights with the identity for a network, so that a row's features are its outputs."""
    spec = parse(f"version: 1\ndata: {{source: iris, scale: none}}\nnetwork: []\nloss: {loss}\n")
    network = nn.Network([nn.Dense(outputs)], (outputs,))
    parameters = network.initialise(np.random.default_rng(0))
    parameters.views["1.dense.weight"][...] = np.eye(outputs)
    described = Schema(task, 3, outputs, "float32", **schema)
    return files.Weights(spec, described, network, parameters, {}, preparation(spec, described))


def test_one_logit_gives_the_probabilities_of_both_classes():
    weights = untrained("classification", 1, "binary_cross_entropy", targets=("ill",), classes=("no", "yes"))
    frame = predict_rows(weights, np.array([[-1.0], [0.0], [30.0]], np.float32))
    assert frame.columns == ["prediction", "probability_no", "probability_yes"]
    assert frame["prediction"].to_list() == ["no", "no", "yes"]
    np.testing.assert_allclose(frame["probability_yes"], 1 / (1 + np.exp([1.0, 0, -30])), rtol=1e-6)
    np.testing.assert_allclose(frame["probability_no"], 1 / (1 + np.exp([-1.0, 0, 30])), rtol=1e-6)


def test_several_labels_give_a_column_of_0_and_1_each_and_then_their_probabilities():
    weights = untrained("multilabel", 2, "binary_cross_entropy", targets=("cat", "dog"))
    frame = predict_rows(weights, np.array([[-1.0, 2.0], [3.0, 0.5]], np.float32))
    assert frame.columns == ["cat", "dog", "probability_cat", "probability_dog"]
    assert frame.select("cat", "dog").rows() == [(0, 1), (1, 1)]
    np.testing.assert_allclose(frame["probability_dog"], 1 / (1 + np.exp([-2.0, -0.5])), rtol=1e-6)


def test_columns_that_do_not_fit_are_named(complaint):
    frame = pl.read_csv(FLOWERS).head(3)
    assert complaint(frame.drop("sepal_width")) == "t.csv lacks the column 'sepal_width'"
    renamed = frame.rename({"sepal_width": "sepal_widht"})
    assert complaint(renamed) == "t.csv lacks the column 'sepal_width'; rename 'sepal_widht' if that is meant"
    extra = "t.csv has columns the network was not trained on: 'id'; remove them"
    assert complaint(frame.with_columns(id=1)) == extra
    assert complaint(frame.with_columns(sepal_width=pl.lit("x"))).startswith("t.csv:2: column 'sepal_width' holds text")


def test_other_columns_may_stand_there_if_the_spec_chose_its_own():
    data = trained("data: {source: iris, features: [petal_length, petal_width]}\nnetwork: []\ntrain: {epochs: 2}\n")[0]
    assert len(predict(files.unpack(data), FLOWERS)) == 150


def changed(data, arrays=None, document=None):
    found, described = tensors.unpack(data, "it")
    return tensors.pack({**found, **(arrays or {})}, document or described)


@pytest.mark.parametrize(
    "arrays",
    [
        {"1.dense.weight": np.zeros((4, 9), np.float32)},
        {"1.dense.weight": np.zeros((4, 8), np.float64)},
        {"1.dense.weight": np.full((4, 8), np.nan, np.float32)},
        {"1.dense.weight": np.zeros((4, 8), np.int64)},
        {"3.dense.weight": np.zeros((4, 8), np.float32)},
        {"scaler.scale": np.zeros(4, np.float32)},
        {"scaler.scale": np.ones(5, np.float32)},
        {"scaler.other": np.ones(4, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_the_network_are_refused(iris, arrays):
    with pytest.raises(DataError, match="the weights file is damaged"):
        files.unpack(changed(iris, arrays))


def test_damaged_files_and_foreign_documents_are_refused(iris):
    from safetensors.numpy import save

    document = tensors.unpack(iris, "it")[1]
    foreign = [
        iris[:-1],
        b"",
        save({"a": np.zeros(3)}),
        changed(iris, document={"spec": 1, "schema": 2}),
        changed(iris, document={**document, "spec": {**document["spec"], "version": 2}}),
        changed(iris, document={**document, "spec": {**document["spec"], "network": []}}),
        changed(iris, document={**document, "other": 1}),
        changed(iris, document={**document, "schema": {**document["schema"], "classes": ["a", "b"]}}),
    ]
    for data in foreign:
        with pytest.raises(DataError, match="the weights file"):
            files.unpack(data)
