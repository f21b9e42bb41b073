"""Residual nets (He et al., arXiv:1512.03385), version 1.5: a bottleneck's 3×3 convolution has the stride, not the 1×1.

ResNet-18, -34 and -50 differ in blocks, stem and bottleneck: see `ResNet.of_depth`. All padding is half a kernel, so
the nets can take a side of any length.
"""

import jax
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Add, Layer, Maps
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.core.pooling import GlobalAverage
from fcn_jax.nets.families import ResNet, each
from fcn_jax.nets.heads import make_head

EXPANSION = 4
"""Output channels of a bottleneck, divided by the channels of its 3×3 convolution."""
REDUCTION, MULTIPLE = 16, 8
"""The hidden channels of a squeeze-and-excitation: a 16th, rounded to a multiple of 8, as in timm."""


class SqueezeExcite(Layer):
    """Factors for the channels, computed from their averages over an example (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int, *, make: LayerMaker):
        reduced = max(MULTIPLE, (channels // REDUCTION + MULTIPLE // 2) // MULTIPLE * MULTIPLE)
        self.reduce = make.convolution((channels, reduced), Window(1), bias=True)
        self.expand = make.convolution((reduced, channels), Window(1), bias=True, init_scale=1.0)
        self.pool, self.activate = GlobalAverage(), Activate(jax.nn.relu)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        factors = maps
        for layer in (self.pool, self.reduce, self.activate, self.expand):
            factors = layer(factors, training=training)
        return tuple(m._replace(x=m.x * jax.nn.sigmoid(f.x)) for m, f in zip(maps, factors, strict=True))


class Residual(Layer):
    """A block of convolutions, added to its input: 3×3, 3×3, or a bottleneck of 1×1, 3×3, 1×1.

    If the shape changes, the shortcut is a 1×1 convolution with a norm. Both branches give the same size.

    Args:
        width: channels of the 3×3 convolutions.
        bottleneck: whether the block is a bottleneck.
        zero_init: whether the branch begins as zero (Goyal et al., arXiv:1706.02677).
        squeeze_excite: whether factors for the channels end the branch.
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
        drop_rate: float = 0.0,
        make: LayerMaker,
    ):
        strided, skipped = Window(3, stride, padding=1), Window(1, stride)
        assert all(strided.output_side(side) == skipped.output_side(side) for side in range(1, 3 * stride))
        scale = 0.0 if zero_init else 1.0
        channels = EXPANSION * width if bottleneck else width
        if bottleneck:
            branch = [
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
            branch.append(SqueezeExcite(channels, make=make))
        shortcut = []
        if stride != 1 or channels != input_channels:
            shortcut = [make.convolution((input_channels, channels), skipped), make.norm(channels)]
        self.branch, self.shortcut, self.add = nnx.List(branch), nnx.List(shortcut), Add(jax.nn.relu)
        self.drop, self.output_channels = make.stochastic_depth(drop_rate), channels

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(window for layer in self.branch for window in layer.windows)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        branch = shortcut = maps
        for layer in self.branch:
            branch = layer(branch, training=training)
        if self.drop is not None:
            branch = self.drop(branch, training=training)
        for layer in self.shortcut:
            shortcut = layer(shortcut, training=training)
        return self.add(branch, shortcut)


def make_resnet(c: ResNet, input_channels: int, make: LayerMaker) -> Net:
    """Make a ResNet: a stem, then stages of residual blocks; every stage but the first halves the size."""
    stem = Window(c.stem_kernel, c.stem_stride, padding=c.stem_kernel // 2)
    layers = [make.convolution((input_channels, c.channels[0]), stem), make.norm(c.channels[0], jax.nn.relu)]
    if c.stem_pool:
        layers.append(make.max_pool(Window(3, 2, padding=1)))
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
                drop_rate=next(drop_rates),
                make=make,
            )
            layers.append(residual)
            features = residual.output_channels
    return Net(layers, make_head(c.head, features, c.num_classes, make=make))
