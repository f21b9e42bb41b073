"""Masked layers over blocks: the padding of a block changes no result.

A map is the features of one block and the true sizes of its examples. Every layer takes a tuple of maps, one for each
block of the step, and returns such a tuple.
What always holds: features outside an example's true size are zero, before a layer and after it. A layer treats each
map by itself; only BatchNorm looks at all maps together, since its statistics pool over all blocks. Everything works
for signals (rank 1) and images (rank 2).
"""

import math
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Num

from fcn_jax.core.block import Side
from fcn_jax.core.geometry import BalancedWindow, SameWindow, Window


class Map(NamedTuple):
    """A block between layers: features on its canvas, and the true size of every example on it."""

    x: Float[Array, "b *spatial c"]
    size: Int[Array, "b r"]


Maps = tuple[Map, ...]


def spatial_axes(x: Array) -> tuple[int, ...]:
    """Return the axes of features that are neither the examples nor the channels."""
    return tuple(range(1, x.ndim - 1))


def mask_of(
    size: Int[Array, "b r"], canvas: tuple[Side, ...], *, start: Int[Array, "b r"] | None = None
) -> Bool[Array, "b *spatial 1"]:
    """Return a mask that is true inside every true size. It broadcasts over the channels of features on the canvas.

    Args:
        start: first positions of boxes that end at `size`; None: they begin at 0.
    """
    rank = len(canvas)
    mask = jnp.ones((1,) * (rank + 2), bool)
    for axis, side in enumerate(canvas):
        inside = jnp.arange(side) < size[:, axis, None]
        if start is not None:
            inside = inside & (jnp.arange(side) >= start[:, axis, None])
        mask = mask & inside.reshape(-1, *(side if other == axis else 1 for other in range(rank)), 1)
    return mask


def masked(m: Map) -> Map:
    """Return the map with zeros outside every true size."""
    return Map(jnp.where(mask_of(m.size, m.x.shape[1:-1]), m.x, 0), m.size)


