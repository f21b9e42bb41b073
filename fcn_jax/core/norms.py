"""Masked normalisation: statistics count the true positions of true examples, and nothing else.

BatchNorm pools its statistics over all blocks of a step, as if they were one batch without padding; GroupNorm over a
group of channels of one example; LayerNorm over the channels of one position. Maps in bfloat16 are normalised in
float32. Each norm also applies the activation that follows it, so that one mask serves both.
In every norm, the argument `scale` is the initial value of its trained scale.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
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
    masked,
)
from fcn_jax.core.moments import EPSILON, OverAll, OverGroups, normalise, normalised, num_pooled

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
        epsilon: number added to the variance.
    """

    def __init__(
        self,
        channels: int,
        *,
        momentum: float = 0.9,
        epsilon: float = EPSILON,
        activation: Activation = identity,
        scale: float = 1.0,
        dtype=jnp.float32,
    ):
        self.momentum, self.epsilon, self.activation = momentum, epsilon, activation
        self.scale = nnx.Param(jnp.full(channels, scale, dtype))
        self.bias = nnx.Param(jnp.zeros(channels, dtype))
        self.mean = nnx.BatchStat(jnp.zeros(channels, dtype))
        self.var = nnx.BatchStat(jnp.ones(channels, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        scale, bias = self.scale[...], self.bias[...]
        if not training:
            inverse = lax.rsqrt(self.var[...] + self.epsilon)
            means, deviations = ((v[None],) * len(maps) for v in (self.mean[...], inverse))
            return tuple(map(partial(normalised, self.activation, scale, bias), maps, means, deviations))
        outputs, (mean, *_), (var, *_) = normalise(
            OverAll(), self.activation, self.epsilon, maps, scale, bias, training=True
        )
        moments = Moments(num_pooled(tuple(size for _, size in maps)), mean[0], var[0])
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
        epsilon: number added to the variance.
    """

    def __init__(
        self,
        channels: int,
        *,
        group_size: int,
        epsilon: float = EPSILON,
        activation: Activation = identity,
        scale: float = 1.0,
        dtype=jnp.float32,
    ):
        assert channels % group_size == 0
        self.group_size, self.epsilon, self.activation = group_size, epsilon, activation
        self.scale = nnx.Param(jnp.full(channels, scale, dtype))
        self.bias = nnx.Param(jnp.zeros(channels, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        scale, bias, pooling = self.scale[...], self.bias[...], OverGroups(self.group_size)
        return normalise(pooling, self.activation, self.epsilon, maps, scale, bias, training=training)[0]


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
