"""From feature maps to logits, over true positions only.

`average_last`: 1×1 convolution to the classes, then the average. `average_first`: the average, then a dense layer.
For the same weights they are the same function. `max` and `logsumexp` pool the classes of all positions otherwise,
`attention` weighs the positions, `pyramid` keeps where something is, `last` reads the last position, for nets that
go through a signal. `logits_2d`, what each position says of each
class, exists for all.
"""

from typing import NamedTuple

from flax import nnx
from jaxtyping import Array, Float

from fcn_jax.geometry import Window
from fcn_jax.models.convolution import Convolution
from fcn_jax.models.global_pooling import (
    AttentionPool,
    GlobalAverage,
    GlobalLogSumExp,
    GlobalMax,
    LastPosition,
    PyramidPool,
)
from fcn_jax.models.layers import Layer
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.maps import Map, Maps, masked
from fcn_jax.models.norms import LayerNorm

PYRAMID_LEVELS = (1, 2, 4)


class Prediction(NamedTuple):
    """What a model says of one block."""

    logits: Float[Array, "b k"]
    logits_2d: Map
    """[b, *spatial, k], the class activation map; for the average heads its mean over true positions is `logits`."""


class Head(nnx.Module):
    """Maps -> predictions."""

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        raise AssertionError(f"{type(self).__name__} has no __call__")


class ClassifyFirst(Head):
    """1×1 convolution to the classes, then a pool."""

    def __init__(self, classifier: Convolution, pool: Layer):
        self.classifier, self.pool = classifier, pool

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits_2d = self.classifier(maps, training=training)
        return predictions(self.pool(logits_2d, training=training), logits_2d)


class PoolFirst(Head):
    """A pool, the average or the last position, then the same 1×1 convolution, which is a dense layer now."""

    def __init__(self, classifier: Convolution, pool: Layer):
        self.classifier, self.pool = classifier, pool

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits = self.classifier(self.pool(maps, training=training), training=training)
        # Compiled away where nobody reads it.
        return predictions(logits, self.classifier.apply(maps, training=training))


class NormedAverage(Head):
    """The average, LayerNorm, a dense layer: what ConvNeXt ends with (Liu et al., arXiv:2201.03545).

    `logits_2d` is what the dense layer says of each position centred by itself and divided by the deviation of the
    average, not its own: so its mean over true positions is `logits`.
    """

    def __init__(self, classifier: Convolution, norm: LayerNorm):
        self.classifier, self.norm, self.pool = classifier, norm, GlobalAverage()

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        averages = self.pool(maps, training=training)
        logits = self.classifier(self.norm(averages, training=training), training=training)
        logits_2d = [self._of_positions(m, average) for m, average in zip(maps, averages, strict=True)]
        return predictions(logits, self.classifier.apply(tuple(logits_2d), training=training))

    def _of_positions(self, m: Map, average: Map) -> Map:
        centred = m.x - m.x.mean(-1, keepdims=True)
        y = centred / self.norm.deviation(average.x) * self.norm.scale[...] + self.norm.bias[...]
        return masked(Map(y, m.size))


class NormFirst(Head):
    """LayerNorm of every position, then another head."""

    def __init__(self, norm: LayerNorm, head: Head):
        self.norm, self.head = norm, head

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        return self.head(self.norm(maps, training=training), training=training)


class AttentionHead(Head):
    """The average of what all positions say, weighted by how much each has to say."""

    def __init__(self, classifier: Convolution, score: Convolution):
        self.classifier, self.score, self.pool = classifier, score, AttentionPool()

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits_2d = self.classifier(maps, training=training)
        return predictions(self.pool(logits_2d, self.score(maps, training=training)), logits_2d)


class PyramidHead(Head):
    """Spatial pyramid pooling, then a dense layer.

    `logits_2d` is what the weights of the first level, the whole image as one cell, say of each position.
    """

    def __init__(self, classifier: Convolution, pool: PyramidPool):
        self.classifier, self.pool = classifier, pool

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits = self.classifier(self.pool(maps, training=training), training=training)
        kernel, bias = self.classifier.kernel[...], self.classifier.bias
        assert bias is not None
        kernel = kernel.reshape(kernel.shape[-2:])
        logits_2d = [masked(Map(x @ kernel[: x.shape[-1]] + bias[...], size)) for x, size in maps]
        return predictions(logits, tuple(logits_2d))


def predictions(logits: Maps, logits_2d: Maps) -> tuple[Prediction, ...]:
    return tuple(Prediction(m.x.reshape(m.x.shape[0], -1), m_2d) for m, m_2d in zip(logits, logits_2d, strict=True))


def make_head(name: str, channels: int, num_classes: int, *, num_backward: int = 0, make: LayerMaker) -> Head:
    """The head of that name.

    Args:
        num_backward: channels, the last ones, of a net that comes from the end: see `LastPosition`.
    """

    def dense(features: int, outputs: int = num_classes, *, bias: bool = True) -> Convolution:
        return make.convolution((features, outputs), Window(1), bias=bias, init_scale=1.0)

    match name:
        case "average_last":
            return ClassifyFirst(dense(channels), GlobalAverage())
        case "average_first":
            return PoolFirst(dense(channels), GlobalAverage())
        case "last":
            return PoolFirst(dense(channels), LastPosition(num_backward))
        case "max":
            return ClassifyFirst(dense(channels), GlobalMax())
        case "logsumexp":
            return ClassifyFirst(dense(channels), GlobalLogSumExp())
        case "attention":
            # The softmax takes a bias of the scores away.
            return AttentionHead(dense(channels), dense(channels, 1, bias=False))
        case "pyramid":
            pool = PyramidPool(PYRAMID_LEVELS, rank=make.rank)
            return PyramidHead(dense(pool.num_cells * channels), pool)
        case _:
            raise AssertionError(name)


def make_head_with_norm(name: str, channels: int, num_classes: int, *, make: LayerMaker) -> Head:
    """The head of that name for features that nothing has normalised: a LayerNorm behind an average, or before."""
    norm = make.layer_norm(channels)
    if name in ("average_last", "average_first"):
        return NormedAverage(make.convolution((channels, num_classes), Window(1), bias=True, init_scale=1.0), norm)
    return NormFirst(norm, make_head(name, channels, num_classes, make=make))
