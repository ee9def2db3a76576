"""The gradients of layers beyond dense, against central differences in float64, on odd shapes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from nn_tools import check_layer, law, seeds, sizes, stacks

from nn import ACTIVATIONS, LAYERS, AveragePool, Conv1d, Conv2d, Flatten, GlobalAveragePool, MaxPool, Reshape

few = st.integers(1, 3)
sides = st.integers(1, 7)
activations = st.sampled_from(sorted(ACTIVATIONS))


@st.composite
def kernels(draw: st.DrawFn, *lengths: int, dilated: bool = True) -> dict[str, Any]:
    """Settings of a window that fits these lengths: as large as the input, steps beyond the window, padding."""
    dilation = draw(few) if dilated else 1
    padding = draw(st.sampled_from(["valid", "same", 0, 1, 2]))
    room = min(lengths) + 2 * (padding if isinstance(padding, int) else 0)
    most = 4 if padding == "same" else min(4, (room - 1) // dilation + 1)
    size = draw(st.integers(1, most))
    if not dilated and isinstance(padding, int):
        padding = min(padding, size - 1)
    chosen = {"size": size, "stride": draw(st.integers(1, 5)), "padding": padding}
    return {**chosen, "dilation": dilation} if dilated else chosen


@law
@given(st.data(), few, sides, sides, few, few, stacks, activations, st.booleans(), seeds)
def test_conv2d(data, batch, height, width, channels, units, stack, activation, bias, seed):
    settings = data.draw(kernels(height, width))
    layer = Conv2d(units, activation=activation, bias=bias, **settings)
    check_layer(layer, (height, width, channels), batch, stack, seed)


@law
@given(st.data(), sizes, sides, few, few, stacks, activations, st.booleans(), seeds)
def test_conv1d(data, batch, length, channels, units, stack, activation, bias, seed):
    layer = Conv1d(units, activation=activation, bias=bias, **data.draw(kernels(length)))
    check_layer(layer, (length, channels), batch, stack, seed)


@law
@given(
    st.data(), st.sampled_from([MaxPool, AveragePool]), few, st.lists(sides, min_size=1, max_size=2), few, stacks, seeds
)
def test_pooling(data, kind, batch, lengths, channels, stack, seed):
    check_layer(kind(**data.draw(kernels(*lengths, dilated=False))), (*lengths, channels), batch, stack, seed)


@law
@given(few, st.lists(sizes, min_size=1, max_size=2), few, stacks, seeds)
def test_global_average_pool(batch, lengths, channels, stack, seed):
    check_layer(GlobalAveragePool(), (*lengths, channels), batch, stack, seed)


@law
@given(few, st.lists(sizes, min_size=1, max_size=3), stacks, seeds)
def test_flatten_and_reshape(batch, shape, stack, seed):
    check_layer(Flatten(), tuple(shape), batch, stack, seed)
    check_layer(Reshape((*reversed(shape), 1)), tuple(shape), batch, stack, seed)


def test_every_layer_has_a_gradient_test():
    elsewhere = {"dense", "dropout", "activation"}
    here = {"conv1d", "conv2d", "max_pool", "average_pool", "global_average_pool", "flatten", "reshape"}
    assert set(LAYERS) == elsewhere | here, "add the new layer's gradient test, then its name"
