"""Maps for the tests of layers, and what is true of them by counting."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fcn_jax.core.layers import Map, masked

CHANNELS = 6


def make_map(rng, sizes, canvas, channels: int = CHANNELS) -> Map:
    """Far from zero mean and unit variance, and zero outside, as every layer may expect."""
    x = 3 + 2 * rng.standard_normal((len(sizes), *canvas, channels))
    return masked(Map(jnp.asarray(x), jnp.asarray(sizes, jnp.int32)))


def shake(module, rng) -> None:
    state = nnx.state(module, (nnx.Param, nnx.BatchStat))
    nnx.update(module, jax.tree.map(lambda leaf: leaf + rng.uniform(0.1, 0.4, leaf.shape), state))


def inside_of(size, canvas) -> np.ndarray:
    """[b, *canvas], by counting."""
    inside = np.zeros((len(size), *canvas), bool)
    for row, sides in enumerate(np.asarray(size)):
        inside[(row, *(slice(side) for side in sides))] = True
    return inside


def assert_close(a, b, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=tolerance, atol=tolerance)
