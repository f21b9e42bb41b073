"""Norms against those of flax without padding, and against the true positions with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcn_jax.core.layers import Map, masked_mean
from fcn_jax.core.norms import EPSILON, LAYER_EPSILON, BatchNorm, GroupNorm, LayerNorm, pooled_moments
from tests.core.made_maps import CHANNELS, assert_close, inside_of, make_map, shake


@pytest.mark.parametrize("canvas", [(7,), (4, 5)])
def test_batch_norm_without_padding_is_that_of_flax(float64, canvas):
    rng = np.random.default_rng(0)
    ours = BatchNorm(CHANNELS, momentum=0.7, activation=jax.nn.relu, dtype=jnp.float64)
    theirs = nnx.BatchNorm(
        CHANNELS, momentum=0.7, epsilon=EPSILON, use_fast_variance=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0)
    )
    shake(ours, np.random.default_rng(1))
    shake(theirs, np.random.default_rng(1))
    for name in ("scale", "bias", "mean", "var"):
        getattr(theirs, name)[...] = getattr(ours, name)[...]
    for _ in range(2):
        m = make_map(rng, [canvas] * 3, canvas)
        for training in (True, False):
            (y,) = ours((m,), training=training)
            assert_close(y.x, jax.nn.relu(theirs(m.x, use_running_average=not training)))
        assert_close(ours.mean[...], theirs.mean[...])
        assert_close(ours.var[...], theirs.var[...])


@pytest.mark.parametrize("canvas", [(7,), (4, 5)])
def test_group_norm_without_padding_is_that_of_flax(float64, canvas):
    m = make_map(np.random.default_rng(0), [canvas] * 3, canvas)
    ours = GroupNorm(CHANNELS, group_size=2, activation=jax.nn.relu, dtype=jnp.float64)
    theirs = nnx.GroupNorm(
        CHANNELS, num_groups=None, group_size=2, epsilon=EPSILON, use_fast_variance=False, param_dtype=jnp.float64,
        rngs=nnx.Rngs(0),
    )  # fmt: skip
    shake(ours, np.random.default_rng(1))
    theirs.scale[...], theirs.bias[...] = ours.scale[...], ours.bias[...]
    assert_close(ours((m,), training=True)[0].x, jax.nn.relu(theirs(m.x)))


def test_layer_norm_without_padding_is_that_of_flax(float64):
    m = make_map(np.random.default_rng(0), [(4, 5)] * 3, (4, 5))
    ours = LayerNorm(CHANNELS, activation=jax.nn.relu, dtype=jnp.float64)
    theirs = nnx.LayerNorm(
        CHANNELS, epsilon=LAYER_EPSILON, use_fast_variance=False, param_dtype=jnp.float64, rngs=nnx.Rngs(0)
    )
    shake(ours, np.random.default_rng(1))
    theirs.scale[...], theirs.bias[...] = ours.scale[...], ours.bias[...]
    assert_close(ours((m,), training=True)[0].x, jax.nn.relu(theirs(m.x)))


def test_batch_norm_pools_the_true_positions_of_all_blocks(float64):
    rng = np.random.default_rng(0)
    maps = (make_map(rng, [(2, 3), (0, 0), (4, 4)], (4, 5)), make_map(rng, [(7, 1)], (7, 2)))
    inside = [inside_of(m.size, m.x.shape[1:-1]) for m in maps]
    positions = jnp.concatenate([m.x[cut] for m, cut in zip(maps, inside, strict=True)])
    assert len(positions) == 6 + 16 + 7
    count, mean, var = pooled_moments(maps)
    assert count == len(positions)
    assert_close(mean, positions.mean(axis=0))
    assert_close(var, positions.var(axis=0))

    def fresh():
        return BatchNorm(CHANNELS, momentum=0.7, activation=jax.nn.relu, dtype=jnp.float64)

    together, one_signal = fresh(), fresh()
    outputs = together(maps, training=True)
    signal = Map(positions[None], jnp.asarray([[len(positions)]], jnp.int32))
    (expected,) = one_signal((signal,), training=True)
    assert_close(jnp.concatenate([m.x[cut] for m, cut in zip(outputs, inside, strict=True)]), expected.x[0])
    assert_close(together.mean[...], one_signal.mean[...])
    assert_close(together.var[...], one_signal.var[...])


def test_filler_alone_gives_finite_statistics_and_gradients(float64):
    m = Map(jnp.zeros((2, 3, 3, CHANNELS)), jnp.zeros((2, 2), jnp.int32))

    def total(x):
        layer = BatchNorm(CHANNELS, momentum=0.7, activation=jax.nn.relu, dtype=jnp.float64)
        (y,) = layer((Map(x, m.size),), training=True)
        return y.x.sum() + masked_mean(y).sum()

    assert (jax.grad(total)(m.x) == 0).all()
