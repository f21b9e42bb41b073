"""Makes the layers of a net, so that what they all share is said once and not passed on by every family."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from flax import nnx

from fcn_jax.geometry import Window
from fcn_jax.models.convolution import Convolution, prefers_patches
from fcn_jax.models.layers import Activate, Activation, Layer, identity
from fcn_jax.models.norms import BatchNorm, GroupNorm, LayerNorm
from fcn_jax.models.pooling import AdaptiveAveragePool, AveragePool, MaxPool


@dataclass(frozen=True)
class LayerMaker:
    """What all layers of a net have in common.

    Parameters are drawn in the order in which layers are made.
    """

    rank: int
    """2 for images, 1 for signals."""
    rngs: nnx.Rngs
    norm_kind: str = "batch"
    """batch, group, layer or none."""
    norm_momentum: float = 0.9
    """Of BatchNorm's running statistics."""
    group_size: int = 8
    """Channels of a group of GroupNorm."""
    patches: bool | None = False
    """See `Convolution`; None: where `prefers_patches`."""
    dtype: Any = jnp.float32

    def convolution(
        self,
        features: tuple[int, int],
        window: Window,
        *,
        groups: int = 1,
        bias: bool | None = None,
        init_scale: float = 2.0,
    ) -> Convolution:
        """A convolution; without `bias` said, it has one unless a BatchNorm, whose mean takes it away, follows."""
        patches = prefers_patches(features[0], window) if self.patches is None else self.patches
        return Convolution(
            features,
            window,
            rank=self.rank,
            groups=groups,
            bias=self.norm_kind != "batch" if bias is None else bias,
            patches=patches,
            rngs=self.rngs,
            init_scale=init_scale,
            dtype=self.dtype,
        )

    def max_pool(self, window: Window) -> MaxPool:
        return MaxPool(window, rank=self.rank)

    def average_pool(self, window: Window) -> AveragePool:
        return AveragePool(window, rank=self.rank)

    def adaptive_pool(self, cells: int) -> AdaptiveAveragePool:
        return AdaptiveAveragePool(cells, rank=self.rank)

    def norm(self, channels: int, activation: Activation = identity, *, scale: float = 1.0) -> Layer:
        """The net's normalisation, whose scale begins as `scale`, and the activation after it."""
        options: Any = {"activation": activation, "scale": scale, "dtype": self.dtype}
        match self.norm_kind:
            case "batch":
                return BatchNorm(channels, momentum=self.norm_momentum, **options)
            case "group":
                return GroupNorm(channels, group_size=self.group_size, **options)
            case "layer":
                return self.layer_norm(channels, activation, scale=scale)
            case "none":
                return Activate(activation)
            case _:
                raise AssertionError(self.norm_kind)

    def layer_norm(self, channels: int, activation: Activation = identity, *, scale: float = 1.0) -> LayerNorm:
        """LayerNorm, whatever the norm of the net."""
        return LayerNorm(channels, activation=activation, scale=scale, dtype=self.dtype)
