"""Global response normalisation agrees with its formula, and has a gradient where a channel is silent."""

import jax
import jax.numpy as jnp
import numpy as np

from fcn_jax.core.layers import Map
from fcn_jax.nets.convnext import RESPONSE_EPSILON, ResponseNorm
from tests.core.made_maps import CHANNELS, assert_close, make_map, shake


def test_a_response_norm_counts_true_positions_only(float64):
    layer = ResponseNorm(CHANNELS, dtype=jnp.float64)
    m = make_map(np.random.default_rng(0), [(4, 5), (0, 0), (2, 3)], (5, 6))
    m = Map(m.x.at[0, ..., 1].set(0), m.size)
    assert_close(layer((m,), training=True)[0].x, m.x)
    shake(layer, np.random.default_rng(1))
    (y,) = layer((m,), training=True)
    for row, (height, width) in enumerate(m.size.tolist()):
        x = np.asarray(m.x[row, :height, :width])
        norms = np.sqrt(np.square(x).sum((0, 1)))
        expected = x + x * layer.scale[...] * norms / (norms.mean() + RESPONSE_EPSILON) + layer.bias[...]
        assert_close(y.x[row, :height, :width], expected)
        assert_close(y.x[row].sum(), expected.sum())
    gradient = jax.grad(lambda x: jnp.square(layer((Map(x, m.size),), training=True)[0].x).sum())(m.x)
    assert np.isfinite(gradient).all()
