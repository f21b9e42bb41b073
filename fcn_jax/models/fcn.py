"""The seed's network: convolutions, each with normalisation and ReLU, then the head.

By default three convolutions of kernel 4, stride 2 and padding 1, each of which halves the size:
28×28 -> 14×14 -> 7×7 -> 3×3, with 32, 64 and 128 channels. Takes images and signals of any size that survives.
"""

from collections.abc import Sequence

import jax

from fcn_jax.geometry import Window
from fcn_jax.models.heads import make_head
from fcn_jax.models.layers import Layer
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net


def make_fcn(
    input_channels: int,
    channels: Sequence[int],
    windows: Sequence[Window],
    *,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """A fully convolutional classifier.

    Args:
        input_channels: of the image or signal.
        channels: of every convolution.
        windows: of every convolution.
        head: see `make_head`.
    """
    layers = fcn_layers(input_channels, channels, windows, make=make)
    return Net(layers, make_head(head, channels[-1], num_classes, make=make))


def fcn_layers(
    input_channels: int, channels: Sequence[int], windows: Sequence[Window], *, make: LayerMaker
) -> list[Layer]:
    """What stands before the head."""
    layers: list[Layer] = []
    features = input_channels
    for width, window in zip(channels, windows, strict=True):
        layers += [make.convolution((features, width), window), make.norm(width, jax.nn.relu)]
        features = width
    return layers
