"""Norms against those of flax without padding, and against the true positions with it."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fcn_jax.core import moments
from fcn_jax.core.layers import Map, masked, masked_mean
from fcn_jax.core.moments import EPSILON, OverAll, moments_of
from fcn_jax.core.norms import LAYER_EPSILON, BatchNorm, GroupNorm, LayerNorm
from tests.core.made_maps import CHANNELS, assert_close, inside_of, make_map, shake


@pytest.fixture(params=[False, True], ids=["two passes", "one pass"])
def passes(request, monkeypatch):
    """Each way to compute moments, whatever the type of the maps."""
    monkeypatch.setattr(moments, "moments_of", partial(moments_of, one_pass=request.param))


@pytest.mark.parametrize("canvas", [(7,), (4, 5)])
def test_batch_norm_without_padding_is_that_of_flax(float64, passes, canvas):
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
def test_group_norm_without_padding_is_that_of_flax(float64, passes, canvas):
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


def test_batch_norm_pools_the_true_positions_of_all_blocks(float64, passes):
    rng = np.random.default_rng(0)
    maps = (make_map(rng, [(2, 3), (0, 0), (4, 4)], (4, 5)), make_map(rng, [(7, 1)], (7, 2)))
    inside = [inside_of(m.size, m.x.shape[1:-1]) for m in maps]
    positions = jnp.concatenate([m.x[cut] for m, cut in zip(maps, inside, strict=True)])
    assert len(positions) == 6 + 16 + 7
    means, variances = moments.moments_of(OverAll(), maps)
    for mean, var in zip(means, variances, strict=True):
        assert_close(mean[0], positions.mean(axis=0))
        assert_close(var[0], positions.var(axis=0))

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


LARGE_EPSILON = 0.3


def as_written(kind, scale, bias, maps):
    """BatchNorm or GroupNorm of groups of 2 by their formula, for XLA to differentiate."""
    outputs = []
    flat = [x[inside_of(size, x.shape[1:-1])] for x, size in maps]
    for x, size in maps:
        rows = []
        for row, side in zip(x, size.tolist(), strict=True):
            cut = row[tuple(map(slice, side))]
            if kind == "batch":
                mean, var = jnp.concatenate(flat).mean(0), jnp.concatenate(flat).var(0)
            elif cut.size:
                grouped = cut.reshape(-1, CHANNELS // 2, 2)
                mean, var = (jnp.repeat(f(grouped, axis=(0, 2)), 2) for f in (jnp.mean, jnp.var))
            else:
                mean, var = jnp.zeros(CHANNELS), jnp.ones(CHANNELS)
            y = jax.nn.gelu((cut - mean) / jnp.sqrt(var + LARGE_EPSILON) * scale + bias)
            rows.append(jnp.zeros_like(row).at[tuple(map(slice, side))].set(y))
        outputs.append(Map(jnp.stack(rows), size))
    return tuple(outputs)


@pytest.mark.parametrize("kind", ["batch", "group"])
@pytest.mark.parametrize("rank", [1, 2])
def test_the_written_out_gradient_is_that_of_the_formula(float64, passes, kind, rank):
    rng = np.random.default_rng(0)
    sizes = [[(2, 3), (0, 0), (4, 4)], [(7, 1)]]
    canvases = [(4, 5), (8, 2)]
    maps = tuple(
        make_map(rng, [size[:rank] for size in block], canvas[:rank])
        for block, canvas in zip(sizes, canvases, strict=True)
    )
    weights = [rng.normal(size=m.x.shape) for m in maps]

    def layer_of(scale, bias):
        if kind == "batch":
            layer = BatchNorm(CHANNELS, epsilon=LARGE_EPSILON, activation=jax.nn.gelu, dtype=jnp.float64)
        else:
            options: Any = {"group_size": 2, "epsilon": LARGE_EPSILON}
            layer = GroupNorm(CHANNELS, activation=jax.nn.gelu, dtype=jnp.float64, **options)
        layer.scale[...], layer.bias[...] = scale, bias
        return layer

    def total(norm, xs, scale, bias):
        inputs = tuple(masked(Map(x, size)) for x, (_, size) in zip(xs, maps, strict=True))
        outputs = norm(scale, bias, inputs)
        return sum((m.x * weight).sum() for m, weight in zip(outputs, weights, strict=True))

    def ours(scale, bias, inputs):
        return layer_of(scale, bias)(inputs, training=True)

    xs, scale, bias = [m.x for m in maps], rng.uniform(0.5, 2, CHANNELS), rng.normal(size=CHANNELS)
    found, expected = (
        jax.value_and_grad(partial(total, norm), (0, 1, 2))(xs, scale, bias)
        for norm in (ours, partial(as_written, kind))
    )
    jax.tree.map(assert_close, found, expected)


def moments_in_float64(x):
    values = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    return values.mean(0), values.var(0)


@pytest.mark.parametrize("mean", [0.0, 10.0, 1e3, 1e4])
def test_moments_in_float32_keep_their_digits_far_from_zero(mean):
    rng = np.random.default_rng(0)
    x = jnp.asarray(mean + rng.normal(size=(8, 30, 31, CHANNELS)), jnp.float32)
    m = Map(x, jnp.asarray([[30, 31]] * 8, jnp.int32))
    ((found_mean, *_), (found_var, *_)) = moments_of(OverAll(), (m,))
    expected_mean, expected_var = moments_in_float64(x)
    np.testing.assert_allclose(found_mean[0], expected_mean, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found_var[0], expected_var, rtol=1e-3)


@pytest.mark.parametrize("mean", [0.0, 1.0, 10.0, 100.0, 1e3, 1e5])
@pytest.mark.parametrize("deviation", [1e-3, 1.0, 50.0])
def test_one_pass_loses_less_than_bfloat16_has_lost(mean, deviation):
    rng = np.random.default_rng(0)
    exact = mean + deviation * rng.normal(size=(16, 32, 33, CHANNELS))
    x = jnp.asarray(exact, jnp.bfloat16)
    m = Map(x, jnp.asarray([[32, 33]] * 16, jnp.int32))
    ((found_mean, *_), (found_var, *_)) = moments_of(OverAll(), (m,))
    expected_mean, expected_var = moments_in_float64(x)
    rounding = np.square(exact - np.asarray(x, np.float64)).mean((0, 1, 2))
    np.testing.assert_allclose(found_mean[0], expected_mean, rtol=1e-5, atol=1e-6 * deviation)
    assert (np.abs(found_var[0] - expected_var) < 0.5 * rounding + 1e-5 * expected_var).all()
    assert (np.asarray(found_var) >= 0).all()


def test_running_statistics_stay_right_for_ten_thousand_steps():
    rng = np.random.default_rng(0)
    x = jnp.asarray(1e3 + rng.normal(size=(2, 3, 4, CHANNELS)), jnp.float32)
    m = Map(x, jnp.asarray([[3, 4]] * 2, jnp.int32))
    layer = BatchNorm(CHANNELS, momentum=0.99)
    layer.mean[...] = jnp.full(CHANNELS, -1e6)
    graphdef, params, stats = nnx.split(layer, nnx.Param, nnx.BatchStat)

    def step(stats, _):
        layer = nnx.merge(graphdef, params, stats)
        (y,) = layer((m,), training=True)
        return nnx.state(layer, nnx.BatchStat), y.x

    stats, outputs = jax.jit(lambda s: jax.lax.scan(step, s, length=10_000))(stats)
    mean, var = moments_in_float64(x)
    np.testing.assert_allclose(stats["mean"][...], mean, rtol=1e-5)
    np.testing.assert_allclose(stats["var"][...], var, rtol=1e-3)
    normal = (np.asarray(x, np.float64) - mean) / np.sqrt(var + EPSILON)
    np.testing.assert_allclose(np.asarray(outputs)[[0, -1]], [normal, normal], atol=1e-3)