def full_precision(x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Return bfloat16 as float32, other types as they are. Sums, statistics and logits need at least float32."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def num_positions(size: Int[Array, "b r"]) -> Int[Array, " b"]:
    """Return the number of true positions of every example."""
    return size.prod(axis=1)


def masked_mean(m: Map) -> Float[Array, "b c"]:
    """Return the mean over the true positions of every example; zero for filler."""
    total = m.x.sum(axis=spatial_axes(m.x))
    return total / jnp.maximum(num_positions(m.size), 1)[:, None].astype(total.dtype)


def size_after(window: Window, size: Int[Array, "b r"]) -> Int[Array, "b r"]:
    """Return the true sizes after a window. Filler stays 0, whatever the window's padding.

    This is `Window.output_side`, written with one truncating division of a number that is never negative. That is
    cheaper, and XLA computes the sizes again for every element of every mask.
    """
    reach = jnp.maximum(size + (window.surplus + window.stride), 0)
    return jnp.where(size > 0, lax.div(reach, jnp.asarray(window.stride, size.dtype)), 0)


def placed(
    x: Num[Array, "b *spatial c"],
    size: Int[Array, "b r"],
    window: Window,
    *,
    outside: float = 0.0,
    drawn: Float[Array, "b r"] | None = None,
) -> Num[Array, "b *padded c"]:
    """Return features over which `window.computed` slides to the places of `window`.

    For a `SameWindow` or a `BalancedWindow` each example is padded by its own true size. A canvas has one shape, so all
    get the most zeros that any side has before it, and lose positions from the front, one at a time, where their side
    has fewer.

    Args:
        drawn: numbers from 0 to 1 that decide where a `BalancedWindow` begins; None: in the middle of its choices.
    """
    if not isinstance(window, SameWindow | BalancedWindow):
        return x
    sides, before = range(1, window.stride + 1), window.padding_before(size)
    most, least = (choose(map(window.padding_before, sides)) for choose in (max, min))
    around_all = window.extent - 1  # A side of n leaves n positions for the first place: ceil(n / stride) places.
    if isinstance(window, BalancedWindow):
        most, least, around_all = window.padding, window.padding - window.stride + 1, 2 * window.padding
        if drawn is not None:
            choices = window.left_over(size) + 1
            before = window.padding - jnp.minimum((drawn * choices).astype(size.dtype), choices - 1)
    for axis in spatial_axes(x):
        around = [(0, 0)] * x.ndim
        around[axis] = (most, around_all - least)
        x = jnp.pad(x, around, constant_values=outside)
        surplus = (most - before[:, axis - 1]).reshape(-1, *[1] * (x.ndim - 1))
        for number in range(most - least):
            without_first, without_last = (lax.slice_in_dim(x, *cut, axis=axis) for cut in ((1, None), (0, -1)))
            x = jnp.where(surplus > number, without_first, without_last)
    return x


def larger(a: Array, b: Array) -> Array:
    """Return the elementwise maximum. Its gradient always goes to exactly one of the two.

    The gradient of `jnp.maximum` goes to the operand that equals the result. XLA may compute a or b a second time for
    the gradient and round it differently. Then neither equals the result, and the gradient is lost: this was seen on
    CPU after a BatchNorm.
    """
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def largest(x: Array, axis: int) -> Array:
    """Return the maximum along an axis. Its gradient goes to exactly one position, for the reason given at `larger`."""
    first = x.argmax(axis, keepdims=True).astype(jnp.int32)
    position = lax.broadcasted_iota(jnp.int32, x.shape, axis)
    return jnp.where(position == first, x, 0).sum(axis)


Activation = Callable[[Array], Array]


def identity(x: Array) -> Array:
    """Return the input: the activation of a layer that has none."""
    return x


@dataclass(frozen=True)
class Record:
    """One row of the table that the command `shapes` prints: a layer, and the shape of its first output map."""

    layer: str
    canvas: tuple[int, ...]
    """Canvas of the output; () if the layer pools all positions into one."""
    channels: int
    parameters: int


_records: ContextVar[list[Record] | None] = ContextVar("records", default=None)


@contextmanager
def recording():
    """Collect a `Record` of every layer that is called inside the `with` block."""
    records: list[Record] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def count_parameters(module: nnx.Module) -> int:
    """Return how many numbers the parameters of a module hold."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def recorded(layer: nnx.Module, maps: Maps) -> Maps:
    """Return the maps that a layer made, and keep a `Record` of them if called inside `recording`."""
    records = _records.get()
    if records is not None:
        x = maps[0].x
        canvas = () if isinstance(layer, GlobalPool) else x.shape[1:-1]
        records.append(Record(str(layer), canvas, x.shape[-1], count_parameters(layer)))
    return maps


class Layer(nnx.Module):
    """A masked layer. Subclasses write `apply`.

    `training` is an argument of every call, not a mode that nnx's `train()` and `eval()` set. A mode would be part of
    the graphdef, so a run would need two graphdefs, and a call would not show which one it uses.
    """

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that slide over the maps, one after the other, and so decide the size of the output."""
        return ()

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        return recorded(self, self.apply(maps, training=training))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        raise AssertionError(f"{type(self).__name__} has no apply")

    def __str__(self) -> str:
        return type(self).__name__


def through(layers: Iterable[Layer], maps: Maps, *, training: bool) -> Maps:
    """Return the maps after some layers, one after the other."""
    for layer in layers:
        maps = layer(maps, training=training)
    return maps


class GlobalPool(nnx.Module):
    """A mark on layers that pool all positions of a map into one."""


class Activate(Layer):
    """An activation that maps 0 to 0, such as ReLU, so that the padding stays zero."""

    def __init__(self, activation: Activation):
        self.activation = activation

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(Map(self.activation(x), size) for x, size in maps)


class Add(nnx.Module):
    """The sum of two branches (He et al., arXiv:1512.03385), then an activation that maps 0 to 0."""

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
