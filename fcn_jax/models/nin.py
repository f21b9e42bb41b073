"""Network in Network (Lin et al., arXiv:1312.4400): after each convolution two of 1×1, and a global average at the end.

That of CIFAR-10 has kernels 5, 5, 3, biases, no norm, channels 192, 160, 96, then five times 192: 966,986 parameters.
The last 1×1 convolution, to the classes, is the head's. Dropout is left out. All padding is half a kernel, so a side
of any length survives.
"""

from collections.abc import Sequence

import jax

from fcn_jax.geometry import Window
from fcn_jax.models.heads import make_head
from fcn_jax.models.layers import Layer
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net

POOL = Window(3, 2, padding=1)


def make_nin(
    input_channels: int,
    channels: Sequence[int],
    kernels: Sequence[int],
    *,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """Blocks of three convolutions, k×k, 1×1, 1×1, with a pool that halves the size between them.

    The first pool takes the maximum, the others the average.

    Args:
        input_channels: of the image or signal.
        channels: of every convolution, three a block; two in the last, whose third is the head's.
        kernels: of the first convolution of every block.
        head: see `make_head`; the paper's is `average_last`.
    """
    assert len(channels) == 3 * len(kernels) - 1, (channels, kernels)
    layers: list[Layer] = []
    features = input_channels
    for number, width in enumerate(channels):
        block, place = divmod(number, 3)
        if place == 0 and block > 0:
            layers.append(make.max_pool(POOL) if block == 1 else make.average_pool(POOL))
        window = Window(kernels[block], padding=kernels[block] // 2) if place == 0 else Window(1)
        layers += [make.convolution((features, width), window), make.norm(width, jax.nn.relu)]
        features = width
    return Net(layers, make_head(head, features, num_classes, make=make))
