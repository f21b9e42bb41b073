"""Maps: features on a canvas, and how much of the canvas is true. What every masked layer is made of.

All work for signals (rank 1) and images (rank 2).
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from fcn_jax.geometry import Window
from fcn_jax.types import Side


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
