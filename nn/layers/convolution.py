"""Convolution in one and two dimensions. A sequence is an image of height 1.

The images lie as rows, (..., height, channels, width, batch), see images.py. "Columns" copies them once for each cell
of the kernel's width, shifted: columns[h, c, j, o, n] = rows[h, c, o * stride + j * dilation - padding, n]. That is all
the copying: the kernel's height needs none, because the kernel_height rows of columns below each other are already the
matrix (kernel_height * channels * kernel_width, width' * batch) that belongs to one row of the output:

    y[row] = weight (kernel_height * channels * kernel_width, units).T @ columns[row : row + kernel_height]

and the gradients are

    dweight = sum over rows of columns[row : row + kernel_height] @ dy[row].T
    dcolumns[h] = sum over i of weight[i] @ dy[h - i]     one product, the rows of dy are below each other too
    drows[h, c, o * stride + j * dilation - padding, n] += dcolumns[h, c, j, o, n]

Chellapilla et al. (2006), section 3, unrolls both axes; this needs 1/kernel_height of the memory and copying.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from nn.activations import ACTIVATIONS, activation_function
from nn.arrays import Array, Buffers, Noise, Shape, ShapeError, Views
from nn.initializers import INITIALIZERS
from nn.layers.base import Layer
from nn.layers.images import as_given, as_images, contiguous_rows, from_rows, reordered
from nn.layers.windows import LARGEST, Windows, windows
from nn.registry import setting

PADDINGS = ("valid", "same")


class Cache(NamedTuple):
    """What backward needs: the matrices of `columns`, before and after the activation, and where the windows lie."""

    matrices: Array
    z: Array
    y: Array
    height: Windows
    widths: tuple[Windows, ...]


@dataclass(frozen=True)
class Convolution(Layer):
    """What both convolutions are told, and how they compute."""

    units: int = setting(least=1, doc="how many filters, which are the output's channels")
    size: int = setting(least=1, most=LARGEST, doc="how many cells a filter covers along each axis")
    stride: int = setting(1, least=1, doc="how far a filter moves")
    padding: str | int = setting(
        "valid", choices=PADDINGS, least=0, doc="`same` keeps the size with stride 1; a number adds as many zeros"
    )
    dilation: int = setting(1, least=1, doc="how far apart a filter's cells are")
    activation: str = setting("linear", choices=ACTIVATIONS, doc="what is applied to the outputs")
    initializer: str | None = setting(
        None, choices=INITIALIZERS, doc="how the weights begin; unless told, by the rule that the activation names"
    )
    bias: bool = setting(True, doc="whether each filter has a bias")

    needs: ClassVar[str]
    kernel_axes: ClassVar[int]

    @property
    def output_activation(self) -> str:
        return self.activation

    def windows(self, height: int, width: int) -> tuple[Windows, Windows]:
        along_width = windows(width, self.size, self.stride, self.padding, self.dilation)
        if self.kernel_axes == 1:
            return windows(1, 1, 1, "valid"), along_width
        return windows(height, self.size, self.stride, self.padding, self.dilation), along_width

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != self.kernel_axes + 1:
            raise ShapeError(self.needs, input_shape, kind=self.kind)
        try:
            along = self.windows(input_shape[0], input_shape[-2])
        except ShapeError as error:
            raise ShapeError(error.needs, input_shape, kind=self.kind) from error
        return (*(axis.outputs for axis in along[2 - self.kernel_axes :]), self.units)

    def workspace(self, input_shape: Shape, batch: int, *, training: bool, input_gradient: bool) -> int:
        height, width = self.windows(input_shape[0], input_shape[-2])
        cells = height.size * input_shape[-1] * width.size
        made = height.outputs * width.outputs * self.units
        each = columns_size(input_shape, height, width)
        if self.dilation > 1 and height.size > 1:  # the matrices are no view
            each += height.outputs * cells * width.outputs
        each += made * (2 if activation_function(self.activation).needs_input else 1)
        products = height.outputs * cells * self.units if training else 0
        return batch * (each + input_gradient * input_workspace(input_shape, width)) + products

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        kernel_height = self.size if self.kernel_axes == 2 else 1
        weight = {"weight": (kernel_height, input_shape[-1], self.size, self.units)}
        return weight | ({"bias": (self.units,)} if self.bias else {})

    def initialise(self, parameters: Views, rng: np.random.Generator) -> None:
        name = self.initializer or activation_function(self.activation).initializer
        kernel_height, channels, kernel_width, units = parameters["weight"].shape
        area = kernel_height * kernel_width
        INITIALIZERS[name](parameters["weight"], area * channels, area * units, rng)
        if self.bias:
            parameters["bias"][...] = 0

    def forward(
        self, parameters: Views, x: Array, *, axes: int, rng: Noise | None, training: bool, buffers: Buffers
    ) -> tuple[Array, Cache]:
        images = as_images(x, axes)
        height, width = self.windows(*images.shape[-3:-1])
        matrices = row_matrices(unroll(images, height, (width,), buffers), height)
        kernels = flat_kernels(parameters["weight"])
        z = buffers.array("z", (*matrices.shape[:-2], self.units, matrices.shape[-1]), x.dtype)
        np.matmul(kernels.mT[..., None, :, :], matrices, out=z)
        if self.bias:
            z += parameters["bias"][..., None, :, None]
        z = from_rows(z.reshape(*z.shape[:-1], width.outputs, -1))
        function = activation_function(self.activation)
        y = function.forward(z, buffers.like("y", z) if function.needs_input else z)
        return as_given(y, axes), Cache(matrices, z, y, height, (width,))

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
        matrices, z, y, height, widths = cache
        axes = self.kernel_axes + 1
        dz = activation_function(self.activation).backward(z, y, as_images(dy, axes), buffers)
        rows = contiguous_rows(dz, "drows", buffers)
        matrix = rows.reshape(*matrices.shape[:-2], self.units, matrices.shape[-1])
        products = buffers.array("products", (*matrices.shape[:-1], self.units), rows.dtype)
        np.matmul(matrices, matrix.mT, out=products)  # in this order a quarter faster than transposed
        np.add.reduce(products, axis=-3, out=flat_kernels(gradients["weight"]))
        if self.bias:
            sums = np.add.reduce(matrix, axis=-1, out=buffers.array("sums", matrix.shape[:-1], rows.dtype))
            np.add.reduce(sums, axis=-2, out=gradients["bias"])
        if not input_gradient:
            return None
        dx = input_gradient_of(parameters["weight"], matrix, height, widths, buffers)
        return as_given(from_rows(dx), axes)


def columns_size(input_shape: Shape, height: Windows, width: Windows) -> int:
    """How many numbers of a sample `unroll` keeps: its rows, and the columns with their padding."""
    return math.prod(input_shape) + height.padded * input_shape[-1] * width.size * width.outputs


def input_workspace(input_shape: Shape, width: Windows) -> int:
    """How many numbers of a sample `input_gradient_of` keeps: one row of columns, and all rows of dx."""
    return input_shape[-1] * width.size * width.outputs + math.prod(input_shape)


def flat_kernels(weight: Array) -> Array:
    """(..., kernel_height, channels, kernel_width, units) as (..., kernel_height * channels * kernel_width, units)."""
    return weight.reshape(*weight.shape[:-4], -1, weight.shape[-1], copy=False)


def unroll(images: Array, height: Windows, widths: tuple[Windows, ...], buffers: Buffers) -> Array:
    """The columns (..., padded height, channels, kernel_width, width', batch).

    Along width' lie the windows of `widths` one after the other; usually there is one.
    """
    rows = contiguous_rows(images, "rows", buffers)
    *stack, _, channels, _, batch = rows.shape
    shape = (*stack, height.padded, channels, widths[0].size, sum(width.outputs for width in widths), batch)
    columns = buffers.zeros("columns", shape, rows.dtype)
    # What lies below the last window is not needed; the padding around was zero from the start.
    first, last = height.before, min(height.before + height.length, height.padded)
    inner, used = columns[..., first:last, :, :, :, :], rows[..., : max(0, last - first), :, :, :]
    for cell, places, inputs in laid_out(widths):
        inner[..., cell, places, :] = used[..., inputs, :]
    return columns


def laid_out(widths: tuple[Windows, ...]) -> Iterator[tuple[int, slice, slice]]:
    """For each cell of the kernel: where along width' it is copied to, and from which places of the input."""
    start = 0
    for width in widths:
        for cell, (outputs, inputs) in enumerate(width.taps):
            yield cell, slice(start + outputs.start, start + outputs.stop), inputs
        start += width.outputs


def row_matrices(columns: Array, height: Windows) -> Array:
    """For each row of the output the (..., rows, kernel_height * channels * kernel_width, width' * batch) it reads.

    A view of overlapping parts, unless the kernel's rows are apart by a dilation.
    """
    *stack, _, channels, kernel_width, outputs, batch = columns.shape
    *outer, row, _, _, _, one = columns.strides
    shape = (*stack, height.outputs, height.size, channels * kernel_width, outputs * batch)
    strides = (*outer, row * height.stride, row * height.dilation, outputs * batch * one, one)
    overlapping = as_strided(columns, shape, strides, writeable=False)
    return overlapping.reshape(*shape[:-3], -1, shape[-1])


def input_gradient_of(
    weight: Array, dy: Array, height: Windows, widths: tuple[Windows, ...], buffers: Buffers
) -> Array:
    """The gradient of the rows (..., height, channels, width, batch) of dy (..., rows, units, width' * batch).

    Row by row, so that the columns' gradient is added up while it is in the cache.
    """
    *stack, _, channels, kernel_width, units = weight.shape
    turned = turned_kernels(weight, buffers)
    columns = buffers.array("dcolumns", (*stack, channels * kernel_width, dy.shape[-1]), dy.dtype)
    places = columns.reshape(*stack, channels, kernel_width, sum(width.outputs for width in widths), -1)
    rows = buffers.array("dx", (*stack, height.length, channels, widths[0].length, places.shape[-1]), dy.dtype)
    rows.fill(0)
    pieces = [(places[..., cell, along, :], inputs) for cell, along, inputs in laid_out(widths)]
    for row, (outputs, ends) in enumerate(height.reaching):
        below, target = dy[..., outputs, :, :], rows[..., row, :, :, :]
        count = below.shape[-3] * units
        if count == 0:
            continue  # a row that no window reaches
        kernel = turned[..., ends, :].reshape(*columns.shape[:-1], count)
        np.matmul(kernel, below.reshape(*stack, count, -1), out=columns)
        for piece, inputs in pieces:
            target[..., inputs, :] += piece
    return rows


def turned_kernels(weight: Array, buffers: Buffers) -> Array:
    """(..., channels * kernel_width, kernel_height, units), from the last row of the kernel to the first.

    As the rows of dy that reach one row of the input rise, the rows of the kernel that they reach it with fall.
    """
    *stack, kernel_height, channels, kernel_width, units = weight.shape
    turned = buffers.array("turned", (*stack, channels, kernel_width, kernel_height, units), weight.dtype)
    np.copyto(turned, reordered(weight[..., ::-1, :, :, :], 1, 2, 0, 3))
    return turned.reshape(*stack, channels * kernel_width, kernel_height, units)
