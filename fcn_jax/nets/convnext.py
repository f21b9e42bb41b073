"""ConvNeXt (Liu et al., arXiv:2201.03545): depthwise 7×7, LayerNorm, a GELU layer four times as wide, layer scale.

`ConvNeXt.of_size` gives the channels and blocks of atto, femto, pico, nano, tiny, small and base, as in timm. The norm
is always LayerNorm over channels. Layers with a bias mask their outputs; GELU and layer scale keep zeros zero.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Add, Layer, Map, Maps, full_precision
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.families import ConvNeXt, each
from fcn_jax.nets.heads import make_head_with_norm

EXPANSION = 4
"""Channels of a block's hidden layer, divided by the channels of the block."""
LAYER_SCALE = 1e-6
"""Initial scale of every branch."""

gelu = partial(jax.nn.gelu, approximate=False)


class LayerScale(Layer):
    """A factor for every channel (Touvron et al., arXiv:2103.17239)."""

    def __init__(self, channels: int, *, dtype=jnp.float32):
        self.scale = nnx.Param(jnp.full(channels, LAYER_SCALE, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(Map((full_precision(x) * self.scale[...]).astype(x.dtype), size) for x, size in maps)


class ConvNextBlock(Layer):
    """Depthwise convolution, LayerNorm, two 1×1 convolutions with a GELU between, layer scale; added to the input."""

    def __init__(self, channels: int, kernel: int, *, drop_rate: float = 0.0, make: LayerMaker):
        assert kernel % 2 == 1, kernel
        hidden = EXPANSION * channels
        depthwise = Window(kernel, padding=kernel // 2)
        branch = [
            make.convolution((channels, channels), depthwise, groups=channels, bias=True, init_scale=1.0),
            make.layer_norm(channels),
            make.convolution((channels, hidden), Window(1), bias=True),
            Activate(gelu),
            make.convolution((hidden, channels), Window(1), bias=True, init_scale=1.0),
            LayerScale(channels, dtype=make.dtype),
        ]
        self.branch, self.drop, self.add = nnx.List(branch), make.stochastic_depth(drop_rate), Add()

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(window for layer in self.branch for window in layer.windows)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        branch = maps
        for layer in self.branch:
            branch = layer(branch, training=training)
        if self.drop is not None:
            branch = self.drop(branch, training=training)
        return self.add(branch, maps)


def make_convnext(c: ConvNeXt, input_channels: int, make: LayerMaker) -> Net:
    """Make a ConvNeXt: patches, then stages of blocks; a 2×2 convolution halves the size before each later stage.

    With an average head, the last LayerNorm follows the pool, as in the paper. With another head, it comes before.
    """
    layers: list[Layer] = []
    features, stages, drop_rates = input_channels, len(c.channels), c.drop_rates
    columns = zip(c.channels, each(stages, c.blocks), each(stages, c.kernel), strict=True)
    for stage, (width, number, kernel) in enumerate(columns):
        side = c.patch if stage == 0 else 2
        entry = make.convolution((features, width), Window(side, side), bias=True, init_scale=1.0)
        layers += [entry, make.layer_norm(width)] if stage == 0 else [make.layer_norm(features), entry]
        layers += [ConvNextBlock(width, kernel, drop_rate=next(drop_rates), make=make) for _ in range(number)]
        features = width
    return Net(layers, make_head_with_norm(c.head, features, c.num_classes, make=make))
