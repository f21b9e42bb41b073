"""The All Convolutional Net (Springenberg et al., arXiv:1412.6806): where others pool, a convolution strides.

All-CNN-C has stages of 96 and 192 channels, biases and no norm: 1,369,738 parameters for the 10 classes of CIFAR-10.
Unlike there, every 3×3 convolution is padded, the last too, so a side of any length survives; and no ReLU and no
dropout come near the logits.
"""

from collections.abc import Sequence

import jax

from fcn_jax.geometry import Window
from fcn_jax.models.heads import make_head
from fcn_jax.models.layers import Layer
from fcn_jax.models.maker import LayerMaker
from fcn_jax.models.net import Net

STAGE = (Window(3, padding=1), Window(3, padding=1), Window(3, 2, padding=1))
TAIL = (Window(3, padding=1), Window(1))


def make_all_cnn(input_channels: int, channels: Sequence[int], *, num_classes: int, head: str, make: LayerMaker) -> Net:
    """Stages of three 3×3 convolutions, the third of which halves the size; then a 3×3 and a 1×1 one.

    Args:
        input_channels: of the image or signal.
        channels: of every stage; the last two convolutions have those of the last.
        head: see `make_head`; the paper's is `average_last`.
    """
    layers: list[Layer] = []
    features = input_channels
    columns = [*((width, window) for width in channels for window in STAGE), *((channels[-1], w) for w in TAIL)]
    for width, window in columns:
        layers += [make.convolution((features, width), window), make.norm(width, jax.nn.relu)]
        features = width
    return Net(layers, make_head(head, features, num_classes, make=make))
