"""A net of any family: layers in a row, then a head; and the model around it, which scales the input.

`LayerMaker` makes the layers of a net, so that their common settings are given once. `Model` takes a tuple of blocks,
as the loader makes them, and returns a prediction for each.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, takewhile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float, Int

from fcn_jax.core.block import Block
from fcn_jax.core.convolution import Convolution
from fcn_jax.core.geometry import BalancedWindow, Window, sizes_through
from fcn_jax.core.layers import (
    Activate,
    Activation,
    Layer,
    Map,
    Maps,
    full_precision,
    identity,
    masked,
    masked_mean,
)
from fcn_jax.core.mixing import Mix
from fcn_jax.core.moments import EPSILON
from fcn_jax.core.norms import BatchNorm, GroupNorm, LayerNorm
from fcn_jax.core.pooling import AdaptiveAveragePool, AveragePool, MaxPool
from fcn_jax.core.random_layers import Draws, Dropout, StochasticDepth, drawing

LAYER = "layer"
"""The name under which the gradient can keep what leaves a layer of a net."""


@dataclass(frozen=True)
class LayerMaker:
    """A maker of layers, with the settings that all layers of a net share.

    Initial parameters are drawn in the order in which the layers are made.
    """

    rank: int
    """2 for images, 1 for signals."""
    rngs: nnx.Rngs
    norm_kind: str = "batch"
    """batch, group, layer or none."""
    norm_momentum: float = 0.9
    """Momentum of BatchNorm's running statistics."""
    norm_epsilon: float = EPSILON
    """Number that BatchNorm and GroupNorm add to the variance."""
    group_size: int = 8
    """Channels in a group of GroupNorm."""
    patches: bool | Callable[[tuple[int, int], Window], bool] = False
    """Way to compute convolutions (see `Convolution`), or a function that chooses it by features and window."""
    reduce_window: bool = False
    """Way to compute pools over windows (see `slide`)."""
    dtype: Any = jnp.float32
    numbers: Iterator[int] = field(default_factory=count)
    """The numbers of the layers that draw."""

    def dropout(self, rate: float) -> Dropout | None:
        """Make a dropout; None at rate 0."""
        return Dropout(rate, next(self.numbers)) if rate else None

    def stochastic_depth(self, rate: float) -> list[StochasticDepth]:
        """Make the last layer of a branch, which drops the branch; []: the rate is 0."""
        return [StochasticDepth(rate, next(self.numbers))] if rate else []

    def convolution(
        self,
        features: tuple[int, int],
        window: Window,
        *,
        groups: int = 1,
        bias: bool | None = None,
        init_scale: float = 2.0,
    ) -> Convolution:
        """Make a convolution. `bias=None` adds a bias unless the net uses BatchNorm, which would subtract it again."""
        patches = self.patches if isinstance(self.patches, bool) else self.patches(features, window)
        return Convolution(
            features,
            window,
            rank=self.rank,
            groups=groups,
            bias=self.norm_kind != "batch" if bias is None else bias,
            patches=patches,
            number=next(self.numbers) if isinstance(window, BalancedWindow) else 0,
            rngs=self.rngs,
            init_scale=init_scale,
            dtype=self.dtype,
        )

    def max_pool(self, window: Window) -> MaxPool:
        """Make a max pool."""
        return MaxPool(window, rank=self.rank, reduce_window=self.reduce_window)

    def average_pool(self, window: Window) -> AveragePool:
        """Make an average pool."""
        return AveragePool(window, rank=self.rank, reduce_window=self.reduce_window)

    def adaptive_pool(self, cells: int) -> AdaptiveAveragePool:
        """Make an average pool to `cells` cells on every axis."""
        return AdaptiveAveragePool(cells, rank=self.rank)

    def norm(self, channels: int, activation: Activation = identity, *, scale: float = 1.0) -> Layer:
        """Make the net's norm. Its trained scale begins as `scale`, and it applies the activation that follows."""
        options: Any = {"activation": activation, "scale": scale, "dtype": self.dtype}
        match self.norm_kind:
            case "batch":
                return BatchNorm(channels, momentum=self.norm_momentum, epsilon=self.norm_epsilon, **options)
            case "group":
                return GroupNorm(channels, group_size=self.group_size, epsilon=self.norm_epsilon, **options)
            case "layer":
                return self.layer_norm(channels, activation, scale=scale)
            case "none":
                return Activate(activation)
            case _:
                raise AssertionError(self.norm_kind)

    def layer_norm(self, channels: int, activation: Activation = identity, *, scale: float = 1.0) -> LayerNorm:
        """Make a LayerNorm, whatever the norm of the net."""
        return LayerNorm(channels, activation=activation, scale=scale, dtype=self.dtype)


class Prediction(NamedTuple):
    """The output of a model for one block."""

    logits: Float[Array, "b k"]
    logits_2d: Map
    """The class activation map, [b, *spatial, k]. For the average heads, its mean over true positions is `logits`."""


class Head(nnx.Module):
    """The last part of a net, which turns maps into predictions."""

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        raise AssertionError(f"{type(self).__name__} has no __call__")


class ClassifyFirst(Head):
    """A 1×1 convolution to the classes, then a pool."""

    def __init__(self, classifier: Convolution, pool: Layer):
        self.classifier, self.pool = classifier, pool

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits_2d = self.classifier(maps, training=training)
        return predictions(self.pool(logits_2d, training=training), logits_2d)


