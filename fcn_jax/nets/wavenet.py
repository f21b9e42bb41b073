"""WaveNet (van den Oord et al., arXiv:1609.03499) as a classifier: gated, dilated, causal convolutions.

No position sees a later one. So `logits_2d` at a position depends only on the signal up to there, and the head `last`
reads the logits of the last position. Padding after the end cannot reach a true position, and padding before the
beginning is zero anyway. In an image, no position sees one below it or to its right. There is no norm, as in the paper.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from fcn_jax.core.convolution import Convolution
from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Add, Layer, Map, Maps
from fcn_jax.core.net import LayerMaker, Net
from fcn_jax.nets.families import WaveNet
from fcn_jax.nets.heads import make_head


class Causal(Layer):
    """A convolution with all its padding before the first position, so that the size stays."""

    def __init__(self, convolution: Convolution):
        window = convolution.window
        assert window.padding == 0, window
        assert window.stride == 1, window
        self.convolution = convolution

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        before = self.convolution.window.extent - 1
        padded = []
        for x, size in maps:
            around = [(0, 0), *[(before, 0)] * size.shape[1], (0, 0)]
            padded.append(Map(jnp.pad(x, around), jnp.where(size > 0, size + before, 0)))
        return self.convolution.apply(tuple(padded), training=training)

    def __str__(self) -> str:
        return f"Causal {self.convolution}"


class Gate(Layer):
    """A layer: tanh of the first half of the channels times sigmoid of the second half; zeros stay 0."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for x, size in maps:
            value, gate = jnp.split(x, 2, axis=-1)
            outputs.append(Map(jnp.tanh(value) * jax.nn.sigmoid(gate), size))
        return tuple(outputs)


class GatedBlock(nnx.Module):
    """A gated causal convolution; one 1×1 convolution leads on to the next block, another skips to the end.

    Args:
        skip_channels: channels of the skip connection.
        is_last: whether no block follows, so that only the skip connection is needed.
    """

    def __init__(self, channels: int, skip_channels: int, window: Window, *, is_last: bool, make: LayerMaker):
        gates = make.convolution((channels, 2 * channels), window, bias=True, init_scale=1.0)
        self.gates, self.gate, self.add = Causal(gates), Gate(), Add()
        self.skip = make.convolution((channels, skip_channels), Window(1), bias=True, init_scale=1.0)
        residual = None if is_last else make.convolution((channels, channels), Window(1), bias=True, init_scale=1.0)
        self.residual = residual

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Maps, Maps]:
        """Return (input of the next block, skip connection)."""
        gated = self.gate(self.gates(maps, training=training), training=training)
        skip = self.skip(gated, training=training)
        if self.residual is None:
            return maps, skip
        return self.add(self.residual(gated, training=training), maps), skip


class Gated(Layer):
    """A chain of gated blocks; its output is the sum of their skip connections."""

    def __init__(self, channels: int, skip_channels: int, windows: Sequence[Window], *, make: LayerMaker):
        last = len(windows) - 1
        self.blocks = nnx.List(
            GatedBlock(channels, skip_channels, window, is_last=number == last, make=make)
            for number, window in enumerate(windows)
        )
        self.add = Add()

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        total = None
        for block in self.blocks:
            maps, skip = block(maps, training=training)
            total = skip if total is None else self.add(total, skip)
        assert total is not None
        return total


def make_wavenet(c: WaveNet, input_channels: int, make: LayerMaker) -> Net:
    """Make a WaveNet: a causal convolution, gated blocks, and two 1×1 convolutions, the second in the head.

    The paper's kernel is 2, and its dilations 1, 2, 4, ..., 512 are repeated several times.
    """
    (inner, skip), (kernel,) = c.channels, c.kernel
    windows = [Window(kernel, dilation=dilation) for dilation in c.dilation]
    layers = [
        Causal(make.convolution((input_channels, inner), Window(kernel), bias=True, init_scale=1.0)),
        Gated(inner, skip, windows, make=make),
        Activate(jax.nn.relu),
        make.convolution((skip, skip), Window(1), bias=True),
        Activate(jax.nn.relu),
    ]
    return Net(layers, make_head(c.head, skip, c.num_classes, make=make))
