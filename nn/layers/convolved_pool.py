"""A convolution and the max pooling of 2 by 2 cells above it, computed together.

The largest of f(x + bias) is f(largest x + bias) for an increasing f, so bias and activation are done after pooling, on
a quarter of the numbers. What the convolution makes is never stored as a whole: two of its rows at a time are pooled
while they are in the cache. Of them stays, in one byte each, which of two neighbours was larger (the first of equals):

    wide[r] = max(left[r], right[r]), is_left[r] = left[r] >= right[r]           for the rows r = 0 and 1
    z = max(wide[0], wide[1]), is_upper = wide[0] >= wide[1]
    y = f(z + bias)

so that backward hands dz to one cell in four. Where the columns are fewer than the units, they are made with all left
places of a row before all right ones: comparing them then runs over long pieces of memory, and the matrix products,
which are slow for very wide matrices, are made of the two halves. The result is that of the two layers, except that two
cells which differ by less than adding the bias rounds off are not equal here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from nn.activations import activation_function
from nn.arrays import Array, Buffers, Noise, Shape, Views
from nn.layers.base import Layer
from nn.layers.convolution import (
    Convolution,
    columns_size,
    flat_kernels,
    input_gradient_of,
    input_workspace,
    row_matrices,
    unroll,
)
from nn.layers.images import contiguous_rows, from_rows
from nn.layers.windows import Windows


class Cache(NamedTuple):
    """The convolution's matrices, z and y of the pooled rows, which cells were largest, and where windows lie."""

    matrices: Array
    z: Array
    y: Array
    is_left: Array
    is_upper: Array
    height: Windows
    widths: tuple[Windows, ...]


@dataclass(frozen=True)
class ConvolvedPool(Layer):
    """y = max_pool(convolution(x)) for images, pooled by 2 without padding."""

    convolution: Convolution

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        layer = self.convolution
        height, width = (windows.even for windows in layer.windows(input_shape[0], input_shape[1]))
        cells = height.size * input_shape[-1] * width.size
        row = width.outputs * layer.units
        pooled = height.outputs * row // 4
        each = columns_size(input_shape, height, width)
        each += 3 * row + pooled * 7 // 4  # two rows, the wider of their neighbours, z and a byte for each comparison
        each += pooled if activation_function(layer.activation).needs_input else 0
        if training:
            each += (height.outputs if input_gradient else 2) * row  # the convolution's gradient
        products = height.outputs * cells * layer.units if training else 0
        return batch * (each + input_gradient * input_workspace(input_shape, width)) + products

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Cache]:
        layer = self.convolution
        height, width = (windows.even for windows in layer.windows(*x.shape[-3:-1]))
        widths = width.halves if x.shape[-1] * layer.size < layer.units else (width,)
        matrices = row_matrices(unroll(x, height, widths, buffers), height)
        z, is_left, is_upper = pool_rows(flat_kernels(parameters["weight"]).mT, matrices, widths, buffers)
        if layer.bias:
            z += parameters["bias"][..., None, :, None, None]
        z = from_rows(z)
        function = activation_function(layer.activation)
        y = function.forward(z, buffers.like("y", z) if function.needs_input else z)
        return y, Cache(matrices, z, y, is_left, is_upper, height, widths)

    def backward(
        self,
        parameters: Views,
        gradients: Views,
        cache: Cache,
        dy: Array,
        *,
        buffers: Buffers,
        input_gradient: bool = True,
    ) -> Array | None:
        layer = self.convolution
        dz = activation_function(layer.activation).backward(cache.z, cache.y, dy, buffers)
        rows = contiguous_rows(dz, "drows", buffers)
        if layer.bias:
            flat = rows.reshape(*rows.shape[:-2], -1)
            sums = np.add.reduce(flat, axis=-1, out=buffers.array("sums", flat.shape[:-1], rows.dtype))
            np.add.reduce(sums, axis=-2, out=gradients["bias"])
        spread = spread_rows(rows, cache, gradients["weight"], buffers, keep=input_gradient)
        if not input_gradient:
            return None
        return from_rows(input_gradient_of(parameters["weight"], spread, cache.height, cache.widths, buffers))


