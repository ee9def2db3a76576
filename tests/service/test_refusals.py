"""Each refusal of the check: where, what, which one, and what to do."""

import numpy as np
import pytest

from service.assembly import outline
from service.datasets import BUILT_IN, Dataset, Schema, built_in
from service.spec import SpecError, parse

ROWS = 20


def made_up(name):
    """A dataset for what the built-in ones cannot show."""
    features = np.arange(ROWS * 4, dtype=np.float32).reshape(ROWS, 4) % 9
    labels = np.arange(ROWS) % 2 if name != "rare" else (np.arange(ROWS) == 7).astype(np.int64)
    extras = {"image_shape": (2, 2)} if name in ("bytes", "gaps") else {}
    if name == "bytes":
        features = features.astype(np.uint8)
    if name in ("gaps", "flats"):
        features[3, 2] = np.nan if name == "gaps" else features[3, 2]
        extras |= {"missing": name == "gaps", "categories": ((), (), (), tuple("rstuvwxyz")) if name == "flats" else ()}
    schema = Schema("classification", ROWS, 4, features.dtype.name, (), targets=("y",), classes=("a", "b"), **extras)
    weights = np.zeros(ROWS, np.float32)
    weights[0] = 1
    return Dataset(features, labels, schema, weights=weights, parts=labels if name == "parted" else None)


def complaint(data, network, rest):
    text = f"version: 1\ndata: {{source: {data}}}\nnetwork: {network}\n{rest}\n"
    with pytest.raises(SpecError) as caught:
        outlined(text)
    return str(caught.value)


def outlined(text):
    made = parse(text, "s.yaml")
    name = made.data.source
    return outline(made, built_in(name) if name in BUILT_IN else made_up(name))