class PoolFirst(Head):
    """A pool (average or last position), then a 1×1 convolution to the classes, which acts as a dense layer here."""

    def __init__(self, classifier: Convolution, pool: Layer):
        self.classifier, self.pool = classifier, pool

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        logits = self.classifier(self.pool(maps, training=training), training=training)
        # XLA removes this computation where the result is not used.
        return predictions(logits, self.classifier.apply(maps, training=training))


def predictions(logits: Maps, logits_2d: Maps) -> tuple[Prediction, ...]:
    """Return the prediction of each block, from its pooled logits and its class activation map."""
    return tuple(Prediction(m.x.reshape(m.x.shape[0], -1), m_2d) for m, m_2d in zip(logits, logits_2d, strict=True))


class Net(nnx.Module):
    """Layers in a row, perhaps a dropout, then a head, which computes in float32, whatever the type of the layers.

    With `joins_blocks`, blocks become one as soon as all have the same canvas, as behind an adaptive pool. That is for
    one device: rows that are spread over several would have to move between them.
    """

    def __init__(self, layers: Sequence[Layer], head: Head):
        self.layers, self.head, self.joins_blocks = nnx.List(layers), head, False
        self.dropout: Dropout | None = nnx.data(None)

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that an input has to survive: those before an adaptive pool, since that pool takes any size."""
        before = takewhile(lambda layer: not isinstance(layer, AdaptiveAveragePool), self.layers)
        return tuple(window for layer in before for window in layer.windows)

    @property
    def largest_side(self) -> int | None:
        """The largest side that the net takes; None: no limit."""
        return None

    def check_size(self, size: Sequence[int]) -> None:
        """Check that the net takes inputs of this size.

        Raises:
            UserError: it does not; the message says why, and which sizes it takes.
        """
        sizes_through(self.windows, size)

    def features(self, maps: Maps, *, training: bool) -> Maps:
        """Return the maps that the head takes."""
        for layer in self.layers:
            maps = tuple(Map(checkpoint_name(x, LAYER), size) for x, size in layer(maps, training=training))
            if self.joins_blocks and len(maps) > 1 and len({m.x.shape[1:] for m in maps}) == 1:
                maps = (jax.tree.map(lambda *parts: jnp.concatenate(parts), *maps),)
        return maps

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        rows = [m.x.shape[0] for m in maps]
        maps = self.features(maps, training=training)
        if self.dropout is not None:
            maps = self.dropout(maps, training=training)
        found = self.head(tuple(Map(full_precision(x), size) for x, size in maps), training=training)
        if len(found) == len(rows):
            return found
        parts = zip(*(jnp.split(leaf, np.cumsum(rows)[:-1]) for leaf in jax.tree.leaves(found)), strict=True)
        return tuple(jax.tree.unflatten(jax.tree.structure(found[0]), part) for part in parts)


class Model(nnx.Module):
    """Input scaling, then a net.

    Args:
        net: the net, which turns maps into predictions.
        mean, std: mean and standard deviation of the data, one for each channel or one for all. Pixels are divided by
            255 first, signals are not.
        is_masked: False treats padding as part of the image, as a net without masks does; for comparison only.
        dtype: type in which the layers compute; their parameters may have another.
        seed: seed of what its layers draw in training.
    """

    def __init__(
        self,
        net: Net,
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        is_masked: bool = True,
        dtype=jnp.float32,
        seed: int = 0,
    ):
        self.net, self.mean, self.std, self.is_masked, self.dtype = net, mean, std, is_masked, dtype
        self.seed = seed

    @property
    def windows(self) -> tuple[Window, ...]:
        return self.net.windows

    def __call__(
        self, blocks: tuple[Block, ...], *, training: bool, key: Array | None = None, mixes: tuple[Mix, ...] = ()
    ) -> tuple[Prediction, ...]:
        """Return the prediction of every block.

        Args:
            key: key of the step that layers draw for (see `key_of`); None: they do not draw.
            mixes: how the examples of every block are mixed; (): they are not.
        """
        maps = tuple(self._input(block, mix) for block, mix in zip(blocks, mixes or (None,) * len(blocks), strict=True))
        examples = tuple(jnp.asarray(block.index) for block in blocks)
        with drawing(None if key is None else Draws(key, examples)):
            return self.net(maps, training=training)

    def features(self, block: Block) -> Float[Array, "b c"]:
        """Return, for every example, the mean over its true positions of what the head takes in evaluation."""
        (features,) = self.net.features((self._input(block, None),), training=False)
        return masked_mean(Map(full_precision(features.x), features.size))

    def key_of(self, step: Int[Array, ""]) -> Array:
        """Return the key of all that is drawn in a step."""
        return jax.random.fold_in(jax.random.key(self.seed), step)

    def _input(self, block: Block, mix: Mix | None) -> Map:
        """Return the scaled values of a block, mixed if `mix` says how."""
        dtype = jnp.promote_types(self.dtype, jnp.float32)
        x = jnp.asarray(block.image, dtype)
        if block.image.dtype == jnp.uint8:
            x = x / 255
        x = (x - np.asarray(self.mean, dtype)) / np.asarray(self.std, dtype)
        m = masked(Map(x.astype(self.dtype), jnp.asarray(block.size)))
        if mix is not None:
            m = mix.apply(m)
        if self.is_masked:
            return m
        canvas = jnp.asarray(x.shape[1:-1], m.size.dtype)
        return Map(m.x, jnp.where(m.size > 0, canvas, 0))
