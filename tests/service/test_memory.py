"""What `check` says of memory is what a training takes, and what no machine has is refused."""

import tracemalloc

import numpy as np
import pytest

import nn
from service.assembly import assemble, check, outline
from service.datasets import Dataset, Schema
from service.spec import SpecError, parse

ROWS = 1000


def spec(network, rest="train: {batch_size: 170, epochs: 1}"):
    data = "{source: images, split: {validation: 0.05, test: 0.1}}"
    return parse(f"version: 1\ndata: {data}\nnetwork: {network}\n{rest}\n", "s.yaml")


def images(dtype=np.float32, side=28, rows=ROWS, channels=1):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (rows, side * side * channels)).astype(dtype)
    shape = (side, side, channels)
    names = tuple("abcdefghij")
    schema = Schema("classification", rows, pixels.shape[1], pixels.dtype.name, (), shape, ("label",), names)
    return Dataset(pixels, np.arange(rows) % 10, schema)


def peak_of_training(made, dataset):
    """Bytes that assembling, an epoch, its judgement and a snapshot take at most, besides the dataset."""
    tracemalloc.start()
    try:
        assembly = assemble(made, dataset)
        state = nn.State.start(assembly.plan)
        for _ in nn.train(assembly.plan, state, assembly.train, assembly.validation):
            state.snapshot()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CONVOLUTIONS = (
    "[{conv2d: {units: 8, size: 5, activation: relu}}, max_pool, {conv2d: {units: 16, size: 5, activation: gelu}},"
    " {average_pool: {size: 3, stride: 1}}, flatten, {dense: {units: 32, activation: relu}}]"
)
NORMALISED = (
    "[{conv2d: {units: 16, size: 3, padding: same}}, batch_norm, {activation: relu}, {dropout: 0.2},"
    " {residual: [{conv2d: {units: 16, size: 3, padding: same, dilation: 2}}, layer_norm]}, global_average_pool]"
)
WIDE = "[{dense: {units: 700, activation: relu}}, {dense: {units: 700, activation: silu}}, {dropout: 0.5}]"
DILATED = "[{conv2d: {units: 8, size: 5, dilation: 3}}, {conv2d: {units: 8, size: 5, dilation: 2}}, flatten]"
STRIDED = "[{conv2d: {units: 64, size: 7, stride: 3, padding: 2}}, {max_pool: {size: 3, stride: 1, padding: same}}]"


@pytest.mark.parametrize("network", [CONVOLUTIONS, NORMALISED, WIDE, STRIDED, DILATED], ids=range(5))
def test_the_estimate_of_memory_is_near_what_is_taken(network):
    dataset, made = images(), spec(network)
    told = check(made, dataset).memory_bytes - dataset.nbytes
    taken = peak_of_training(made, dataset)
    assert 0.9 * taken < told < 1.4 * taken  # too little is worse than too much


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        ("[{dense: {units: 8, activation: relu}}, {dense: {units: 2147483647, activation: relu}}]", "layer 3 (dense)"),
        ("[{conv2d: {units: 2, size: 3, padding: 2147483647}}]", "layer 1 (conv2d)"),
        ("[{conv2d: {units: 2, size: 3, padding: same, dilation: 1073741824}}]", "layer 1 (conv2d)"),
    ],
)
def test_what_no_machine_has_is_refused_at_the_layer_that_needs_it(network, layer):
    with pytest.raises(SpecError, match=r"^s\.yaml:3:\d+: network.*the training needs about [\d,]+ GiB") as caught:
        outline(spec(network), images())
    assert f"most of it for {layer}; make it smaller" in str(caught.value)


def test_a_padding_of_a_typo_shows_in_the_check():
    """With a stride of the padding's length only the columns grow, not the output."""
    plain, typo = ("{units: 2, size: 3, padding: 0}", "{units: 2, size: 3, padding: 4000, stride: 100}")
    small, large = (check(spec(f"[{{conv2d: {text}}}]"), images()).memory_bytes for text in (plain, typo))
    assert small < 2**26
    assert large > 2**28


@pytest.mark.parametrize("data", ["scale: standard", "scale: minmax", "scale: none", "augment: {shift: 2}"])
def test_images_of_bytes_are_trained_without_a_copy_in_floats(data):
    """20,000 images of 28 × 28 are 15 MiB of bytes, and those for training alone would be 41 MiB of floats."""
    dataset = images(np.uint8, rows=20_000)
    made = parse(
        f"version: 1\ndata: {{source: images, {data}}}\nnetwork: [{{dense: {{units: 4, activation: relu}}}}]\n"
        "train: {batch_size: 100, epochs: 1}\n"
    )
    taken = peak_of_training(made, dataset)
    assert taken < 2.5 * dataset.nbytes < 0.7 * 4 * dataset.features.size
