"""The plain convolutional nets: fcn, fcn1d, All-CNN-C and Network in Network. Each takes images and signals."""

from collections.abc import Sequence

import jax

from fcn_jax.config import UserError
from fcn_jax.core.geometry import BalancedWindow, Window, smallest_side
from fcn_jax.core.layers import Layer
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.families import FCN, FCN1D, NIN, AllCNN, Windowed, each
from fcn_jax.nets.heads import make_head


def make_fcn(c: FCN, input_channels: int, make: LayerMaker) -> Net:
    """Make a fully convolutional classifier.

    Raises:
        UserError: the output of the adaptive pool is too small for the convolutions that follow it.
    """
    windows = windows_of(c)
    layers = fcn_layers(input_channels, c.channels, windows, make=make)
    if c.adaptive_pool:
        smallest = smallest_side(windows[c.adaptive_pool_after :])
        if c.adaptive_pool < smallest:
            raise UserError(
                f"config.model.adaptive_pool is {c.adaptive_pool}, but the convolutions behind it need at least "
                f"{smallest}"
            )
        layers.insert(2 * c.adaptive_pool_after, make.adaptive_pool(c.adaptive_pool))
    return Net(layers, make_head(c.head, c.channels[-1], c.num_classes, make=make))


def windows_of(c: Windowed) -> list[Window]:
    """Return the window of every convolution."""
    columns = (each(len(c.channels), values) for values in (c.kernel, c.stride, c.dilation, c.padding))
    kind = BalancedWindow if c.balanced else Window
    return [kind(*column) for column in zip(*columns, strict=True)]


def fcn_layers(
    input_channels: int, channels: Sequence[int], windows: Sequence[Window], *, make: LayerMaker
) -> list[Layer]:
    """Make the layers before the head: each convolution is followed by a norm with ReLU."""
    layers: list[Layer] = []
    features = input_channels
    for width, window in zip(channels, windows, strict=True):
        layers += [make.convolution((features, width), window), make.norm(width, jax.nn.relu)]
        features = width
    return layers


def make_fcn1d(c: FCN1D, input_channels: int, make: LayerMaker) -> Net:
    """Make a net of convolutions of stride 1; the paper's head is `average`."""
    windows = [Window(kernel, padding=kernel // 2) for kernel in each(len(c.channels), c.kernel)]
    layers = fcn_layers(input_channels, c.channels, windows, make=make)
    return Net(layers, make_head(c.head, c.channels[-1], c.num_classes, make=make))


STAGE = (Window(3, padding=1), Window(3, padding=1), Window(3, 2, padding=1))
TAIL = (Window(3, padding=1), Window(1))


def make_all_cnn(c: AllCNN, input_channels: int, make: LayerMaker) -> Net:
    """Make an All-CNN: stages of three 3×3 convolutions, the third halving the size; then a 3×3 and a 1×1 convolution.

    The paper's head is `average`.
    """
    columns = [*((width, window) for width in c.channels for window in STAGE), *((c.channels[-1], w) for w in TAIL)]
    widths, windows = zip(*columns, strict=True)
    layers = fcn_layers(input_channels, widths, windows, make=make)
    return Net(layers, make_head(c.head, c.channels[-1], c.num_classes, make=make))


POOL = Window(3, 2, padding=1)


def make_nin(c: NIN, input_channels: int, make: LayerMaker) -> Net:
    """Make a Network in Network: blocks of k×k, 1×1 and 1×1 convolutions; a pool between blocks halves the size.

    The first pool takes the maximum, the others the average. The paper's head is `average`.
    """
    kernels = each(c.num_blocks, c.kernel)
    layers: list[Layer] = []
    features = input_channels
    for number, width in enumerate(c.channels):
        block, place = divmod(number, 3)
        if place == 0 and block > 0:
            layers.append(make.max_pool(POOL) if block == 1 else make.average_pool(POOL))
        window = Window(kernels[block], padding=kernels[block] // 2) if place == 0 else Window(1)
        layers += [make.convolution((features, width), window), make.norm(width, jax.nn.relu)]
        features = width
    return Net(layers, make_head(c.head, features, c.num_classes, make=make))
