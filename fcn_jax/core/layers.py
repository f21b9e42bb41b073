"""Masked layers over blocks. Padding changes nothing.

A map is the features of one block and the true sizes of its examples. Every layer takes a tuple of maps, one a block,
and returns one. It may count on zeros outside every true size, and it leaves zeros there. A layer works on each map by
itself; only normalisation looks across: its statistics pool over all blocks. Everything works for signals (rank 1) and
images (rank 2).
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from fcn_jax.core.block import Side
from fcn_jax.core.geometry import Window


class Map(NamedTuple):
    """One block between layers: features on its canvas, and how much of the canvas is true."""

    x: Float[Array, "b *spatial c"]
    size: Int[Array, "b r"]


Maps = tuple[Map, ...]


def spatial_axes(x: Array) -> tuple[int, ...]:
    return tuple(range(1, x.ndim - 1))


def mask_of(size: Int[Array, "b r"], canvas: tuple[Side, ...]) -> Bool[Array, "b *spatial 1"]:
    """True inside the true size, ready to multiply features on a canvas."""
    rank = len(canvas)
    mask = jnp.ones((1,) * (rank + 2), bool)
    for axis, side in enumerate(canvas):
        inside = jnp.arange(side) < size[:, axis, None]
        mask = mask & inside.reshape(-1, *(side if other == axis else 1 for other in range(rank)), 1)
    return mask


def masked(m: Map) -> Map:
    """Zero outside the true size."""
    return Map(jnp.where(mask_of(m.size, m.x.shape[1:-1]), m.x, 0), m.size)


def full_precision(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """In float32 where it is bfloat16: no sum, statistic or logit has less."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def num_positions(size: Int[Array, "b r"]) -> Int[Array, " b"]:
    """True positions of every example."""
    return size.prod(axis=1)


def masked_mean(m: Map) -> Float[Array, "b c"]:
    """Mean over true positions; zero for filler."""
    total = m.x.sum(axis=spatial_axes(m.x))
    return total / jnp.maximum(num_positions(m.size), 1)[:, None].astype(total.dtype)


def size_after(window: Window, size: Int[Array, "b r"]) -> Int[Array, "b r"]:
    """True sizes after a window; filler stays 0 whatever the padding.

    `Window.output_side` with one truncating division of a number that is not negative: XLA computes the sizes anew
    for every element of every mask.
    """
    reach = jnp.maximum(size + (2 * window.padding - window.extent + window.stride), 0)
    return jnp.where(size > 0, lax.div(reach, jnp.asarray(window.stride, size.dtype)), 0)


def larger(a: Array, b: Array) -> Array:
    """The maximum, whose gradient goes to one of the two.

    That of `jnp.maximum` goes to what equals the result, and that is neither of them where XLA computes a or b once
    more for the gradient and rounds otherwise: seen on CPU, behind a BatchNorm.
    """
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def largest(x: Array, axis: int) -> Array:
    """The maximum along an axis, whose gradient goes to one position, for the reason told at `larger`."""
    first = x.argmax(axis, keepdims=True).astype(jnp.int32)
    position = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    return jnp.where(position == first, x, 0).sum(axis)


Activation = Callable[[Array], Array]


def identity(x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Record:
    """What a layer did to the first map, for `shapes`."""

    layer: str
    canvas: tuple[int, ...]
    """() where all positions have become one."""
    channels: int
    parameters: int


_records: ContextVar[list[Record] | None] = ContextVar("records", default=None)


@contextmanager
def recording():
    """Collect a `Record` of every layer called inside."""
    records: list[Record] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def count_parameters(module: nnx.Module) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def recorded(layer: nnx.Module, maps: Maps) -> Maps:
    """What a layer made, noted where somebody is recording."""
    records = _records.get()
    if records is not None:
        x = maps[0].x
        canvas = () if isinstance(layer, GlobalPool) else x.shape[1:-1]
        records.append(Record(str(layer), canvas, x.shape[-1], count_parameters(layer)))
    return maps


class Layer(nnx.Module):
    """A masked layer: subclasses write `apply`.

    `training` is an argument of every call, not a mode that nnx's `train()` and `eval()` set: a mode would be part of
    the graphdef, of which a run would then have two, and a call would not show which of them it means.
    """

    @property
    def windows(self) -> tuple[Window, ...]:
        """What slides over the maps, one after the other, and decides their size."""
        return ()

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        return recorded(self, self.apply(maps, training=training))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        raise AssertionError(f"{type(self).__name__} has no apply")

    def __str__(self) -> str:
        return type(self).__name__


class GlobalPool(nnx.Module):
    """What makes all positions of a map one."""


class Activate(Layer):
    """An activation that maps 0 to 0, such as ReLU, so that the outside stays zero."""

    def __init__(self, activation: Activation):
        self.activation = activation

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(Map(self.activation(x), size) for x, size in maps)


class Add(nnx.Module):
    """The sum of two branches (He et al., arXiv:1512.03385), and an activation that maps 0 to 0."""

    def __init__(self, activation: Activation = identity):
        self.activation = activation

    def __call__(self, branch: Maps, shortcut: Maps) -> Maps:
        sums = []
        for a, b in zip(branch, shortcut, strict=True):
            assert a.x.shape == b.x.shape, (a.x.shape, b.x.shape)
            sums.append(Map(self.activation(a.x + b.x), a.size))
        return recorded(self, tuple(sums))

    def __str__(self) -> str:
        return "Add"
