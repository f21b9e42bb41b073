"""The seed's network: convolutions, each with normalisation and ReLU, then the head.

By default three convolutions of kernel 4, stride 2 and padding 1, each of which halves the size:
28×28 -> 14×14 -> 7×7 -> 3×3, with 32, 64 and 128 channels. Takes images and signals of any size that survives.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.geometry import Window
from fcn_jax.models.heads import Prediction, make_head
from fcn_jax.models.layers import Convolution, Maps
from fcn_jax.models.norms import make_norm


class Fcn(nnx.Module):
    """A fully convolutional classifier.

    Args:
        input_channels: of the image or signal.
        channels: of every convolution.
        windows: of every convolution.
        norm, momentum, group_size: see `make_norm`.
        head: see `make_head`.
        patches: see `Convolution`.
    """

    def __init__(
        self,
        input_channels: int,
        channels: Sequence[int],
        windows: Sequence[Window],
        *,
        rank: int,
        num_classes: int,
        norm: str,
        momentum: float,
        group_size: int,
        head: str,
        patches: bool,
        rngs: nnx.Rngs,
        dtype=jnp.float32,
    ):
        self.windows = tuple(windows)
        layers = []
        for width, window in zip(channels, windows, strict=True):
            features, bias = (input_channels, width), norm != "batch"
            layers += [
                Convolution(features, window, rank=rank, bias=bias, patches=patches, rngs=rngs, dtype=dtype),
                make_norm(norm, width, momentum=momentum, group_size=group_size, activation=jax.nn.relu, dtype=dtype),
            ]
            input_channels = width
        self.layers = nnx.List(layers)
        self.head = make_head(head, input_channels, num_classes, rank=rank, patches=patches, rngs=rngs, dtype=dtype)

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        for layer in self.layers:
            maps = layer(maps, training=training)
        return self.head(maps, training=training)
