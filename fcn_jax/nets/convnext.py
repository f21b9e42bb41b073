"""ConvNeXt (Liu et al., arXiv:2201.03545): depthwise 7×7, LayerNorm, a GELU layer four times as wide, layer scale.

ConvNeXt V2 (Woo et al., arXiv:2301.00808) has a global response normalisation behind the GELU, and no layer scale.
`ConvNeXt.of_size` gives the channels and blocks of atto, femto, pico, nano, tiny, small and base, as in timm. The norm
is always LayerNorm over channels. Layers with a bias mask their outputs; GELU and layer scale keep zeros zero.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Add, Layer, Map, Maps, full_precision, masked, spatial_axes, through
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.heads import make_head_with_norm
from fcn_jax.nets.published_families import ConvNeXt, each

EXPANSION = 4
"""Channels of a block's hidden layer, divided by the channels of the block."""
LAYER_SCALE = 1e-6
"""Initial scale of every branch."""
RESPONSE_EPSILON = 1e-6
"""Number added to the mean of the norms in `ResponseNorm`."""

gelu = partial(jax.nn.gelu, approximate=False)


class LayerScale(Layer):
    """A factor for every channel (Touvron et al., arXiv:2103.17239)."""

    def __init__(self, channels: int, *, dtype=jnp.float32):
        self.scale = nnx.Param(jnp.full(channels, LAYER_SCALE, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(Map((full_precision(x) * self.scale[...]).astype(x.dtype), size) for x, size in maps)


class ResponseNorm(Layer):
    """Global response normalisation: each channel times its norm over the true positions of an example.

    The norms are divided by their mean over the channels. Scale and bias begin as 0, and the input is added, so the
    layer begins as the identity.
    """

    def __init__(self, channels: int, *, dtype=jnp.float32):
        self.scale, self.bias = nnx.Param(jnp.zeros(channels, dtype)), nnx.Param(jnp.zeros(channels, dtype))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(self._normalise(m) for m in maps)

    def _normalise(self, m: Map) -> Map:
        x = full_precision(m.x)
        squares = jnp.square(x).sum(spatial_axes(x), keepdims=True)
        # The root has no gradient at 0, which is where filler is.
        norms = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
        shares = norms / (norms.mean(-1, keepdims=True) + RESPONSE_EPSILON)
        y = x * (1 + self.scale[...] * shares) + self.bias[...]
        return masked(Map(y.astype(m.x.dtype), m.size))


class ConvNextBlock(Layer):
    """Depthwise convolution, LayerNorm, two 1×1 convolutions with a GELU between, layer scale; added to the input.

    With `response_norm` there is a `ResponseNorm` behind the GELU, and no layer scale.
    """

    def __init__(
        self, channels: int, kernel: int, *, response_norm: bool = False, drop_rate: float = 0.0, make: LayerMaker
    ):
        assert kernel % 2 == 1, kernel
        hidden = EXPANSION * channels
        depthwise = Window(kernel, padding=kernel // 2)
        branch: list[Layer] = [
            make.convolution((channels, channels), depthwise, groups=channels, bias=True, init_scale=1.0),
            make.layer_norm(channels),
            make.convolution((channels, hidden), Window(1), bias=True),
            Activate(gelu),
        ]
        if response_norm:
            branch.append(ResponseNorm(hidden, dtype=make.dtype))
        branch.append(make.convolution((hidden, channels), Window(1), bias=True, init_scale=1.0))
        if not response_norm:
            branch.append(LayerScale(channels, dtype=make.dtype))
        branch += make.stochastic_depth(drop_rate)
        self.branch, self.add = nnx.List(branch), Add()

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(window for layer in self.branch for window in layer.windows)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        return self.add(through(self.branch, maps, training=training), maps)


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
        layers += [
            ConvNextBlock(width, kernel, response_norm=c.response_norm, drop_rate=next(drop_rates), make=make)
            for _ in range(number)
        ]
        features = width
    return Net(layers, make_head_with_norm(c.head, features, c.num_classes, make=make))
