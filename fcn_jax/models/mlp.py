"""The multilayer perceptron (Rumelhart et al., Nature 1986), which sees pixels without their neighbourhood.

Every value of the input has its own weights, so the size is fixed; `dense` takes shorter signals, and smaller images,
as if they ended in zeros. See `Flatten` for what is refused, and why.
"""

from collections.abc import Sequence

import jax

from fcn_jax.geometry import Window
from fcn_jax.models.flatten import FixedNet, Flatten
from fcn_jax.models.heads import make_head
from fcn_jax.models.layers import Layer
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net


def make_mlp(
    input_channels: int,
    channels: Sequence[int],
    *,
    input_side: int,
    pads: bool,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """The flattened input, then dense layers.

    Args:
        input_channels: of the image or signal.
        channels: of every hidden layer.
        input_side: of every input, on every axis; where it pads, the largest.
        pads: `dense`: take smaller inputs, padded with zeros to that side.
        head: see `make_head`; all see one position, and average_last is a dense layer.
    """
    behind: list[Layer] = []
    features = input_channels * input_side**make.rank
    for width in channels:
        behind += [make.convolution((features, width), Window(1)), make.norm(width, jax.nn.relu)]
        features = width
    flatten = Flatten(input_side, rank=make.rank, pads=pads)
    return FixedNet([], flatten, behind, make_head(head, features, num_classes, make=make))
