"""Residual nets (He et al., arXiv:1512.03385), version 1.5: a bottleneck's 3×3 convolution has the stride, not the 1×1.

ResNet-18, -34 and -50 differ in blocks, stem and bottleneck: see `ResNet.of_depth`. All padding is half a kernel, so
the nets can take a side of any length. ResNet-D (He et al., arXiv:1812.01187) has another stem and other shortcuts.
"""

import jax
from flax import nnx

from fcn_jax.core.geometry import SameWindow, Window
from fcn_jax.core.layers import Add, Layer, Maps, through
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.heads import make_head
from fcn_jax.nets.published_families import ResNet, each
from fcn_jax.nets.squeeze_excite import SqueezeExcite

EXPANSION = 4
"""Output channels of a bottleneck, divided by the channels of its 3×3 convolution."""
REDUCTION, MULTIPLE = 16, 8
"""The hidden channels of a squeeze-and-excitation: a 16th, rounded to a multiple of 8, as in timm."""


class Residual(Layer):
    """A block of convolutions, added to its input: 3×3, 3×3, or a bottleneck of 1×1, 3×3, 1×1.

    If the shape changes, the shortcut is a 1×1 convolution with a norm. Both branches give the same size.

    Args:
        width: channels of the 3×3 convolutions.
        bottleneck: whether the block is a bottleneck.
        zero_init: whether the branch begins as zero (Goyal et al., arXiv:1706.02677).
        squeeze_excite: whether factors for the channels end the branch.
        pool_shortcut: whether the shortcut halves its size by an average pool of 2×2, which counts true positions only.
        drop_rate: probability of leaving out the branch for an example.
    """

    def __init__(
        self,
        input_channels: int,
        width: int,
        stride: int,
        *,
        bottleneck: bool,
        zero_init: bool,
        squeeze_excite: bool = False,
        pool_shortcut: bool = False,
        drop_rate: float = 0.0,
        make: LayerMaker,
    ):
        strided, scale = Window(3, stride, padding=1), 0.0 if zero_init else 1.0
        channels = EXPANSION * width if bottleneck else width
        if bottleneck:
            branch: list[Layer] = [
                make.convolution((input_channels, width), Window(1)),
                make.norm(width, jax.nn.relu),
                make.convolution((width, width), strided),
                make.norm(width, jax.nn.relu),
                make.convolution((width, channels), Window(1)),
                make.norm(channels, scale=scale),
            ]
        else:
            branch = [
                make.convolution((input_channels, width), strided),
                make.norm(width, jax.nn.relu),
                make.convolution((width, width), Window(3, padding=1)),
                make.norm(width, scale=scale),
            ]
        if squeeze_excite:
            hidden = max(MULTIPLE, (channels // REDUCTION + MULTIPLE // 2) // MULTIPLE * MULTIPLE)
            branch.append(SqueezeExcite(channels, hidden, make=make))
        shortcut = make_shortcut((input_channels, channels), stride, pools=pool_shortcut, make=make)
        branch += make.stochastic_depth(drop_rate)
        self.branch, self.shortcut, self.add = nnx.List(branch), nnx.List(shortcut), Add(jax.nn.relu)
        self.output_channels = channels

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(window for layer in self.branch for window in layer.windows)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        branch = through(self.branch, maps, training=training)
        return self.add(branch, through(self.shortcut, maps, training=training))


def make_shortcut(features: tuple[int, int], stride: int, *, pools: bool, make: LayerMaker) -> list[Layer]:
    """Make the shortcut of a block, which gives the size of a 3×3 window with this stride; []: the input itself."""
    if stride == 1 and features[0] == features[1]:
        return []
    if not pools or stride == 1:
        return [make.convolution(features, Window(1, stride)), make.norm(features[1])]
    pool = make.average_pool(SameWindow(stride, stride))
    return [pool, make.convolution(features, Window(1)), make.norm(features[1])]


def make_stem(c: ResNet, input_channels: int, make: LayerMaker) -> list[Layer]:
    """Make the layers before the first stage: one convolution or three, and perhaps a max pool."""
    widths = (c.channels[0] // 2, c.channels[0] // 2, c.channels[0]) if c.deep_stem else c.channels[:1]
    layers, features = [], input_channels
    for number, width in enumerate(widths):
        window = Window(c.stem_kernel, 1 if number else c.stem_stride, padding=c.stem_kernel // 2)
        layers += [make.convolution((features, width), window), make.norm(width, jax.nn.relu)]
        features = width
    if c.stem_pool:
        layers.append(make.max_pool(Window(3, 2, padding=1)))
    return layers


def make_resnet(c: ResNet, input_channels: int, make: LayerMaker) -> Net:
    """Make a ResNet: a stem, then stages of residual blocks; every stage but the first halves the size."""
    layers = make_stem(c, input_channels, make)
    features, drop_rates = c.channels[0], c.drop_rates
    for stage, (width, number) in enumerate(zip(c.channels, each(len(c.channels), c.blocks), strict=True)):
        for block in range(number):
            stride = 2 if stage > 0 and block == 0 else 1
            residual = Residual(
                features,
                width,
                stride,
                bottleneck=c.bottleneck,
                zero_init=c.zero_init,
                squeeze_excite=c.squeeze_excite,
                pool_shortcut=c.pool_shortcut,
                drop_rate=next(drop_rates),
                make=make,
            )
            layers.append(residual)
            features = residual.output_channels
    return Net(layers, make_head(c.head, features, c.num_classes, make=make))
