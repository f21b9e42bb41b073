"""Heads: they turn feature maps into logits, over true positions only.

`average_last`: 1×1 convolution to the classes, then the average. `average_first`: the average, then a dense layer.
For the same weights they are the same function. `max` and `logsumexp` pool the classes of all positions otherwise,
`attention` weighs the positions, `pyramid` keeps where something is, `last` reads the last position, for nets that
go through a signal. `logits_2d`, what each position says of each
class, exists for all.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from fcn_jax.core.block import Side
from fcn_jax.core.convolution import Convolution
from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import (
    GlobalPool,
    Layer,
    Map,
    Maps,
    largest,
    mask_of,
    masked,
    num_positions,
    recorded,
    spatial_axes,
)
from fcn_jax.core.net import ClassifyFirst, Head, LayerMaker, PoolFirst, Prediction, predictions
from fcn_jax.core.norms import LayerNorm
from fcn_jax.core.pooling import GlobalAverage, one_position


class GlobalMax(GlobalPool, Layer):
    """The largest value of every channel (Oquab et al., CVPR 2015)."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            x = lowest_outside(m)
            outputs.append(one_position(largest(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1), m.size))
        return tuple(outputs)


class GlobalLogSumExp(GlobalPool, Layer):
    """The logarithm of the mean exponential, between mean and maximum (Pinheiro and Collobert, arXiv:1411.6228).

    Of the mean, not the sum, so that a larger image does not score higher for its size.
    """

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            total = jax.nn.logsumexp(lowest_outside(m), axis=spatial_axes(m.x))
            count = jnp.maximum(num_positions(m.size), 1)[:, None].astype(total.dtype)
            outputs.append(one_position(total - jnp.log(count), m.size))
        return tuple(outputs)


class AttentionPool(GlobalPool):
    """The mean weighted by the softmax of a score of every position (Ilse et al., arXiv:1802.04712, ungated)."""

    def __call__(self, maps: Maps, scores: Maps) -> Maps:
        outputs = []
        for m, score in zip(maps, scores, strict=True):
            axes = spatial_axes(m.x)
            weight = jax.nn.softmax(lowest_outside(score), axis=axes)
            outputs.append(one_position((weight * m.x).sum(axes), m.size))
        return recorded(self, tuple(outputs))

    def __str__(self) -> str:
        return "AttentionPool"


class LastPosition(GlobalPool, Layer):
    """The features at the last true position, where a causal net has seen everything; of an image, the lower right.

    Args:
        num_backward: that many channels, the last ones, are read at the first position instead: those of a net that
            comes from the end.
    """

    def __init__(self, num_backward: int = 0):
        self.num_backward = num_backward

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            forward, backward = jnp.split(m.x, [m.x.shape[-1] - self.num_backward], axis=-1)
            last = mask_of(m.size, m.x.shape[1:-1])
            for axis in range(m.size.shape[1]):
                last &= ~mask_of(m.size.at[:, axis].add(-1), m.x.shape[1:-1])
            first = backward[:, *[0] * m.size.shape[1]]
            end = jnp.where(last, forward, 0).sum(spatial_axes(m.x))
            outputs.append(one_position(jnp.concatenate([end, first], axis=-1), m.size))
        return tuple(outputs)


class PyramidPool(GlobalPool, Layer):
    """The largest values in the cells of grids of 1, 2, 4, ... cells a side over the true size, one after the other.

    A cell reaches from floor(i n / l) to ceil((i + 1) n / l), so none is empty (He et al., arXiv:1406.4729).
    """

    def __init__(self, levels: Sequence[int], *, rank: int):
        self.levels, self.rank = tuple(levels), rank

    @property
    def num_cells(self) -> int:
        return sum(level**self.rank for level in self.levels)

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            cells = [self._cells(m, level) for level in self.levels]
            outputs.append(one_position(jnp.concatenate(cells, axis=1), m.size))
        return tuple(outputs)

    def _cells(self, m: Map, level: int) -> Float[Array, "b cells_times_c"]:
        x = m.x
        for axis in range(self.rank):
            inside = in_cells(m.size[:, axis], x.shape[1 + axis], level)
            shape = [x.shape[0], *[1] * (x.ndim - 1)]
            shape[1 + axis] = x.shape[1 + axis]
            rows = [largest(jnp.where(inside[:, i].reshape(shape), x, -jnp.inf), 1 + axis) for i in range(level)]
            x = jnp.stack(rows, axis=1 + axis)
        return x.reshape(x.shape[0], -1)

    def __str__(self) -> str:
        return f"PyramidPool {', '.join('×'.join([str(level)] * self.rank) for level in self.levels)}"


def in_cells(side: Int[Array, " b"], canvas: Side, level: int) -> Bool[Array, "b cells canvas"]:
    """Return which positions of an axis lie in which of its `level` cells."""
    cell, position = jnp.arange(level)[:, None], jnp.arange(canvas)
    start = cell * side[:, None, None] // level
    stop = -(-(cell + 1) * side[:, None, None] // level)
    return (position >= start) & (position < stop)


def lowest_outside(m: Map) -> Float[Array, "b *spatial c"]:
    """-inf outside the true size; but filler, which has no inside, stays 0, so that no sum of exponentials is 0."""
    filler = (num_positions(m.size) == 0).reshape(-1, *[1] * (m.x.ndim - 1))
    return jnp.where(mask_of(m.size, m.x.shape[1:-1]) | filler, m.x, -jnp.inf)


PYRAMID_LEVELS = (1, 2, 4)


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
