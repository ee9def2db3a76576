"""What assembly makes of words, gaps, weights, groups, folds and images; and a network trained on them predicts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import nn
from service import weights as files
from service.assembly import assemble, check, outline
from service.assembly.inputs import sample_shape
from service.datasets import Dataset, Schema, built_in, load, tensors
from service.errors import DataError
from service.prediction import predict, predict_rows
from service.spec import Spec, SpecError, parse

RECORDED = Path(__file__).parent / "recorded" / "weights-0.1.safetensors"
NAN = np.nan


def spec(data, rest="train: {batch_size: 4}\n", network="[dense: {units: 6, activation: tanh}]"):
    return parse(f"version: 1\ndata: {{source: {data}}}\nnetwork: {network}\n{rest}", "s.yaml")


def complaint(data, dataset):
    with pytest.raises(SpecError) as caught:
        outline(spec(data), dataset)
    return str(caught.value)


@pytest.fixture
def flats(tmp_path, monkeypatch):
    """A table with words, gaps, weights and groups: rents of flats."""
    rng = np.random.default_rng(0)
    rows = 60
    size = rng.normal(70, 20, rows).round(1)
    frame = pl.DataFrame(
        {
            "size": [None if row % 7 == 0 else value for row, value in enumerate(size)],
            "district": [None if row == 9 else ["north", "south", "west"][row % 3] for row in range(rows)],
            "floor": (np.arange(rows) % 4).tolist(),
            "house": [f"h{row % 12}" for row in range(rows)],
            "sure": [0.5 + row % 2 for row in range(rows)],
            "part": [["train", "train", "validation", "test"][row % 4] for row in range(rows)],
            "dear": ["yes" if value > 70 else "no" for value in size],
        }
    )
    frame.write_csv(tmp_path / "flats.csv")
    monkeypatch.chdir(tmp_path)
    return frame


FLATS = "flats.csv, target: dear, features: [size, district, floor], one_hot: floor, "
FILLED = FLATS + "missing: {fill: mean, indicator: true}"


def test_words_and_told_gaps_widen_the_input_of_the_network(flats):
    made = spec(FILLED)
    assembly = assemble(made, load(made))
    assert assembly.plan.network.input_shape == (1 + 3 + 4 + 2,)
    assert assembly.train.features.shape[1] == 10
    numbers = assembly.train.features
    assert np.isfinite(numbers).all()
    assert (numbers[:, 1:4].sum(axis=1) == 1).all()
    assert (numbers[:, 4:8].sum(axis=1) == 1).all()
    assert numbers[:, 0].mean() == pytest.approx(0, abs=1e-6)
    notes = check(made, load(made)).notes
    assert "words and categories are spread over inputs, one for each value: district (3) and floor (4)" in notes
    assert "2 more inputs tell which cells were empty" in notes


def test_gaps_are_filled_by_the_training_rows_alone(flats):
    made = spec(FLATS + "missing: median, scale: none, split: {column: part}")
    dataset = load(made)
    assembly = assemble(made, dataset)
    sizes = dataset.features[:, 0]
    wanted = np.median(sizes[(dataset.parts == 0) & ~np.isnan(sizes)])
    assert assembly.scaler["fill"][0] == np.float32(wanted)
    gaps = np.isnan(sizes[assembly.outline.test_rows])
    assert gaps.any()
    assert (assembly.test.features[gaps, 0] == np.float32(wanted)).all()


def test_gaps_without_a_fill_and_columns_without_a_value_are_told(flats):
    filled = spec(FILLED)
    dataset = load(filled)
    message = "s.yaml:2:7: data.missing: flats.csv has empty cells; say what fills them: mean, median or most_frequent"
    assert complaint("flats.csv, target: dear", dataset) == message
    features = dataset.features.copy()
    features[dataset.features[:, 2] != 3, 0] = NAN
    alone = Dataset(features, dataset.labels, dataset.schema, parts=(dataset.features[:, 2] == 3).astype(np.int64))
    message = "data.missing: column 'size' is empty in every training row, so there is nothing to fill it with"
    assert message in complaint(FILLED + ", split: {column: part}", alone)


def rows_of(data):
    made = spec(data)
    found = outline(made, load(made))
    return found.train_rows, found.validation_rows, found.test_rows


def test_groups_stay_together(flats):
    split = rows_of(FILLED + ", split: {group: house}")
    houses = [set(flats["house"][rows.tolist()]) for rows in split]
    assert all(houses)
    assert sum(map(len, houses)) == 12


def test_the_file_may_divide_its_rows_itself(flats):
    split = rows_of(FILLED + ", split: {column: part}")
    for rows, part in zip(split, ("train", "validation", "test"), strict=True):
        assert set(flats["part"][rows.tolist()]) == {part}


@pytest.mark.parametrize("more", ["", ", group: house", ", stratify: false", ", test: 0"])
def test_over_all_folds_every_row_outside_the_test_validates_once(flats, more):
    splits = [rows_of(FILLED + f", split: {{folds: 4, fold: {fold}{more}}}") for fold in range(1, 5)]
    tested = splits[0][2]
    assert all((split[2] == tested).all() for split in splits)
    validated = np.concatenate([split[1] for split in splits])
    assert sorted([*validated, *tested]) == list(range(60))
    made = spec(FILLED + f", split: {{folds: 4, fold: 3{more}}}")
    assert "fold 3 of 4 validates" in check(made, load(made)).notes


def test_weights_go_with_their_rows_and_only_if_the_spec_names_them(flats):
    made = spec(FILLED + ", weights: sure")
    dataset = load(made)
    assembly = assemble(made, dataset)
    for part, rows in ((assembly.train, assembly.outline.train_rows), (assembly.test, assembly.outline.test_rows)):
        assert part.weights.tolist() == dataset.weights[rows].tolist()
    assert assemble(spec(FILLED), dataset).train.weights is None


def test_what_the_dataset_does_not_hold_is_told(flats):
    dataset = load(spec(FILLED))
    for key in ("weights: w", "split: {group: g}", "split: {column: c}"):
        assert f"data.{key.replace('{', '').split(': ')[0]}" in complaint(f"{FILLED}, {key}", dataset)
        assert "flats.csv was stored without this column" in complaint(f"{FILLED}, {key}", dataset)
    weightless = Dataset(dataset.features, dataset.labels, dataset.schema, weights=np.eye(60, dtype=np.float32)[0])
    assert "data.weights: the weights of all validation rows are 0" in complaint(FILLED + ", weights: w", weightless)


def test_several_labels_cannot_be_stratified():
    schema = Schema("multilabel", 9, 1, "float32", ("x",), (), ("p", "q"))
    labels = np.eye(2, dtype=np.float32)[np.arange(9) % 2]
    dataset = Dataset(np.arange(9, dtype=np.float32)[:, None], labels, schema)
    made = spec("t.csv, target: [p, q], split: {stratify: true}", rest="loss: cross_entropy")
    with pytest.raises(SpecError, match=r"does not fit the labels of t\.csv, which are several, each a yes or a no"):
        outline(made, dataset)


def images(count=40, dtype=np.uint8, shape=(5, 4)):
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (count, int(np.prod(shape)))).astype(dtype)
    schema = Schema("classification", count, pixels.shape[1], pixels.dtype.name, (), shape, ("label",), ("a", "b"))
    return Dataset(pixels, np.arange(count) % 2, schema)


@pytest.mark.parametrize("scale", ["standard", "minmax", "none"])
def test_bytes_stay_bytes_and_come_out_as_if_they_had_been_scaled_before(scale):
    made, bytewise = spec(f"images, scale: {scale}"), images()
    kept = assemble(made, bytewise)
    floats = assemble(made, images(dtype=np.float32))
    factor = np.float32(255) if scale == "none" else np.float32(1)
    for part in ("train", "validation", "test"):
        one, other = getattr(kept, part), getattr(floats, part)
        assert one.features.dtype == np.uint8
        assert one.inputs(one.features).tobytes() == (other.features / factor).tobytes()


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_training_images_are_augmented_and_others_only_scaled(dtype):
    dataset = images(dtype=dtype)
    plain, augmented = (assemble(spec(f"images{more}"), dataset) for more in ("", ", augment: {shift: 1, flip: both}"))
    assert plain.train.augment is augmented.validation.augment is augmented.test.augment is None
    for part in ("validation", "test"):
        one, other = getattr(plain, part), getattr(augmented, part)
        assert one.inputs(one.features).tobytes() == other.inputs(other.features).tobytes()
    train, still = augmented.train, plain.train
    changed = train.augmented(train.features, np.random.default_rng(0), nn.Buffers())
    assert changed.shape == still.features.shape
    assert (changed != still.inputs(still.features)).any(axis=1).mean() > 0.5


def test_only_images_can_be_augmented():
    assert complaint("iris, augment: 1", built_in("iris")) == (
        "s.yaml:2:31: data.augment: only images can be augmented, and iris holds rows of 4 numbers; remove it"
    )


def test_images_with_gaps_are_filled_before_they_are_moved_and_cannot_have_indicators():
    whole = images(dtype=np.float32)
    features = whole.features.copy()
    features[::3, 2] = NAN
    dataset = Dataset(features, whole.labels, replace(whole.schema, missing=True))
    plain, augmented = (
        assemble(spec(f"images, missing: mean{more}"), dataset) for more in ("", ", augment: {shift: 1, rotate: 5}")
    )
    train = augmented.train
    assert train.inputs(train.features).tobytes() == plain.train.features.tobytes()
    assert np.isfinite(train.augmented(train.features, np.random.default_rng(0), nn.Buffers())).all()
    told = "images, missing: {fill: mean, indicator: true}"
    assert assemble(spec(told), dataset).plan.network.input_shape == (21,)
    assert "data.augment: with indicators of its empty cells a row is more than" in complaint(
        told + ", augment: 1", dataset
    )


def test_a_training_on_augmented_bytes_stopped_anywhere_ends_with_the_same_bytes():
    made = spec("images, augment: {shift: 1, rotate: 10, noise: 0.1}", rest="train: {epochs: 2, batch_size: 8}")
    assembly = assemble(made, images())
    plan = assembly.plan
    whole = nn.State.start(plan)
    assert len(list(nn.train(plan, whole, assembly.train, assembly.validation))) == 2
    cut, asked = nn.State.start(plan), iter(range(100))
    list(nn.train(plan, cut, assembly.train, assembly.validation, lambda: next(asked) == 2))
    assert 0 < cut.cursor < len(assembly.train)
    resumed = nn.State.restore(plan, *cut.snapshot())
    list(nn.train(plan, resumed, assembly.train, assembly.validation))
    assert resumed.parameters.flat.tobytes() == whole.parameters.flat.tobytes()
    still = nn.State.start(plan)
    list(nn.train(plan, still, replace(assembly.train, augment=None), assembly.validation))
    assert still.parameters.flat.tobytes() != whole.parameters.flat.tobytes()


@pytest.mark.parametrize(
    ("image", "axes", "shape"),
    [
        ((), 1, (12,)),
        ((), 2, (12, 1)),
        ((), 3, None),
        ((3, 4), 1, (12,)),
        ((3, 4), 2, (3, 4)),
        ((3, 4), 3, (3, 4, 1)),
        ((3, 2, 2), 2, None),
        ((3, 2, 2), 3, (3, 2, 2)),
        ((12,), 3, None),
    ],
)
def test_a_row_has_the_shape_that_the_layers_ask_for_or_none(image, axes, shape):
    schema = Schema("classification", 4, 12, "uint8", (), image, ("label",), ("a", "b"))
    if shape is not None:
        assert sample_shape(schema, axes) == shape
        return
    with pytest.raises(DataError, match="and the network takes samples of"):
        sample_shape(schema, axes)


def trained(text, dataset=None):
    made = spec(text, rest="train: {epochs: 3, batch_size: 8}\n")
    dataset = dataset or load(made)
    assembly = assemble(made, dataset)
    state = nn.State.start(assembly.plan)
    assert list(nn.train(assembly.plan, state, assembly.train, assembly.validation))
    data = files.pack(state.parameters, assembly.scaler, assembly.spec, dataset.schema)
    return data, assembly, state, dataset


def test_a_table_with_words_and_gaps_is_predicted_as_it_was_trained(flats, tmp_path):
    data, assembly, state, dataset = trained(FILLED + ", weights: sure, split: {group: house}")
    weights = files.unpack(data)
    assert weights.preparation == assembly.outline.preparation
    assert files.pack(weights.parameters, weights.scaler, weights.spec, weights.schema) == data
    rows = assembly.outline.test_rows
    flats[rows.tolist()].drop("dear").write_csv(tmp_path / "new.csv")
    found = predict(weights, tmp_path / "new.csv").drop("prediction").to_numpy()
    wanted = nn.softmax(assembly.plan.network.predict(state.parameters, assembly.test.features))
    np.testing.assert_array_equal(found, wanted)
    assert predict_rows(weights, dataset.features[rows]).drop("prediction").to_numpy().tolist() == wanted.tolist()


def test_new_rows_may_have_the_columns_that_weighed_and_divided_the_others_or_not(flats, tmp_path):
    weights = files.unpack(trained("flats.csv, target: dear, missing: mean, weights: sure, split: {group: house}")[0])
    assert weights.schema.features == ("size", "district", "floor", "part")
    flats.write_csv(tmp_path / "one.csv")
    flats.drop("sure", "house", "dear").write_csv(tmp_path / "two.csv")
    assert predict(weights, tmp_path / "one.csv").equals(predict(weights, tmp_path / "two.csv"))


@pytest.fixture
def saying(flats, tmp_path):
    """What a prediction says of a table with these columns changed."""

    def read(more=FILLED, **columns):
        flats.head(3).with_columns(**columns).write_csv(tmp_path / "new.csv")
        with pytest.raises(DataError) as caught:
            predict(files.unpack(trained(more)[0]), tmp_path / "new.csv")
        return str(caught.value)

    return read


def test_a_word_that_training_never_saw_is_told_with_line_and_column(saying):
    message = "new.csv:3: column 'district': 'east' is a value that no training row had (known: north, south and west)"
    assert saying(district=pl.Series(["north", "east", "west"])) == message
    assert "new.csv:2: column 'floor': '9' is a value that no training row had" in saying(floor=pl.lit(9))


def test_a_gap_in_new_rows_is_told_if_the_network_has_nothing_to_fill_it_with(saying):
    whole = "flats.csv, target: dear, features: [floor, district], one_hot: floor"
    flats = pl.read_csv("flats.csv").with_columns(district=pl.col("district").fill_null("west"))
    flats.write_csv("flats.csv")
    message = "new.csv:2: column 'floor' is empty; the network was trained without data.missing, so fill in or drop"
    assert message in saying(whole, floor=pl.lit(None))
    assert "column 'floor' is empty; the network" in saying(whole.replace(", one_hot: floor", ""), floor=pl.lit(None))


def test_whole_numbers_are_the_same_categories_however_they_are_written(flats, tmp_path):
    weights = files.unpack(trained(FILLED)[0])
    flats.head(8).write_csv(tmp_path / "one.csv")
    flats.head(8).with_columns(pl.col("floor").cast(pl.Float64)).write_csv(tmp_path / "two.csv")
    assert predict(weights, tmp_path / "one.csv").equals(predict(weights, tmp_path / "two.csv"))


def test_words_are_not_predicted_from_bare_arrays_but_gaps_are(flats, tmp_path):
    np.savez(tmp_path / "t.npz", x=np.array([[1.0, NAN], [3.0, 1.0]]))
    with pytest.raises(DataError, match=r"t.npz: the network was trained on columns of words; give it a table"):
        predict(files.unpack(trained(FILLED)[0]), tmp_path / "t.npz")
    two = files.unpack(trained("flats.csv, target: dear, features: [size, floor], missing: mean")[0])
    assert len(predict(two, tmp_path / "t.npz")) == 2
    whole = files.unpack(trained("iris, features: [sepal_width, petal_width]")[0])
    with pytest.raises(DataError, match="not finite"):
        predict(whole, tmp_path / "t.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"scaler.fill": np.zeros(2, np.float32)},
        {"scaler.fill": np.full(3, NAN, np.float32)},
        {"scaler.fill": np.array([0, 7, 0], np.float32)},
        {"scaler.indicated": np.array([0, 3])},
        {"scaler.indicated": np.array([1, 0])},
        {"scaler.indicated": np.array([0], np.float32)},
        {"scaler.indicated": np.array([], np.int64)},
        {"scaler.indicated": np.array([0])},
        {"scaler.shift": np.zeros(3, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_the_preparation_are_refused(flats, arrays):
    found, document = tensors.unpack(trained(FILLED)[0], "it")
    with pytest.raises(DataError, match="the weights file is damaged"):
        files.unpack(tensors.pack({**found, **arrays}, document))


def test_a_branch_that_begins_with_a_convolution_gets_images():
    made = spec("digits", network="[residual: [conv2d: {units: 1, size: 3, padding: same}], flatten]")
    assert outline(made, load(made)).plan.network.input_shape == (8, 8, 1)
    rows = spec("digits", network="[residual: [dense: 64], conv2d: {units: 1, size: 3}]")
    with pytest.raises(SpecError, match=r"layer 2 \(conv2d\) needs \(height, width, channels\) and got \(64,\)"):
        outline(rows, load(rows))


def test_series_are_not_augmented():
    made = spec("digits, augment: {rotate: 3}", network="[conv1d: {units: 2, size: 3}]")
    with pytest.raises(SpecError, match="only images can be augmented, and the network takes its samples as series"):
        outline(made, load(made))


def test_weights_of_version_0_1_still_predict():
    weights = files.unpack(RECORDED.read_bytes())
    found = predict_rows(weights, built_in("iris").features[::30])
    assert found["prediction"].to_list() == ["versicolor"] * 4 + ["virginica"]
    np.testing.assert_allclose(
        found["probability_setosa"], [0.220845, 0.21069, 0.208571, 0.247693, 0.282257], rtol=1e-5
    )


def test_a_resolved_spec_with_all_of_it_is_its_own_resolution(flats):
    made = spec(FILLED + ", weights: sure, split: {folds: 5, fold: 2}")
    first = outline(made, load(made))
    again = outline(Spec.from_document(first.spec.document()), load(made))
    assert again.spec == first.spec
    assert (again.validation_rows == first.validation_rows).all()
