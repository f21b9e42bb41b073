"""Masked pooling over windows, over the cells of a grid, and over all true positions.

What always holds: positions outside the true size do not count, whether the canvas or the window's own padding adds
them. A window without any true position gives 0, and so does filler.
"""

import operator
from collections.abc import Callable
from functools import reduce

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int, Num

from fcn_jax.core.block import Side
from fcn_jax.core.geometry import Window, format_size
from fcn_jax.core.layers import (
    GlobalPool,
    Layer,
    Map,
    Maps,
    full_precision,
    larger,
    mask_of,
    masked,
    masked_mean,
    placed,
    size_after,
    spatial_axes,
)


class MaxPool(Layer):
    """The largest true value in every window, as in PyTorch and flax; `slide` says what `reduce_window` is."""

    def __init__(self, window: Window, *, rank: int, reduce_window: bool = False):
        self.window, self.rank, self.reduce_window = window, rank, reduce_window

    @property
    def windows(self) -> tuple[Window, ...]:
        return (self.window,)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(self._pool(m) for m in maps)

    def _pool(self, m: Map) -> Map:
        x = jnp.where(mask_of(m.size, m.x.shape[1:-1]), m.x, -jnp.inf)
        x = placed(x, m.size, self.window, outside=-jnp.inf)
        y = slide(x, self.window.computed, larger, outside=-jnp.inf, reduce_window=self.reduce_window)
        return masked(Map(jnp.where(y == -jnp.inf, 0, y), size_after(self.window, m.size)))

    def __str__(self) -> str:
        return f"MaxPool {self.window.describe(self.rank)}"


class AveragePool(Layer):
    """The mean of the true values in every window.

    It does not count the zeros of the window's padding, like `count_include_pad=False` in PyTorch and flax.
    """

    def __init__(self, window: Window, *, rank: int, reduce_window: bool = False):
        self.window, self.rank, self.reduce_window = window, rank, reduce_window

    @property
    def windows(self) -> tuple[Window, ...]:
        return (self.window,)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(self._pool(m) for m in maps)

    def _pool(self, m: Map) -> Map:
        window, x = self.window.computed, placed(full_precision(m.x), m.size, self.window)
        inside = placed(mask_of(m.size, m.x.shape[1:-1]).astype(x.dtype), m.size, self.window)
        total = slide(x, window, operator.add, outside=0.0, reduce_window=self.reduce_window)
        count = slide(inside, window, operator.add, outside=0.0)
        mean = (total / jnp.maximum(count, 1)).astype(m.x.dtype)
        return masked(Map(mean, size_after(self.window, m.size)))

    def __str__(self) -> str:
        return f"AveragePool {self.window.describe(self.rank)}"


class AdaptiveAveragePool(Layer):
    """The mean of every cell of a grid over the true size. The grid has the same number of cells for every size.

    A position on the border of two cells counts for both, each with the part that lies inside the cell. So if a map is
    smaller than the grid, cells repeat its values. Layers after this one see every image at the same scale: features
    are resized, not pixels, as in spatial pyramid pooling (He et al., arXiv:1406.4729).

    Args:
        cells: cells of the grid on every axis.
    """

    def __init__(self, cells: int, *, rank: int):
        self.cells, self.rank = cells, rank

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(self._pool(m) for m in maps)

    def _pool(self, m: Map) -> Map:
        x = full_precision(m.x)
        for axis in range(self.rank):
            shares = cell_shares(m.size[:, axis], x.shape[1 + axis], self.cells, x.dtype)
            x = jnp.moveaxis(jnp.einsum("bip,bp...->bi...", shares, jnp.moveaxis(x, 1 + axis, 1)), 1, 1 + axis)
        return Map(x.astype(m.x.dtype), jnp.where(m.size > 0, self.cells, 0))

    def __str__(self) -> str:
        return f"AdaptiveAveragePool {format_size([self.cells] * self.rank)}"


def cell_shares(side: Int[Array, " b"], canvas: Side, cells: int, dtype: DTypeLike) -> Float[Array, "b cells canvas"]:
    """Return the weight of every position of an axis in the mean of every cell: the part inside / the side of the cell.

    Parts are counted in whole numbers, in units of 1/`cells` of a position, so they are exact for every size. Weights
    of filler are 0.
    """
    side = side[:, None, None]
    cell, position = jnp.arange(cells)[:, None], jnp.arange(canvas)
    start = jnp.maximum(cell * side, position * cells)
    stop = jnp.minimum((cell + 1) * side, (position + 1) * cells)
    inside = jnp.where(position < side, jnp.maximum(stop - start, 0), 0)
    return inside.astype(dtype) / jnp.maximum(side, 1).astype(dtype)


def slide(
    x: Num[Array, "b *spatial c"],
    window: Window,
    combine: Callable[[Array, Array], Array],
    *,
    outside: float,
    reduce_window: bool = False,
) -> Num[Array, "b *places c"]:
    """Combine the values in every place of a window, axis by axis.

    It combines slices. XLA's reduce_window has no gradient for dilated windows and takes 4 times as long on CPU (175 ms
    against 45 for 32×56×56×64, kernel 3, stride 2, forward and gradient), and on GPU it moves more bytes. On TPU
    reduce_window is the better way: slices move 1.5 GB more in a step of ResNet-50 on 64 images of 224².
    """
    if reduce_window and window.dilation == 1:
        rank, monoid = x.ndim - 2, lax.max if combine is larger else lax.add
        around = [(0, 0), *[(window.padding, window.padding)] * rank, (0, 0)]
        sides, strides = (1, *[window.kernel] * rank, 1), (1, *[window.stride] * rank, 1)
        return lax.reduce_window(x, np.asarray(outside, x.dtype), monoid, sides, strides, around)
    for axis in spatial_axes(x):
        last = (window.output_side(x.shape[axis]) - 1) * window.stride
        around = [(0, 0)] * x.ndim
        around[axis] = (window.padding, window.padding)
        padded = jnp.pad(x, around, constant_values=outside)
        starts = range(0, window.extent, window.dilation)
        slices = [lax.slice_in_dim(padded, start, start + last + 1, window.stride, axis) for start in starts]
        x = reduce(combine, slices)
    return x


class GlobalAverage(GlobalPool, Layer):
    """The mean over all true positions of each example (Lin et al., arXiv:1312.4400)."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(one_position(masked_mean(m), m.size) for m in maps)


def one_position(x: Float[Array, "b c"], size: Int[Array, "b r"]) -> Map:
    """Return pooled features as a map of side 1."""
    return masked(Map(x.reshape(x.shape[0], *[1] * size.shape[1], x.shape[1]), jnp.minimum(size, 1)))
