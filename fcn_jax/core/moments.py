"""Normalisation of maps by their own moments, with the gradient written out, for BatchNorm and GroupNorm.

A pass over a map costs as much as writing it does. So the gradient is written out: two sums in one pass, then the
gradient itself. If maps are bfloat16, one pass gives both moments: such maps keep 8 bits, and what a difference of
squares loses in float32 is below what rounding them has lost already. Wider maps take the variance in a second pass.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from fcn_jax.core.layers import Activation, Map, Maps, full_precision, masked, num_positions, spatial_axes

EPSILON = 1e-5
"""Number added to the variance, unless a norm says another."""

Sums = tuple[Float[Array, "_ c"], ...]
"""For every block, a number of each channel, for each example or for all examples together."""
Sizes = tuple[Int[Array, "_ r"], ...]


def num_pooled(sizes: Sizes) -> Int[Array, ""]:
    """Return the number of true positions of all blocks."""
    return jnp.asarray(sum(num_positions(size).sum() for size in sizes))


@dataclass(frozen=True)
class OverAll:
    """Pooling over all true positions of all blocks."""

    def sums(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "1 c"]:
        return x.sum((0, *spatial_axes(x)))[None]

    def means(self, sums: Sums, sizes: Sizes) -> Sums:
        return (sum(sums[1:], sums[0]) / jnp.maximum(num_pooled(sizes), 1).astype(sums[0].dtype),) * len(sums)


@dataclass(frozen=True)
class OverGroups:
    """Pooling over the true positions of each example and the channels of a group, for each example and each group."""

    group_size: int

    def sums(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "b c"]:
        return x.sum(spatial_axes(x))

    def means(self, sums: Sums, sizes: Sizes) -> Sums:
        means = []
        for s, size in zip(sums, sizes, strict=True):
            count = jnp.maximum(num_positions(size) * self.group_size, 1)[:, None].astype(s.dtype)
            groups = s.reshape(len(s), -1, self.group_size).sum(-1) / count
            means.append(jnp.repeat(groups, self.group_size, axis=1))
        return tuple(means)


Pooling = OverAll | OverGroups


def _per_channel(values: Float[Array, "n c"], x: Float[Array, "b *spatial c"]) -> Float[Array, "n *ones c"]:
    """Shape numbers of each channel, for each example or for all, so that they broadcast over the features `x`."""
    return values.reshape(len(values), *[1] * (x.ndim - 2), values.shape[-1])


def moments_of(pooling: Pooling, maps: Maps, *, one_pass: bool | None = None) -> tuple[Sums, Sums]:
    """Return means and biased variances. `one_pass` says how to compute them; None: as fits the type of the maps."""
    one_pass = maps[0].x.dtype == jnp.bfloat16 if one_pass is None else one_pass
    sizes = tuple(size for _, size in maps)
    xs = [full_precision(x) for x, _ in maps]
    means = pooling.means(tuple(map(pooling.sums, xs)), sizes)
    if one_pass:
        squares = pooling.means(tuple(pooling.sums(jnp.square(x)) for x in xs), sizes)
        return means, tuple(jnp.maximum(s - jnp.square(m), 0) for s, m in zip(squares, means, strict=True))
    centred = [masked(Map(x - _per_channel(m, x), size)).x for x, m, size in zip(xs, means, sizes, strict=True)]
    return means, pooling.means(tuple(pooling.sums(jnp.square(x)) for x in centred), sizes)


def normalised(activation: Activation, scale, bias, m: Map, mean, inverse_deviation) -> Map:
    """Normalise a map, and apply the activation."""
    centred = full_precision(m.x) - _per_channel(mean, m.x)
    y = activation(centred * _per_channel(scale * inverse_deviation, m.x) + bias)
    return masked(Map(y.astype(m.x.dtype), m.size))


def normalise(
    pooling: Pooling, activation: Activation, epsilon: float, maps: Maps, scale, bias, *, training: bool
) -> tuple[Maps, Sums, Sums]:
    """Normalise maps by their own moments, and apply the activation; return the maps, the means and the variances.

    In training no gradient goes through the moments that it returns. In evaluation the gradient is the automatic one.
    """
    xs, sizes = zip(*maps, strict=True)
    found: Any = (_normalise if training else _plain)(pooling, activation, epsilon, xs, sizes, scale, bias)
    outputs, means, variances = found
    return tuple(map(Map, outputs, sizes)), means, variances


def _plain(pooling, activation, epsilon, xs, sizes, scale, bias):
    maps = tuple(map(Map, xs, sizes))
    means, variances = moments_of(pooling, maps)
    inverse = [lax.rsqrt(var + epsilon) for var in variances]
    outputs = map(partial(normalised, activation, scale, bias), maps, means, inverse)
    return tuple(m.x for m in outputs), means, variances


_normalise = partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))(_plain)


def _normalise_forward(pooling, activation, epsilon, xs, sizes, scale, bias):
    found = _plain(pooling, activation, epsilon, xs, sizes, scale, bias)
    return found, (xs, sizes, scale, bias, *found[1:])


def _normalise_backward(pooling, activation, epsilon, saved, gradients):
    """Return the gradients of `_normalise`.

    With z = scale · n + bias and n the normalised map, the gradient of the map is scale / deviation · dz, less its
    mean, less n times the mean of its product with n. Both means come from the same pass as the gradients of scale and
    bias. The pass computes z anew, so that nothing but the map is kept for it.
    """
    xs, sizes, scale, bias, means, variances = saved
    inverse = [lax.rsqrt(var + epsilon) for var in variances]
    normal, upstream = [], []
    for x, size, mean, factor, dy in zip(xs, sizes, means, inverse, gradients[0], strict=True):
        normal.append((full_precision(x) - _per_channel(mean, x)) * _per_channel(factor, x))
        _, pull = jax.vjp(lambda z, size=size: masked(Map(activation(z), size)).x, normal[-1] * scale + bias)
        upstream.append(pull(full_precision(dy))[0])
    sums = tuple(map(pooling.sums, upstream))
    products = tuple(pooling.sums(dz * n) for dz, n in zip(upstream, normal, strict=True))
    mean_gradients = pooling.means(tuple(s * scale for s in sums), sizes)
    mean_products = pooling.means(tuple(p * scale for p in products), sizes)
    inputs = []
    for x, size, n, dz, factor, gradient, product in zip(
        xs, sizes, normal, upstream, inverse, mean_gradients, mean_products, strict=True
    ):
        dx = (dz * scale - _per_channel(gradient, x) - n * _per_channel(product, x)) * _per_channel(factor, x)
        inputs.append(masked(Map(dx.astype(x.dtype), size)).x)
    return tuple(inputs), None, sum(p.sum(0) for p in products), sum(s.sum(0) for s in sums)


_normalise.defvjp(_normalise_forward, _normalise_backward)
