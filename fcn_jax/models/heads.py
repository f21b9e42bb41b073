"""From feature maps to logits, over true positions only.

`average_last`: 1×1 convolution to the classes, then the average. `average_first`: the average, then a dense layer.
For the same weights they are the same function; `logits_2d`, what each position says of each class, exists for both.
"""

from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from fcn_jax.geometry import Window
from fcn_jax.models.layers import Convolution, Layer, Map, Maps, masked_mean


class Prediction(NamedTuple):
    """What a model says of one block."""

    logits: Float[Array, "b k"]
    logits_2d: Map
    """[b, *spatial, k], the class activation map; its mean over true positions is `logits`."""


class GlobalAverage(Layer):
    """The mean over all true positions (Lin et al., arXiv:1312.4400)."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(_one_position(masked_mean(m), m.size) for m in maps)


def _one_position(x: Float[Array, "b c"], size) -> Map:
    """Pooled features as a map of side 1."""
    rank = size.shape[1]
    return Map(x.reshape(x.shape[0], *[1] * rank, x.shape[1]), jnp.minimum(size, 1))


class AverageHead(nnx.Module):
    """1×1 convolution and global average, in either order.

    Args:
        average_last: the convolution first; else the average first, and the convolution is a dense layer.
    """

    def __init__(
        self, channels: int, num_classes: int, *, rank: int, average_last: bool, patches: bool, rngs: nnx.Rngs, dtype
    ):
        self.average_last = average_last
        self.classifier = Convolution(
            (channels, num_classes),
            Window(1),
            rank=rank,
            bias=True,
            patches=patches,
            rngs=rngs,
            init_scale=1.0,
            dtype=dtype,
        )
        self.average = GlobalAverage()

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        if self.average_last:
            logits_2d = self.classifier(maps, training=training)
            pooled = self.average(logits_2d, training=training)
        else:
            pooled = self.classifier(self.average(maps, training=training), training=training)
            # Compiled away where nobody reads it.
            logits_2d = self.classifier.apply(maps, training=training)
        return tuple(Prediction(p.x.reshape(p.x.shape[0], -1), m) for p, m in zip(pooled, logits_2d, strict=True))


def make_head(name: str, channels: int, num_classes: int, *, rank: int, patches: bool, rngs: nnx.Rngs, dtype):
    match name:
        case "average_last" | "average_first":
            return AverageHead(
                channels,
                num_classes,
                rank=rank,
                average_last=name == "average_last",
                patches=patches,
                rngs=rngs,
                dtype=dtype,
            )
        case _:
            raise AssertionError(name)
