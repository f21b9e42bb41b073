"""The seed's network: convolutions, each with normalisation and ReLU, then the head.

By default three convolutions of kernel 4, stride 2 and padding 1, each of which halves the size:
28×28 -> 14×14 -> 7×7 -> 3×3, with 32, 64 and 128 channels. Takes images and signals of any size that survives.
"""

from collections.abc import Sequence

import jax
from flax import nnx

from fcn_jax.geometry import Window
from fcn_jax.models.heads import Prediction, make_head
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.maps import Maps


class Fcn(nnx.Module):
    """A fully convolutional classifier.

    Args:
        input_channels: of the image or signal.
        channels: of every convolution.
        windows: of every convolution.
        head: see `make_head`.
    """

    def __init__(
        self,
        input_channels: int,
        channels: Sequence[int],
        windows: Sequence[Window],
        *,
        num_classes: int,
        head: str,
        make: LayerMaker,
    ):
        self.windows = tuple(windows)
        layers = []
        for width, window in zip(channels, windows, strict=True):
            layers += [make.convolution((input_channels, width), window), make.norm(width, jax.nn.relu)]
            input_channels = width
        self.layers = nnx.List(layers)
        self.head = make_head(head, input_channels, num_classes, make=make)

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        for layer in self.layers:
            maps = layer(maps, training=training)
        return self.head(maps, training=training)
