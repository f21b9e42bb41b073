"""Masked pooling: over all true positions of a map."""

import jax.numpy as jnp

from fcn_jax.models.layers import Layer
from fcn_jax.models.maps import Map, Maps, masked_mean


class GlobalAverage(Layer):
    """The mean over all true positions (Lin et al., arXiv:1312.4400), as a map of side 1."""

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for m in maps:
            x = masked_mean(m)
            x = x.reshape(x.shape[0], *[1] * m.size.shape[1], x.shape[1])
            outputs.append(Map(x, jnp.minimum(m.size, 1)))
        return tuple(outputs)