@pytest.mark.parametrize(
    ("data", "network", "rest", "message"),
    [
        (
            "iris",
            "[]",
            "epochs: 4",
            "s.yaml:4:1: unknown key 'epochs'; it belongs below 'train' (train.epochs)",
        ),
        (
            "iris",
            "[]",
            "train: {epochs: 6, warmup: 10}",
            "s.yaml:4:28: train.warmup: a warm-up of 10 epochs takes all of the 6; make it shorter",
        ),
        (
            "digits, augment: {shift: 8}",
            "[]",
            "",
            "s.yaml:2:41: data.augment.shift: a shift by 8 pixels or more moves images of 8 out of sight; make it "
            "smaller",
        ),
        (
            "digits",
            "[{conv1d: {units: 2, size: 2}}, {conv2d: {units: 2, size: 2}}]",
            "",
            "s.yaml:3:51: network[1].conv2d: layer 2 (conv2d) needs (height, width, channels) and got (7, 2); "
            "use conv1d for series",
        ),
        (
            "iris",
            "[]",
            "train: {early_stopping: accuracy_val}",
            "s.yaml:4:25: train.early_stopping.monitor: 'accuracy_val' is not measured; did you mean 'val_accuracy'? "
            "(measured: val_loss, val_accuracy, loss, accuracy)",
        ),
        (
            "iris",
            "[{conv2d: {units: 2, size: 2}}]",
            "",
            "s.yaml:3:20: network[0].conv2d: conv2d cannot be here: the dataset holds rows of 4 numbers, and the "
            "network takes samples of (height, width, channels); put reshape before conv2d",
        ),
        (
            "iris",
            "[{dense: {units: 4, activation: relu}}, {conv1d: {units: 2, size: 2}}]",
            "",
            "s.yaml:3:59: network[1].conv1d: layer 2 (conv1d) needs (length, channels) and got (4,); put reshape "
            "before it, or move it above flatten",
        ),
        (
            "iris",
            "[{conv1d: {units: 2, size: 9}}]",
            "",
            "s.yaml:3:20: network[0].conv1d: layer 1 (conv1d) needs at least 9 along each axis and got (4, 1); "
            "make its size smaller, or add padding",
        ),
        (
            "iris",
            "[{reshape: [3]}]",
            "",
            "s.yaml:3:21: network[0].reshape: layer 1 (reshape) needs 3 values for the shape (3,) and got (4,); "
            "choose sides whose product is 4",
        ),
        (
            "digits",
            "[{conv2d: {units: 2, size: 3}}, {dense: 4}]",
            "",
            "s.yaml:3:50: network[1].dense.units: layer 2 (dense) is the output layer and has 4 units, but the "
            "labels have 10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8 and 9); change it, or give it an activation to make "
            "it a hidden layer",
        ),
        (
            "digits",
            "[{max_pool: 9}]",
            "",
            "s.yaml:3:22: network[0].max_pool: layer 1 (max_pool) needs at least 9 along each axis and got (8, 8, "
            "1); make its size smaller, or add padding",
        ),
        (
            "digits",
            "[{conv2d: {units: 2, size: 3}}, {residual: [{conv2d: {units: 3, size: 3, padding: same}}]}]",
            "",
            "s.yaml:3:53: network[1].residual: layer 2 (residual) needs a branch that keeps the shape (its last "
            "layer, conv2d, makes (6, 6, 3)) and got (6, 6, 2); change its layers so that it ends with what it began "
            "with",
        ),
        (
            "digits",
            "[{conv2d: {units: 2, size: 3}}, {residual: [batch_norm, {dense: 4}]}]",
            "",
            "s.yaml:3:74: network[1].residual.layers[1].dense: layer 2 (residual) needs (features,) at its layer 2 "
            "(dense) and got (6, 6, 2)",
        ),
        (
            "flats",
            "[{conv1d: {units: 2, size: 2}}]",
            "",
            "s.yaml:3:20: network[0].conv1d: conv1d cannot be here: words and empty cells of a table become inputs "
            "of their own, which are no series; remove it",
        ),
        (
            "iris",
            "[{dense: {units: 8, activation: relu}}, {dense: 4}]",
            "",
            "s.yaml:3:58: network[1].dense.units: layer 2 (dense) is the output layer and has 4 units, but the "
            "labels have 3 classes (setosa, versicolor and virginica); change it, or give it an activation to make "
            "it a hidden layer",
        ),
        (
            "iris",
            "[{dense: {units: 3, activation: softmax}}]",
            "",
            "s.yaml:3:42: network[0].dense.activation: layer 1 (dense) ends in softmax, and cross_entropy takes "
            "outputs without it; it contains its own; remove the activation",
        ),
        (
            "iris",
            "[{dense: 3}, {activation: softmax}]",
            "loss: hinge",
            "s.yaml:3:36: network[1].activation.function: layer 2 (activation) ends in softmax, and hinge takes "
            "outputs without it; remove the activation",
        ),
        (
            "iris",
            "[]",
            "loss: binary_cross_entropy",
            "s.yaml:4:7: loss: binary_cross_entropy tells two classes apart, and there are 3; use cross_entropy, "
            "which takes any number",
        ),
        (
            "diabetes",
            "[]",
            "loss: cross_entropy",
            "s.yaml:4:7: loss: cross_entropy does not fit the labels of diabetes, which are numbers, not classes; "
            "use mse, quadratic, mae or huber",
        ),
        (
            "iris",
            "[]",
            "metrics: [mae]",
            "s.yaml:4:11: metrics[0]: mae is for regression; here classification with cross_entropy is judged, for "
            "which there are accuracy, top_3, precision, recall, f1, precision_micro, recall_micro, f1_micro, "
            "log_loss and roc_auc",
        ),
        (
            "iris",
            "[]",
            "metrics: [accuracy, accuracy]",
            "s.yaml:4:21: metrics[1]: 'accuracy' is listed twice",
        ),
        (
            "iris",
            "[]",
            "metrics: [top_3]",
            "s.yaml:4:11: metrics[0]: 3 guesses of 3 classes are always right; take fewer",
        ),
        (
            "iris",
            "[]",
            "loss: mse\nmetrics: [log_loss]",
            "s.yaml:5:11: metrics[0]: log_loss is for classification or multilabel and the loss "
            "binary_cross_entropy or cross_entropy; here classification with mse is judged, for which there are "
            "accuracy, top_3, precision, recall, f1, precision_micro, recall_micro, f1_micro and roc_auc",
        ),
        (
            "iris",
            "[]",
            "train: {batch_size: 106}",
            "s.yaml:4:21: train.batch_size: a batch of 106 is larger than the 105 training rows; lower it",
        ),
        (
            "iris",
            "[batch_norm]",
            "train: {batch_size: 1}",
            "s.yaml:4:21: train.batch_size: batches of 1 have 1 row, and batch_norm needs 2 in each; choose "
            "another batch_size",
        ),
        (
            "iris",
            "[{residual: [{dense: 4}, batch_norm]}]",
            "train: {batch_size: 8}",
            "s.yaml:4:21: train.batch_size: the last batch of each epoch (105 rows) has 1 row, and batch_norm "
            "needs 2 in each; choose another batch_size",
        ),
        (
            "iris",
            "[{dense: {units: 4, activation: relu}}]",
            "train: {freeze: [1, 2]}",
            "s.yaml:4:17: train.freeze: every layer with parameters is frozen; there is nothing to train; leave "
            "one of them out",
        ),
        (
            "iris",
            "[]",
            "train: {freeze: [2]}",
            "s.yaml:4:18: train.freeze[0]: there is no layer 2; the network has 1, the output layer included; "
            "remove it",
        ),
        (
            "iris",
            "[{embedding: {vocabulary: 9, units: 2}}]",
            "",
            "s.yaml:2:7: data.scale: an embedding takes whole numbers as they are; set scale: none",
        ),
        (
            "iris, scale: none",
            "[{embedding: {vocabulary: 9, units: 2}}]",
            "",
            "s.yaml:3:36: network[0].embedding.vocabulary: the vocabulary is the whole numbers 0 to 8, and the "
            "data holds 5.1; number the words from 0 in the data",
        ),
        (
            "iris, scale: none",
            "[{dense: 4}, {residual: [{embedding: {vocabulary: 9, units: 4}}, global_average_pool]}]",
            "",
            "s.yaml:3:47: network[1].residual.layers[0].embedding: an embedding takes the numbers of the data; it "
            "must be the first layer",
        ),
        (
            "words, scale: none",
            "[{embedding: {vocabulary: 8, units: 2}}]",
            "",
            "s.yaml:3:36: network[0].embedding.vocabulary: the vocabulary is the whole numbers 0 to 7, and the "
            "data holds 8; make it 9",
        ),
        (
            "words, scale: none",
            "[{residual: [{embedding: {vocabulary: 8, units: 4}}, global_average_pool]}]",
            "",
            "s.yaml:3:48: network[0].residual.layers[0].embedding.vocabulary: the vocabulary is the whole numbers "
            "0 to 7, and the data holds 8; make it 9",
        ),
        (
            "bytes, scale: none",
            "[{reshape: [4]}, {embedding: {vocabulary: 256, units: 2}}]",
            "",
            "s.yaml:3:39: network[1].embedding: an embedding takes whole numbers, and bytes become 0 to 1; store "
            "them as another type",
        ),
        (
            "iris",
            "[]",
            "train: {early_stopping: val_acuracy}",
            "s.yaml:4:25: train.early_stopping.monitor: 'val_acuracy' is not measured; did you mean "
            "'val_accuracy'? (measured: val_loss, val_accuracy, loss, accuracy)",
        ),
        (
            "iris",
            "[]",
            "train: {early_stopping: val_f1}",
            "s.yaml:4:25: train.early_stopping.monitor: 'val_f1' is not measured; add f1 to metrics: [accuracy, "
            "f1] (measured: val_loss, val_accuracy, loss, accuracy)",
        ),
        (
            "iris",
            "[]",
            "train: {early_stopping: val_mae}",
            "s.yaml:4:25: train.early_stopping.monitor: 'val_mae' is not measured (measured: val_loss, "
            "val_accuracy, loss, accuracy)",
        ),
        (
            "iris",
            "[]",
            "metrics: [roc_auc]\ntrain: {early_stopping: roc_auc}",
            "s.yaml:5:25: train.early_stopping.monitor: 'roc_auc' is not measured; it is measured on the "
            "validation rows alone, as 'val_roc_auc' (measured: val_loss, val_roc_auc, loss)",
        ),
        (
            "iris",
            "[]",
            "train: {target: {monitor: roc_auc, value: 1}}",
            "s.yaml:4:27: train.target.monitor: 'roc_auc' is not measured; watch 'val_roc_auc' and add roc_auc to "
            "metrics: [accuracy, roc_auc] (measured: val_loss, val_accuracy, loss, accuracy)",
        ),
        (
            "iris, split: {validation: 0}",
            "[]",
            "schedule: {reduce_on_plateau: {monitor: val_loss}}",
            "s.yaml:4:41: schedule.reduce_on_plateau.monitor: there is no 'val_loss' without validation rows; set "
            "data.split.validation",
        ),
        (
            "diabetes",
            "[]",
            "train: {class_weights: balanced}",
            "s.yaml:4:24: train.class_weights: only classes can be weighted, and the labels are numbers, not "
            "classes; remove it",
        ),
        (
            "iris",
            "[]",
            "train: {class_weights: {setosa: 2.0, virginia: 1.0}}",
            "s.yaml:4:48: train.class_weights.virginia: there is no class 'virginia'; did you mean 'virginica'? "
            "(classes: setosa, versicolor and virginica)",
        ),
        (
            "iris",
            "[]",
            "train: {class_weights: {setosa: 0, virginica: 0, versicolor: 0}}",
            "s.yaml:4:24: train.class_weights: with these weights no training row counts; raise one above 0",
        ),
        (
            "parted, split: {column: p}",
            "[]",
            "train: {class_weights: {b: 0}, batch_size: 5}",
            "s.yaml:4:24: train.class_weights: with these weights no validation row counts; raise one above 0",
        ),
        (
            "parted, split: {group: g}",
            "[]",
            "",
            "s.yaml:2:39: data.split.group: parted was stored without this column; name its file instead",
        ),
        (
            "parted, weights: w",
            "[]",
            "",
            "s.yaml:2:33: data.weights: the weights of all validation rows are 0; make one larger, or divide them "
            "otherwise",
        ),
        (
            "iris, augment: 1",
            "[]",
            "",
            "s.yaml:2:31: data.augment: only images can be augmented, and iris holds rows of 4 numbers; remove it",
        ),
        (
            "gaps, augment: {shift: 1}, missing: {fill: mean, indicator: true}",
            "[]",
            "",
            "s.yaml:2:31: data.augment: with indicators of its empty cells a row is more than an image, which "
            "alone can be augmented; set data.missing.indicator: false",
        ),
        (
            "gaps",
            "[]",
            "",
            "s.yaml:2:7: data.missing: gaps has empty cells; say what fills them: mean, median or most_frequent",
        ),
        (
            "diabetes, split: {stratify: true}",
            "[]",
            "",
            "s.yaml:2:44: data.split.stratify: only classes can be stratified, and the labels are numbers, not "
            "classes; remove it",
        ),
        (
            "rare, split: {stratify: true}",
            "[]",
            "train: {batch_size: 2}",
            "s.yaml:2:40: data.split.stratify: class 'b' has 1 row, too few to stand in each of 3 parts; add rows, "
            "or set stratify: false",
        ),
        (
            "iris, split: {validation: 0.001}",
            "[]",
            "",
            "s.yaml:2:29: data.split: 150 samples are too few: 0.001 of them for validation is none; raise it, or "
            "set it to 0",
        ),
        (
            "rare, split: {folds: 40}",
            "[]",
            "train: {batch_size: 1}",
            "s.yaml:2:29: data.split: 18 samples are too few for 40 folds; make fewer",
        ),
    ],
)
def test_the_check_refuses_at_the_place_with_what_to_do(data, network, rest, message):
    assert complaint(data, network, rest) == message
