"""EfficientNet (Tan and Le, arXiv:1905.11946): inverted residual blocks with squeeze-and-excitation.

`EfficientNet.of_size` gives the channels and blocks of B0 to B4, and of Lite0, which has ReLU6 and no
squeeze-and-excitation. Both activations keep zeros zero. With `padding=same` the strided windows pad each example by
its own true size.
"""

from dataclasses import replace

import jax
from flax import nnx

from fcn_jax.core.geometry import SameWindow, Window
from fcn_jax.core.layers import Activation, Add, Layer, Maps, through
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.heads import make_head
from fcn_jax.nets.published_families import EfficientNet, each
from fcn_jax.nets.squeeze_excite import SqueezeExcite

REDUCTION = 4
"""Channels of a block's input, divided by the hidden channels of its squeeze-and-excitation."""
STEM_KERNEL, STEM_STRIDE = 3, 2
ACTIVATIONS: dict[str, Activation] = {"swish": jax.nn.silu, "relu6": jax.nn.relu6}


class InvertedResidual(Layer):
    """A 1×1 convolution to more channels, a depthwise convolution, and a 1×1 convolution to fewer; added to its input.

    Without an expansion there is no first convolution; without equal shapes there is no sum (Sandler et al.,
    arXiv:1801.04381).

    Args:
        features: (input channels, output channels).
        hidden: channels of the depthwise convolution.
        squeeze_excite: whether factors for the channels follow the depthwise convolution.
        drop_rate: probability of leaving out the branch for an example, where there is a sum.
    """

    def __init__(
        self,
        features: tuple[int, int],
        hidden: int,
        window: Window,
        activation: Activation,
        *,
        squeeze_excite: bool,
        drop_rate: float = 0.0,
        make: LayerMaker,
    ):
        inputs, outputs = features
        branch: list[Layer] = []
        if hidden != inputs:
            branch += [make.convolution((inputs, hidden), Window(1)), make.norm(hidden, activation)]
        branch += [make.convolution((hidden, hidden), window, groups=hidden), make.norm(hidden, activation)]
        if squeeze_excite:
            branch.append(SqueezeExcite(hidden, max(1, inputs // REDUCTION), activation, make=make))
        branch += [make.convolution((hidden, outputs), Window(1), init_scale=1.0), make.norm(outputs)]
        self.add = Add() if window.stride == 1 and inputs == outputs else None
        if self.add is not None:
            branch += make.stochastic_depth(drop_rate)
        self.branch = nnx.List(branch)

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(window for layer in self.branch for window in layer.windows)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        branch = through(self.branch, maps, training=training)
        return branch if self.add is None else self.add(branch, maps)


def window_of(c: EfficientNet, kernel: int, stride: int) -> Window:
    """Return a window with the padding that the config says; at stride 1 both paddings are the same."""
    if c.padding == "same" and stride > 1:
        return SameWindow(kernel, stride)
    return Window(kernel, stride, padding=kernel // 2)


def make_efficientnet(c: EfficientNet, input_channels: int, make: LayerMaker) -> Net:
    """Make an EfficientNet: a stem that halves the size, stages of blocks, and a 1×1 convolution before the head."""
    make, activation, number = replace(make, norm_epsilon=c.norm_epsilon), ACTIVATIONS[c.activation], len(c.channels)
    stem = window_of(c, STEM_KERNEL, STEM_STRIDE)
    layers: list[Layer] = [make.convolution((input_channels, c.stem_channels), stem)]
    layers.append(make.norm(c.stem_channels, activation))
    features, drop_rates = c.stem_channels, c.drop_rates
    columns = (each(number, values) for values in (c.blocks, c.kernel, c.stride, c.expansion))
    for width, blocks, kernel, stride, expansion in zip(c.channels, *columns, strict=True):
        for block in range(blocks):
            residual = InvertedResidual(
                (features, width),
                features * expansion,
                window_of(c, kernel, stride if block == 0 else 1),
                activation,
                squeeze_excite=c.squeeze_excite,
                drop_rate=next(drop_rates),
                make=make,
            )
            layers.append(residual)
            features = width
    layers += [make.convolution((features, c.head_channels), Window(1)), make.norm(c.head_channels, activation)]
    return Net(layers, make_head(c.head, c.head_channels, c.num_classes, make=make))
