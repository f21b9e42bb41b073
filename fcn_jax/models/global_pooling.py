"""Masked pooling over all true positions: a map becomes one of side 1. Filler becomes 0."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fcn_jax.models.layers import GlobalPool, Layer, recorded
from fcn_jax.models.maps import Map, Maps, largest, mask_of, masked, masked_mean, num_positions, spatial_axes
from fcn_jax.types import Side


class GlobalAverage(GlobalPool, Layer):
    """The mean (Lin et al., arXiv:1312.4400)."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(one_position(masked_mean(m), m.size) for m in maps)


class GlobalMax(GlobalPool, Layer):
    """The largest value of every channel (Oquab et al., CVPR 2015)."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            x = lowest_outside(m)
            outputs.append(one_position(largest(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1), m.size))
        return tuple(outputs)


class GlobalLogSumExp(GlobalPool, Layer):
    """The logarithm of the mean exponential, between mean and maximum (Pinheiro and Collobert, arXiv:1411.6228).

    Of the mean, not the sum, so that a larger image does not score higher for its size.
    """

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            total = jax.nn.logsumexp(lowest_outside(m), axis=spatial_axes(m.x))
            count = jnp.maximum(num_positions(m.size), 1)[:, None].astype(total.dtype)
            outputs.append(one_position(total - jnp.log(count), m.size))
        return tuple(outputs)


class AttentionPool(GlobalPool):
    """The mean weighted by the softmax of a score of every position (Ilse et al., arXiv:1802.04712, ungated)."""

    def __call__(self, maps: Maps, scores: Maps) -> Maps:
        outputs = []
        for m, score in zip(maps, scores, strict=True):
            axes = spatial_axes(m.x)
            weight = jax.nn.softmax(lowest_outside(score), axis=axes)
            outputs.append(one_position((weight * m.x).sum(axes), m.size))
        return recorded(self, tuple(outputs))

    def __str__(self) -> str:
        return "AttentionPool"


class LastPosition(GlobalPool, Layer):
    """What stands at the last true position, where a causal net has seen everything; of an image, the lower right.

    Args:
        num_backward: that many channels, the last ones, are read at the first position instead: those of a net that
            comes from the end.
    """

    def __init__(self, num_backward: int = 0):
        self.num_backward = num_backward

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            forward, backward = jnp.split(m.x, [m.x.shape[-1] - self.num_backward], axis=-1)
            last = mask_of(m.size, m.x.shape[1:-1])
            for axis in range(m.size.shape[1]):
                last &= ~mask_of(m.size.at[:, axis].add(-1), m.x.shape[1:-1])
            first = backward[:, *[0] * m.size.shape[1]]
            end = jnp.where(last, forward, 0).sum(spatial_axes(m.x))
            outputs.append(one_position(jnp.concatenate([end, first], axis=-1), m.size))
        return tuple(outputs)


class PyramidPool(GlobalPool, Layer):
    """The largest values in the cells of grids of 1, 2, 4, ... cells a side over the true size, one after the other.

    A cell reaches from floor(i n / l) to ceil((i + 1) n / l), so none is empty (He et al., arXiv:1406.4729).
    """

    def __init__(self, levels: Sequence[int], *, rank: int):
        self.levels, self.rank = tuple(levels), rank

    @property
    def num_cells(self) -> int:
        return sum(level**self.rank for level in self.levels)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            cells = [self._cells(m, level) for level in self.levels]
            outputs.append(one_position(jnp.concatenate(cells, axis=1), m.size))
        return tuple(outputs)

    def _cells(self, m: Map, level: int) -> Float[Array, "b cells_times_c"]:
        x = m.x
        for axis in range(self.rank):
            inside = in_cells(m.size[:, axis], x.shape[1 + axis], level)
            shape = [x.shape[0], *[1] * (x.ndim - 1)]
            shape[1 + axis] = x.shape[1 + axis]
            rows = [largest(jnp.where(inside[:, i].reshape(shape), x, -jnp.inf), 1 + axis) for i in range(level)]
            x = jnp.stack(rows, axis=1 + axis)
        return x.reshape(x.shape[0], -1)

    def __str__(self) -> str:
        return f"PyramidPool {', '.join('×'.join([str(level)] * self.rank) for level in self.levels)}"


def in_cells(side: Int[Array, " b"], canvas: Side, level: int) -> Bool[Array, "b cells canvas"]:
    """Which positions of an axis lie in which of its `level` cells."""
    cell, position = jnp.arange(level)[:, None], jnp.arange(canvas)
    start = cell * side[:, None, None] // level
    stop = -(-(cell + 1) * side[:, None, None] // level)
    return (position >= start) & (position < stop)


def lowest_outside(m: Map) -> Float[Array, "b *spatial c"]:
    """-inf outside the true size; but filler, which has no inside, stays 0, so that no sum of exponentials is 0."""
    filler = (num_positions(m.size) == 0).reshape(-1, *[1] * (m.x.ndim - 1))
    return jnp.where(mask_of(m.size, m.x.shape[1:-1]) | filler, m.x, -jnp.inf)


def one_position(x: Float[Array, "b c"], size: Int[Array, "b r"]) -> Map:
    """Pooled features as a map of side 1."""
    return masked(Map(x.reshape(x.shape[0], *[1] * size.shape[1], x.shape[1]), jnp.minimum(size, 1)))
