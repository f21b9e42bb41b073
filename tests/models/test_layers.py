"""Every masked layer against its unmasked counterpart, and the arithmetic of true sizes against counting."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fcn_jax.geometry import Window
from fcn_jax.models.convolution import Convolution, convolve_direct, convolve_patches
from fcn_jax.models.global_pooling import GlobalAverage
from fcn_jax.models.layers import Activate, Add
from fcn_jax.models.maps import Map, larger, largest, mask_of, masked, masked_mean, size_after
from fcn_jax.models.norms import EPSILON, LAYER_EPSILON, BatchNorm, GroupNorm, LayerNorm, pooled_moments
from fcn_jax.models.pooling import AveragePool, MaxPool
from tests.models.law import QUICK

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


@settings(max_examples=25)
@example(window=Window(4, 2, padding=1), canvas=(9, 6))
@example(window=Window(6, 2, padding=3), canvas=(7, 10))
@example(window=Window(6, 3, padding=2), canvas=(11,))
@given(
    window=st.builds(Window, st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 4)),
    canvas=st.one_of(st.tuples(st.integers(1, 12)), st.tuples(st.integers(1, 12), st.integers(1, 12))),
)
def test_patches_are_the_convolution(window, canvas):
    assume(all(window.output_side(side) >= 1 for side in canvas))
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = rng.standard_normal((2, *canvas, 3))
        kernel = rng.standard_normal((*[window.kernel] * len(canvas), 3, 4))
        dy = rng.standard_normal((2, *(window.output_side(side) for side in canvas), 4))

        def both(x, kernel, dy):
            results = []
            for convolve in (convolve_direct, convolve_patches):
                y, pull = jax.vjp(lambda x, kernel, convolve=convolve: convolve(x, kernel, window), x, kernel)
                results.append((y, *pull(dy)))
            return results

        direct, patches = jax.jit(both, compiler_options=QUICK)(x, kernel, dy)
        for a, b in zip(direct, patches, strict=True):
            assert_close(a, b)


@pytest.mark.parametrize("patches", [True, False], ids=["patches", "direct"])
def test_convolution_is_the_sum_over_its_window(float64, patches):
    rng = np.random.default_rng(0)
    window = Window(3, 2, 2, 1)
    layer = Convolution((2, 3), window, rank=2, bias=True, patches=patches, rngs=nnx.Rngs(0), dtype=jnp.float64)
    shake(layer, rng)
    m = make_map(rng, [(9, 7)], (9, 7), channels=2)
    x = np.pad(np.asarray(m.x[0]), [(1, 1), (1, 1), (0, 0)])
    ((y, size),) = layer((m,), training=True)
    assert size.tolist() == [[4, 3]]
    expected = np.zeros((4, 3, 3)) + np.asarray(layer.bias[...])
    for i, j, u, v in itertools.product(range(4), range(3), range(3), range(3)):
        expected[i, j] += x[2 * i + 2 * u, 2 * j + 2 * v] @ np.asarray(layer.kernel[...])[u, v]
    assert_close(y[0], expected)


@pytest.mark.parametrize("groups", [2, 6], ids=["grouped", "depthwise"])
def test_groups_do_not_see_each_other(float64, groups):
    window = Window(3, 2, 2, 1)
    features = (CHANNELS, 2 * CHANNELS)
    options = {"rank": 2, "bias": False, "patches": False, "rngs": nnx.Rngs(0), "dtype": jnp.float64}
    layer = Convolution(features, window, groups=groups, **options)
    (m,) = maps = (make_map(np.random.default_rng(0), [(9, 7), (6, 8)], (9, 8)),)
    expected = []
    for group in range(groups):
        part = Convolution((features[0] // groups, features[1] // groups), window, **options)
        part.kernel[...] = np.split(layer.kernel[...], groups, axis=-1)[group]
        (y,) = part((Map(jnp.split(m.x, groups, axis=-1)[group], m.size),), training=True)
        expected.append(y.x)
    (y,) = layer(maps, training=True)
    assert_close(y.x, np.concatenate(expected, axis=-1))
    assert y.size.tolist() == [[4, 3], [2, 3]]


POOL_WINDOWS = [
    Window(3, 2, padding=1),
    Window(2, 2),
    Window(3, 1, 2, 2),
    Window(1, 2, padding=1),
    Window(2, 1, 4, 3),
]


def places_of(window: Window, size):
    """(place, true input positions that it sees) of every place of a window, by counting."""
    offsets = range(0, window.extent, window.dilation)
    for place in itertools.product(*(range(window.output_side(side)) for side in size)):
        seen = [
            [q for u in offsets if 0 <= (q := p * window.stride - window.padding + u) < side]
            for p, side in zip(place, size, strict=True)
        ]
        yield place, list(itertools.product(*seen))


@pytest.mark.parametrize("window", POOL_WINDOWS, ids=lambda window: window.describe(1))
@pytest.mark.parametrize("layer", [MaxPool, AveragePool])
@pytest.mark.parametrize("canvas", [(7,), (5, 8)])
def test_pools_see_true_positions_only(float64, layer, window, canvas):
    sizes = [canvas, (4, 3)[: len(canvas)], (0, 0)[: len(canvas)]]
    m = make_map(np.random.default_rng(0), sizes, canvas, channels=2)
    m = Map(-m.x, m.size)
    ((y, size),) = layer(window, rank=len(canvas))((m,), training=True)
    statistic = np.max if layer is MaxPool else np.mean
    for row in range(2):
        assert size[row].tolist() == [window.output_side(side) for side in sizes[row]]
        for place, seen in places_of(window, sizes[row]):
            values = [m.x[(row, *position)] for position in seen]
            assert_close(y[(row, *place)], statistic(values, axis=0) if values else np.zeros(2))
    assert not size[2].any()


def test_the_gradient_of_a_pool_is_that_of_xla(float64):
    m = make_map(np.random.default_rng(0), [(9, 8)], (9, 8))
    window = Window(3, 2, padding=1)

    def ours(x):
        return (MaxPool(window, rank=2).apply((Map(x, m.size),), training=True)[0].x ** 2).sum()

    def theirs(x):
        return (nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1))) ** 2).sum()

    assert_close(jax.grad(ours)(m.x), jax.grad(theirs)(m.x))


def test_branches_of_different_size_do_not_add():
    rng = np.random.default_rng(0)
    branch, shortcut = (make_map(rng, [(2, 2)], canvas) for canvas in ((3, 3), (3, 1)))
    with pytest.raises(AssertionError):
        Add()((branch,), (shortcut,))


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=4), st.integers(1, 2))
def test_mask_is_true_inside_only(sizes, rank):
    size, canvas = np.array(sizes, np.int32)[:, :rank], (6, 7)[:rank]
    mask = mask_of(jnp.asarray(size), canvas)
    assert np.array_equal(mask[..., 0], inside_of(size, canvas))
    assert np.array_equal(mask.sum(axis=tuple(range(1, rank + 2))), size.prod(axis=1))


def test_masked_mean_counts_true_positions_only(float64):
    rng = np.random.default_rng(0)
    m = make_map(rng, [(2, 3), (0, 0), (5, 1)], (5, 4))
    mean = np.asarray(masked_mean(m))
    assert_close(mean[0], np.asarray(m.x)[0, :2, :3].mean(axis=(0, 1)))
    assert (mean[1] == 0).all()
    assert_close(mean[2], np.asarray(m.x)[2, :5, :1].mean(axis=(0, 1)))


def test_size_after_is_the_number_of_places_of_the_window():
    sides = np.arange(41, dtype=np.int32)
    for window in itertools.starmap(Window, itertools.product(range(1, 6), range(1, 4), range(1, 4), range(7))):
        output = window.output_side(sides)
        places = [len(range(0, side + 2 * window.padding - window.extent + 1, window.stride)) for side in sides]
        assert np.array_equal(np.maximum(output, 0), places)
        actual = np.asarray(size_after(window, jnp.asarray(sides)[:, None]))[:, 0]
        assert np.array_equal(actual, np.where(sides > 0, places, 0)), window


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


LAYERS = [
    *("convolution, patches", "convolution, direct", "convolution, depthwise", "max pool", "average pool"),
    *("batch", "group", "layer", "activate", "average"),
]


def make_layer(name: str):
    options = {"activation": lambda x: x, "dtype": jnp.float64}
    match name:
        case "convolution, patches" | "convolution, direct":
            return Convolution(
                (CHANNELS, 4), Window(3, 2, padding=2), rank=2, bias=True, patches="patches" in name,
                rngs=nnx.Rngs(0), dtype=jnp.float64,
            )  # fmt: skip
        case "convolution, depthwise":
            return Convolution(
                (CHANNELS, CHANNELS), Window(3, 2, 2, 3), rank=2, groups=CHANNELS, bias=True, patches=False,
                rngs=nnx.Rngs(0), dtype=jnp.float64,
            )  # fmt: skip
        case "max pool":
            return MaxPool(Window(3, 2, padding=1), rank=2)
        case "average pool":
            return AveragePool(Window(3, 2, padding=1), rank=2)
        case "batch":
            return BatchNorm(CHANNELS, momentum=0.7, **options)
        case "group":
            return GroupNorm(CHANNELS, group_size=3, **options)
        case "layer":
            return LayerNorm(CHANNELS, **options)
        case "activate":
            return Activate(jax.nn.relu)
        case "average":
            return GlobalAverage()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_leaves_zeros_outside(float64, name, training):
    rng = np.random.default_rng(0)
    layer = make_layer(name)
    shake(layer, rng)
    maps = (make_map(rng, [(2, 3), (0, 0), (4, 4)], (6, 5)), make_map(rng, [(1, 1), (7, 2)], (7, 4)))
    for m in layer(maps, training=training):
        inside = inside_of(m.size, m.x.shape[1:-1])
        x = np.asarray(m.x)
        assert not x[~inside].any()
        assert (np.abs(x[inside]).max(axis=-1) > 0).all()


def test_maxima_are_numpys_and_nan_comes_through():
    x = np.random.default_rng(0).standard_normal((3, 4, 2))
    assert np.array_equal(largest(jnp.asarray(x), 1), x.astype(np.float32).max(1))
    a, b = np.array([1, 2, np.nan, 3, -np.inf]), np.array([2, 1, 3, np.nan, -np.inf])
    np.testing.assert_array_equal(larger(jnp.asarray(a), jnp.asarray(b)), np.maximum(a, b))
    assert np.isnan(largest(jnp.asarray([1, np.nan, 2]), 0))


def test_the_gradient_of_a_maximum_goes_to_one(float64):
    x = jnp.asarray([[1.0, 3.0], [3.0, 3.0], [3.0, 2.0]])
    assert jax.grad(lambda x: largest(x, 0).sum())(x).tolist() == [[0, 1], [1, 0], [0, 0]]
    assert jax.grad(lambda x: larger(x[1], x[2]).sum())(x).tolist() == [[0, 0], [1, 1], [0, 0]]
