"""Squeeze-and-excitation: factors for the channels, computed from their averages over an example."""

import jax

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Activate, Activation, Layer, Maps, through
from fcn_jax.core.net import LayerMaker
from fcn_jax.core.pooling import GlobalAverage


class SqueezeExcite(Layer):
    """Factors for the channels, computed from their averages over an example (Hu et al., arXiv:1709.01507).

    Args:
        hidden: channels between the two layers that compute the factors.
        activation: the activation between them.
    """

    def __init__(self, channels: int, hidden: int, activation: Activation = jax.nn.relu, *, make: LayerMaker):
        self.reduce = make.convolution((channels, hidden), Window(1), bias=True)
        self.expand = make.convolution((hidden, channels), Window(1), bias=True, init_scale=1.0)
        self.pool, self.activate = GlobalAverage(), Activate(activation)

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        factors = through((self.pool, self.reduce, self.activate, self.expand), maps, training=training)
        return tuple(m._replace(x=m.x * jax.nn.sigmoid(f.x)) for m, f in zip(maps, factors, strict=True))