def pool_rows(
    kernels: Array, matrices: Array, widths: tuple[Windows, ...], buffers: Buffers
) -> tuple[Array, Array, Array]:
    """z (..., height', units, width', batch), is_left with an axis for the two rows, and is_upper."""
    *stack, rows, _, positions = matrices.shape
    units, dtype = kernels.shape[-2], matrices.dtype
    places = sum(width.outputs for width in widths)
    pairs = (units, places // 2, positions // places)
    block = buffers.array("block", (*stack, 2, units, positions), dtype)
    left, right = neighbours(block, widths)
    wide = buffers.array("wide", (*stack, 2, *pairs), dtype)
    upper, lower = wide[..., 0, :, :, :], wide[..., 1, :, :, :]
    is_left = buffers.array("is_left", (*stack, rows // 2, 2, *pairs), np.bool_)
    is_upper = buffers.array("is_upper", (*stack, rows // 2, *pairs), np.bool_)
    z = buffers.array("z", (*stack, rows // 2, *pairs), dtype)
    kernels, parts, made = kernels[..., None, None, :, :], parted(matrices, widths), parted(block, widths)
    for row in range(rows // 2):
        np.matmul(kernels, parts[..., 2 * row : 2 * row + 2, :, :, :], out=made)
        np.greater_equal(left, right, out=is_left[..., row, :, :, :, :])
        np.maximum(left, right, out=wide)
        np.greater_equal(upper, lower, out=is_upper[..., row, :, :, :])
        np.maximum(upper, lower, out=z[..., row, :, :, :])
    return z, is_left, is_upper


def spread_rows(dz: Array, cache: Cache, dweight: Array, buffers: Buffers, *, keep: bool) -> Array:
    """Write the weights' gradient and return that of the convolution's rows (..., rows, units, width * batch).

    If these are not to `keep`, the latter is scratch.
    """
    is_left, is_upper, widths = cache.is_left, cache.is_upper, cache.widths
    *stack, rows, cells, positions = cache.matrices.shape
    units, dtype = dweight.shape[-1], dz.dtype
    kept = buffers.array("kept", (*stack, rows if keep else 2, units, positions), dtype)
    wide = buffers.array("wide", (*stack, 2, *dz.shape[-3:]), dtype)
    upper, lower = wide[..., 0, :, :, :], wide[..., 1, :, :, :]
    parts = parted(cache.matrices, widths)
    products = buffers.array("products", (*stack, rows, len(widths), cells, units), dtype)
    for row in range(rows // 2):
        both = slice(2 * row, 2 * row + 2)
        np.multiply(dz[..., row, :, :, :], is_upper[..., row, :, :, :], out=upper)
        np.subtract(dz[..., row, :, :, :], upper, out=lower)
        block = kept[..., both, :, :] if keep else kept
        left, right = neighbours(block, widths)
        np.multiply(wide, is_left[..., row, :, :, :, :], out=left)
        np.subtract(wide, left, out=right)
        np.matmul(parts[..., both, :, :, :], parted(block, widths).mT, out=products[..., both, :, :, :])
    np.add.reduce(products.reshape(*stack, -1, cells, units), axis=-3, out=flat_kernels(dweight))
    return kept


def neighbours(block: Array, widths: tuple[Windows, ...]) -> tuple[Array, Array]:
    """The left and the right of each two places along the width, of (..., 2, units, width * batch)."""
    places = sum(width.outputs for width in widths)
    cells = block.reshape(*block.shape[:-1], places, -1, copy=False)
    if len(widths) == 2:
        return cells[..., : places // 2, :], cells[..., places // 2 :, :]
    return cells[..., 0::2, :], cells[..., 1::2, :]


def parted(matrices: Array, widths: tuple[Windows, ...]) -> Array:
    """(..., cells, width' * batch) as (..., parts, cells, width' * batch / parts), a view."""
    *outer, positions = matrices.shape
    return matrices.reshape(*outer, len(widths), positions // len(widths), copy=False).swapaxes(-3, -2)
