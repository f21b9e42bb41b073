"""Masked normalisation: statistics count the true positions of true examples, and nothing else.

BatchNorm pools its statistics over all blocks of a step, as if they were one batch without padding. It computes the
variance in a second pass, around the mean, because a single pass loses digits in float32. Maps in bfloat16 are
normalised in float32. Each norm also applies the activation that follows it, so that one mask serves both.
In every norm, the argument `scale` is the initial value of its trained scale.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float, Num

from fcn_jax.core.block import AnyArray
from fcn_jax.core.layers import (
    Activation,
    Layer,
    Map,
    Maps,
    full_precision,
    identity,
    mask_of,
    masked,
    num_positions,
    spatial_axes,
)

EPSILON = 1e-5
"""Number added to the variance in BatchNorm and GroupNorm."""
LAYER_EPSILON = 1e-6
"""Number added to the variance in LayerNorm, as in ConvNeXt."""


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
        if training:
            moments = pooled_moments(tuple(Map(full_precision(x), size) for x, size in maps))
            collected = _collected.get()
            if collected is not None:
                collected[id(self)] = moments
            _, mean, var = moments
            self.mean[...] = self.momentum * self.mean[...] + (1 - self.momentum) * lax.stop_gradient(mean)
            self.var[...] = self.momentum * self.var[...] + (1 - self.momentum) * lax.stop_gradient(var)
        else:
            mean, var = self.mean[...], self.var[...]
        factor = self.scale[...] * lax.rsqrt(var + EPSILON)
        shift = self.bias[...]
        outputs = []
        for x, size in maps:
            y = self.activation((full_precision(x) - mean) * factor + shift)
            outputs.append(masked(Map(y.astype(x.dtype), size)))
        return tuple(outputs)


def pooled_moments(maps: Maps) -> Moments:
    """Return the moments over all true positions of all blocks."""
    count = jnp.asarray(sum(num_positions(size).sum() for _, size in maps))
    divisor = jnp.maximum(count, 1).astype(maps[0].x.dtype)
    mean = sum(x.sum(axis=(0, *spatial_axes(x))) for x, _ in maps) / divisor
    squares = [masked(Map(jnp.square(x - mean), size)).x for x, size in maps]
    return Moments(count, mean, sum(square.sum(axis=(0, *spatial_axes(square))) for square in squares) / divisor)


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
        return tuple(self._normalise(m) for m in maps)

    def _normalise(self, m: Map) -> Map:
        x = full_precision(m.x).reshape(*m.x.shape[:-1], -1, self.group_size)
        axes = (*spatial_axes(m.x), x.ndim - 1)
        count = jnp.maximum(num_positions(m.size) * self.group_size, 1).astype(x.dtype)
        count = count.reshape(-1, *[1] * (x.ndim - 1))
        inside = mask_of(m.size, m.x.shape[1:-1])[..., None]
        mean = x.sum(axes, keepdims=True) / count
        centred = jnp.where(inside, x - mean, 0)
        var = jnp.square(centred).sum(axes, keepdims=True) / count
        y = (centred * lax.rsqrt(var + EPSILON)).reshape(m.x.shape) * self.scale[...] + self.bias[...]
        return masked(Map(self.activation(y).astype(m.x.dtype), m.size))


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
