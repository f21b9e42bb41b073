"""From feature maps to logits, over true positions only.

`average_last`: 1×1 convolution to the classes, then the average. `average_first`: the average, then a dense layer.
For the same weights they are the same function; `logits_2d`, what each position says of each class, exists for both.
"""

from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from fcn_jax.geometry import Window
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.maps import Map, Maps
from fcn_jax.models.pooling import GlobalAverage


class Prediction(NamedTuple):
    """What a model says of one block."""

    logits: Float[Array, "b k"]
    logits_2d: Map
    """[b, *spatial, k], the class activation map; its mean over true positions is `logits`."""


class AverageHead(nnx.Module):
    """1×1 convolution and global average, in either order.

    Args:
        average_last: the convolution first; else the average first, and the convolution is a dense layer.
    """

    def __init__(self, channels: int, num_classes: int, *, average_last: bool, make: LayerMaker):
        self.average_last = average_last
        self.classifier = make.convolution((channels, num_classes), Window(1), bias=True, init_scale=1.0)
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


def make_head(name: str, channels: int, num_classes: int, *, make: LayerMaker) -> AverageHead:
    match name:
        case "average_last" | "average_first":
            return AverageHead(channels, num_classes, average_last=name == "average_last", make=make)
        case _:
            raise AssertionError(name)
