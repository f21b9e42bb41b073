"""ConvNeXt (Liu et al., arXiv:2201.03545): depthwise 7×7, LayerNorm, a GELU layer four times as wide, layer scale.

Channels and blocks of the stages, as timm has them: atto 40-80-160-320 in 2-2-6-2 blocks; femto 48-..., pico 64-...,
both the same; nano 80-... in 2-2-8-2; tiny 96-... in 3-3-9-3; small 96-... in 3-3-27-3; base 128-... in 3-3-27-3.
The norm is always LayerNorm over channels. What has a bias masks; GELU and layer scale leave zeros as they are.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Add, Layer, Map, Maps, full_precision
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.heads import make_head_with_norm

EXPANSION = 4
"""Channels of the hidden layer of a block, over those of the block."""
LAYER_SCALE = 1e-6
"""What the scale of every branch begins as."""

gelu = partial(jax.nn.gelu, approximate=False)


class LayerScale(Layer):
    """A factor for every channel (Touvron et al., arXiv:2103.17239)."""

    def __init__(self, channels: int, *, dtype=jnp.float32):
        self.scale = nnx.Param(jnp.full(channels, LAYER_SCALE, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(Map((full_precision(x) * self.scale[...]).astype(x.dtype), size) for x, size in maps)


class ConvNextBlock(Layer):
    """Depthwise convolution, LayerNorm, two 1×1 convolutions with a GELU between, layer scale; added to the input."""

    def __init__(self, channels: int, kernel: int, *, make: LayerMaker):
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
        self.branch, self.add = nnx.List(branch), Add()

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(window for layer in self.branch for window in layer.windows)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        branch = maps
        for layer in self.branch:
            branch = layer(branch, training=training)
        return self.add(branch, maps)


def make_convnext(
    input_channels: int,
    channels: Sequence[int],
    blocks: Sequence[int],
    kernels: Sequence[int],
    *,
    patch: int,
    num_classes: int,
    head: str,
    make: LayerMaker,
) -> Net:
    """Patches, then stages of blocks; before every stage but the first a 2×2 convolution halves the size.

    Args:
        input_channels: of the image or signal.
        channels, blocks: of every stage.
        kernels: of the depthwise convolutions of every stage; odd.
        patch: side of the patches that the first convolution makes into positions; the paper's is 4.
        head: see `make_head`. Of the average heads, the last LayerNorm stands behind the pool, as in the paper; of the
            others, before it.
    """
    layers: list[Layer] = []
    features = input_channels
    for stage, (width, number, kernel) in enumerate(zip(channels, blocks, kernels, strict=True)):
        side = patch if stage == 0 else 2
        entry = make.convolution((features, width), Window(side, side), bias=True, init_scale=1.0)
        layers += [entry, make.layer_norm(width)] if stage == 0 else [make.layer_norm(features), entry]
        layers += [ConvNextBlock(width, kernel, make=make) for _ in range(number)]
        features = width
    return Net(layers, make_head_with_norm(head, features, num_classes, make=make))
