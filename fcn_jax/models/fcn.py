"""The seed's network: convolutions, each with normalisation and ReLU, then the head.

By default three convolutions of kernel 4, stride 2 and padding 1, each of which halves the size:
28×28 -> 14×14 -> 7×7 -> 3×3, with 32, 64 and 128 channels. Takes images and signals of any size that survives.
"""

from collections.abc import Sequence

import jax

from fcn_jax.geometry import Window, smallest_side
from fcn_jax.models.heads import make_head
from fcn_jax.models.layers import Layer
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net


def make_fcn(
    input_channels: int,
    channels: Sequence[int],
    windows: Sequence[Window],
    *,
    adaptive_pool: int = 0,
    adaptive_pool_after: int = 0,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """A fully convolutional classifier.

    Args:
        input_channels: of the image or signal.
        channels: of every convolution.
        windows: of every convolution.
        adaptive_pool: cells a side of an adaptive average pool behind `adaptive_pool_after` convolutions; 0: none.
        head: see `make_head`.

    Raises:
        ValueError: nothing is left of the pool's grid behind the convolutions that follow.
    """
    layers = fcn_layers(input_channels, channels, windows, make=make)
    if adaptive_pool:
        smallest = smallest_side(windows[adaptive_pool_after:])
        if adaptive_pool < smallest:
            raise ValueError(
                f"config.model.adaptive_pool is {adaptive_pool}, but the convolutions behind it need at least "
                f"{smallest}"
            )
        layers.insert(2 * adaptive_pool_after, make.adaptive_pool(adaptive_pool))
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
