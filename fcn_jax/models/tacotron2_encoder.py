"""The encoder of Tacotron 2 (Shen et al., arXiv:1712.05884) as a classifier: convolutions, then an LSTM both ways.

Three convolutions of 512 channels and kernel 5, each with BatchNorm and ReLU, then 256 units each way. The signal's
channels stand for the embedding of characters; dropout and zoneout are left out.
"""

from collections.abc import Sequence

import jax

from fcn_jax.geometry import Window
from fcn_jax.models.heads import make_head
from fcn_jax.models.layers import Layer
from fcn_jax.models.lstm import LSTM
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net


def make_tacotron2_encoder(
    input_channels: int,
    channels: Sequence[int],
    kernels: Sequence[int],
    *,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """Convolutions that keep the length, then a bidirectional LSTM.

    Args:
        input_channels: of the signal.
        channels, kernels: of every convolution, kernels padded by half of them; the LSTM has half as many units each
            way as the last has channels.
        head: see `make_head`.
    """
    assert channels[-1] % 2 == 0, channels
    units = channels[-1] // 2
    layers: list[Layer] = []
    features = input_channels
    for width, kernel in zip(channels, kernels, strict=True):
        layers += [
            make.convolution((features, width), Window(kernel, padding=kernel // 2)),
            make.norm(width, jax.nn.relu),
        ]
        features = width
    layers.append(LSTM(features, units, bidirectional=True, make=make))
    return Net(layers, make_head(head, 2 * units, num_classes, num_backward=units, make=make))
