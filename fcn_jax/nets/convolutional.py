"""Plain convolutional nets: fcn, fcn1d, All-CNN-C and Network in Network. Each takes images and signals."""

from collections.abc import Sequence

import jax

from fcn_jax.config import UserError
from fcn_jax.core.geometry import Window, smallest_side
from fcn_jax.core.layers import Layer
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.heads import make_head


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
        UserError: nothing is left of the pool's grid behind the convolutions that follow.
    """
    layers = fcn_layers(input_channels, channels, windows, make=make)
    if adaptive_pool:
        smallest = smallest_side(windows[adaptive_pool_after:])
        if adaptive_pool < smallest:
            raise UserError(
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


def make_fcn1d(
    input_channels: int,
    channels: Sequence[int],
    kernels: Sequence[int],
    *,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """Convolutions of stride 1.

    Args:
        input_channels: of the signal.
        channels, kernels: of every convolution.
        head: see `make_head`; the paper's is `average_last`.
    """
    windows = [Window(kernel, padding=kernel // 2) for kernel in kernels]
    return make_fcn(input_channels, channels, windows, num_classes=num_classes, head=head, make=make)


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
