"""Masked normalisation: statistics count the true positions of true examples, and nothing else.

BatchNorm pools its statistics over all blocks of a step, as if they were one batch without padding; GroupNorm over a
group of channels of one example; LayerNorm over the channels of one position. Maps in bfloat16 are normalised in
float32. Each norm also applies the activation that follows it, so that one mask serves both.
In every norm, the argument `scale` is the initial value of its trained scale.

A pass over a map costs as much as a convolution's result does to write. So the gradient of BatchNorm and GroupNorm is
written out: two sums in one pass, then the gradient itself. The forward pass needs one pass for the two sums of
statistics if maps are bfloat16: they keep 8 bits, and what a difference of squares loses in float32 is below what
rounding the map has lost already. Wider maps take the variance in a second pass, around the mean.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Int, Num

from fcn_jax.core.block import AnyArray
from fcn_jax.core.layers import (
    Activation,
    Layer,
    Map,
    Maps,
    full_precision,
    identity,
    masked,
    num_positions,
    spatial_axes,
)

EPSILON = 1e-5
"""Number added to the variance in BatchNorm and GroupNorm."""
LAYER_EPSILON = 1e-6
"""Number added to the variance in LayerNorm, as in ConvNeXt."""

Sums = tuple[Float[Array, "_ c"], ...]
"""For every block, a number of each channel, for each example or for all examples together."""
Sizes = tuple[Int[Array, "_ r"], ...]


@runtime_checkable
class Pooling(Protocol):
    """What the moments of a norm are taken over."""

    def sums(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "_ c"]:
        """Return the sums over the positions of a block that is zero outside the true sizes."""
        ...

    def means(self, sums: Sums, sizes: Sizes) -> Sums:
        """Return the means over all that is pooled, from the sums of all blocks."""
        ...


class Moments(NamedTuple):
    """The number of some positions, and the mean and biased variance of every channel over them."""

    number: Num[AnyArray, ""]
    mean: Float[AnyArray, " c"]
    var: Float[AnyArray, " c"]


_collected: ContextVar[dict[int, Moments] | None] = ContextVar("collected", default=None)


class BatchNorm(Layer):
    """BatchNorm (Ioffe and Szegedy, arXiv:1502.03167) over the true positions of all blocks.

    Args:
        momentum: share that the running mean and (biased) variance keep in every step. Evaluation uses these two.
    """

    def __init__(
        self,
        channels: int,
        *,
        momentum: float = 0.9,
        activation: Activation = identity,
        scale: float = 1.0,
        dtype=jnp.float32,
    ):
        self.momentum, self.activation = momentum, activation
        self.scale = nnx.Param(jnp.full(channels, scale, dtype))
        self.bias = nnx.Param(jnp.zeros(channels, dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        scale, bias = self.scale[...], self.bias[...]
        if not training:
            means, deviations = ((v[None],) * len(maps) for v in (self.mean[...], lax.rsqrt(self.var[...] + EPSILON)))
            return tuple(map(partial(_normalised, self.activation, scale, bias), maps, means, deviations))
        outputs, (mean, *_), (var, *_) = normalise(OverAll(), self.activation, maps, scale, bias)
        moments = Moments(_count([size for _, size in maps]), mean[0], var[0])
        collected = _collected.get()
        if collected is not None:
            collected[id(self)] = moments
        self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * lax.stop_gradient(moments.mean)
        self.var[...] = self.momentum * self.var[...] + (1 - self.momentum) * lax.stop_gradient(moments.var)
        return outputs


def batch_norms(module: nnx.Module) -> list[BatchNorm]:
    """Return every BatchNorm of a net, always in the same order."""
    return [layer for _, layer in nnx.iter_modules(module) if isinstance(layer, BatchNorm)]


@contextmanager
def collecting_moments() -> Iterator[dict[int, Moments]]:
    """Collect the moments by which each BatchNorm normalises in training inside the `with` block.

    The dict that it yields has them by the id of the layer.
    """
    collected: dict[int, Moments] = {}
    token = _collected.set(collected)
    try:
        yield collected
    finally:
        _collected.reset(token)


class GroupNorm(Layer):
    """GroupNorm (Wu and He, arXiv:1803.08494): statistics of each example by itself, over groups of channels.

    Args:
        group_size: channels in a group; it has to divide the number of channels.
    """

    def __init__(
        self,
        channels: int,
        *,
        group_size: int,
        activation: Activation = identity,
        scale: float = 1.0,
        dtype=jnp.float32,
    ):
        assert channels % group_size == 0
        self.group_size, self.activation = group_size, activation
        self.scale = nnx.Param(jnp.full(channels, scale, dtype))
        self.bias = nnx.Param(jnp.zeros(channels, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return normalise(OverGroups(self.group_size), self.activation, maps, self.scale[...], self.bias[...])[0]


def _count(sizes) -> Int[Array, ""]:
    return jnp.asarray(sum(num_positions(size).sum() for size in sizes))


@dataclass(frozen=True)
class OverAll:
    """Pooling over all true positions of all blocks."""

    def sums(self, x: Float[Array, "b *spatial c"]) -> Float[Array, "1 c"]:
        return x.sum((0, *spatial_axes(x)))[None]

    def means(self, sums: Sums, sizes: Sizes) -> Sums:
        return (sum(sums[1:], sums[0]) / jnp.maximum(_count(sizes), 1).astype(sums[0].dtype),) * len(sums)


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


def _per_channel(values: Float[Array, "n c"], x: Float[Array, "b *spatial c"]) -> Float[Array, "n *ones c"]:
    """Shape numbers of each channel, for each example or for all, so that they broadcast over the features `x`."""
    return values.reshape(len(values), *[1] * (x.ndim - 2), values.shape[-1])


def moments_of(pooling: Pooling, maps: Maps, *, one_pass: bool | None = None) -> tuple[Sums, Sums]:
    """Return the means and the biased variances that a norm takes.

    Args:
        one_pass: compute both from one pass over the maps, as the mean of squares less the square of the mean. None:
            do so if the maps are bfloat16.
    """
    if one_pass is None:
        one_pass = maps[0].x.dtype == jnp.bfloat16
    sizes = tuple(size for _, size in maps)
    xs = [full_precision(x) for x, _ in maps]
    means = pooling.means(tuple(map(pooling.sums, xs)), sizes)
    if one_pass:
        squares = pooling.means(tuple(pooling.sums(jnp.square(x)) for x in xs), sizes)
        return means, tuple(jnp.maximum(s - jnp.square(m), 0) for s, m in zip(squares, means, strict=True))
    centred = [masked(Map(x - _per_channel(m, x), size)).x for x, m, size in zip(xs, means, sizes, strict=True)]
    return means, pooling.means(tuple(pooling.sums(jnp.square(x)) for x in centred), sizes)


def _normalised(activation: Activation, scale, bias, m: Map, mean, inverse_deviation) -> Map:
    """Normalise a map, and apply the activation."""
    centred = full_precision(m.x) - _per_channel(mean, m.x)
    y = activation(centred * _per_channel(scale * inverse_deviation, m.x) + bias)
    return masked(Map(y.astype(m.x.dtype), m.size))


def normalise(pooling: Pooling, activation: Activation, maps: Maps, scale, bias) -> tuple[Maps, Sums, Sums]:
    """Normalise maps by their own moments, and apply the activation; return the maps, the means and the variances.

    No gradient goes through the moments that it returns.
    """
    xs, sizes = zip(*maps, strict=True)
    found: Any = _normalise(pooling, activation, xs, sizes, scale, bias)
    outputs, means, variances = found
    return tuple(map(Map, outputs, sizes)), means, variances


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _normalise(pooling, activation, xs, sizes, scale, bias):
    maps = tuple(map(Map, xs, sizes))
    means, variances = moments_of(pooling, maps)
    inverse = [lax.rsqrt(var + EPSILON) for var in variances]
    outputs = map(partial(_normalised, activation, scale, bias), maps, means, inverse)
    return tuple(m.x for m in outputs), means, variances


def _normalise_forward(pooling, activation, xs, sizes, scale, bias):
    found: Any = _normalise(pooling, activation, xs, sizes, scale, bias)
    return found, (xs, sizes, scale, bias, *found[1:])


def _normalise_backward(pooling, activation, saved, gradients):
    """Return the gradients of `_normalise`.

    With z = scale · n + bias and n the normalised map, the gradient of the map is scale / deviation · dz, less its
    mean, less n times the mean of its product with n. Both means come from the same pass as the gradients of scale and
    bias. The pass computes z anew, so that nothing but the map is kept for it.
    """
    xs, sizes, scale, bias, means, variances = saved
    inverse = [lax.rsqrt(var + EPSILON) for var in variances]
    normal, upstream = [], []
    for x, size, mean, factor, dy in zip(xs, sizes, means, inverse, gradients[0], strict=True):
        n = (full_precision(x) - _per_channel(mean, x)) * _per_channel(factor, x)
        _, pull = jax.vjp(
            lambda z, x=x, size=size: masked(Map(activation(z).astype(x.dtype), size)).x, n * scale + bias
        )
        normal.append(n)
        upstream.append(pull(dy)[0])
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


class LayerNorm(Layer):
    """LayerNorm over the channels of each position by itself, as in ConvNeXt (Liu et al., arXiv:2201.03545)."""

    def __init__(self, channels: int, *, activation: Activation = identity, scale: float = 1.0, dtype=jnp.float32):
        self.activation = activation
        self.scale = nnx.Param(jnp.full(channels, scale, dtype))
        self.bias = nnx.Param(jnp.zeros(channels, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(self._normalise(m) for m in maps)

    def _normalise(self, m: Map) -> Map:
        x = full_precision(m.x)
        y = (x - x.mean(-1, keepdims=True)) / self.deviation(x) * self.scale[...] + self.bias[...]
        return masked(Map(self.activation(y).astype(m.x.dtype), m.size))

    def deviation(self, x: Float[Array, "*n c"]) -> Float[Array, "*n 1"]:
        """Return the number by which the channels of each position are divided."""
        return jnp.sqrt(x.var(-1, keepdims=True) + LAYER_EPSILON)
