"""The heads, which turn feature maps into logits. They read true positions only.

`average_last` is a 1×1 convolution to the classes, then the average; `average_first` is the average, then a dense
layer. With the same weights they are the same function, and `average` chooses between them. `max` and `logsumexp` pool
the class scores of all positions in other ways. `attention` gives each position a weight. `pyramid` also keeps rough
places. `last` reads the last position, for nets that go through a signal. Every head also gives `logits_2d`, the score
of each class at each position.
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
    """A pool that takes the largest value of every channel (Oquab et al., CVPR 2015)."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            x = lowest_outside(m)
            outputs.append(one_position(largest(x.reshape(x.shape[0], -1, x.shape[-1]), axis=1), m.size))
        return tuple(outputs)


class GlobalLogSumExp(GlobalPool, Layer):
    """A pool that takes the log of the mean exponential, between mean and maximum (Pinheiro et al., arXiv:1411.6228).

    It uses the mean, not the sum, so that a larger image does not score higher for its size.
    """

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            total = jax.nn.logsumexp(lowest_outside(m), axis=spatial_axes(m.x))
            count = jnp.maximum(num_positions(m.size), 1)[:, None].astype(total.dtype)
            outputs.append(one_position(total - jnp.log(count), m.size))
        return tuple(outputs)


class AttentionPool(GlobalPool):
    """A mean that the softmax of a score of each position weights (Ilse et al., arXiv:1802.04712, ungated)."""

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
    """A pool that reads the last true position, where a causal net has seen everything; in an image, the lower right.

    Args:
        num_backward: how many channels run backwards, the last ones; they are read at the first position instead.
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
    """A pool that lays grids of 1, 2, 4, ... cells per side over the true size, and joins the maxima of all cells.

    Cell i of l on a side of n positions reaches from floor(i n / l) to ceil((i + 1) n / l), so no cell is empty (He et
    al., arXiv:1406.4729).
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
    """Return, for each of the `level` cells of an axis, whether each position lies in it."""
    cell, position = jnp.arange(level)[:, None], jnp.arange(canvas)
    start = cell * side[:, None, None] // level
    stop = -(-(cell + 1) * side[:, None, None] // level)
    return (position >= start) & (position < stop)


def lowest_outside(m: Map) -> Float[Array, "b *spatial c"]:
    """Set a map to -inf outside the true size; filler rows stay 0, so that no sum of exponentials is 0."""
    filler = (num_positions(m.size) == 0).reshape(-1, *[1] * (m.x.ndim - 1))
    return jnp.where(mask_of(m.size, m.x.shape[1:-1]) | filler, m.x, -jnp.inf)


class AverageHead(ClassifyFirst):
    """A 1×1 convolution to the classes, then the average; a training step takes the average first.

    It is the same function in both orders, and cheaper with the average first.
    """

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        if not training:
            return super().__call__(maps, training=False)
        logits = self.classifier(self.pool(maps, training=True), training=True)
        return predictions(logits, self.classifier.apply(maps, training=True))


AVERAGES = ("average", "average_last", "average_first")
"""The heads that average, in one order or the other."""
PYRAMID_LEVELS = (1, 2, 4)


class NormedAverage(Head):
    """The head of ConvNeXt: the average, LayerNorm, a dense layer (Liu et al., arXiv:2201.03545).

    For `logits_2d`, each position is centred by its own mean, but divided by the standard deviation of the average. So
    the mean of `logits_2d` over true positions is `logits`.
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
    """A head that applies LayerNorm to every position, then another head."""

    def __init__(self, norm: LayerNorm, head: Head):
        self.norm, self.head = norm, head

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        return self.head(self.norm(maps, training=training), training=training)


class AttentionHead(Head):
    """A head that averages the class scores of all positions, with weights that it learns to give them."""

    def __init__(self, classifier: Convolution, score: Convolution):
        self.classifier, self.score, self.pool = classifier, score, AttentionPool()

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits_2d = self.classifier(maps, training=training)
        return predictions(self.pool(logits_2d, self.score(maps, training=training)), logits_2d)


class PyramidHead(Head):
    """A head of spatial pyramid pooling, then a dense layer.

    `logits_2d` applies the dense layer's weights for the first level (the whole image as one cell) to each position.
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
    """Make the head of a name.

    Args:
        num_backward: how many channels run backwards, the last ones: see `LastPosition`.
    """

    def dense(features: int, outputs: int = num_classes, *, bias: bool = True) -> Convolution:
        return make.convolution((features, outputs), Window(1), bias=bias, init_scale=1.0)

    match name:
        case "average":
            return AverageHead(dense(channels), GlobalAverage())
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
            # A bias of the scores would change nothing: the softmax cancels it.
            return AttentionHead(dense(channels), dense(channels, 1, bias=False))
        case "pyramid":
            pool = PyramidPool(PYRAMID_LEVELS, rank=make.rank)
            return PyramidHead(dense(pool.num_cells * channels), pool)
        case _:
            raise AssertionError(name)


def make_head_with_norm(name: str, channels: int, num_classes: int, *, make: LayerMaker) -> Head:
    """Make the head of a name for features without a norm: LayerNorm follows an average, and precedes other heads."""
    norm = make.layer_norm(channels)
    if name in AVERAGES:
        return NormedAverage(make.convolution((channels, num_classes), Window(1), bias=True, init_scale=1.0), norm)
    return NormFirst(norm, make_head(name, channels, num_classes, make=make))
