"""Convolution: as a sum over its window, by patches and direct, and in groups."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from jax import lax

from fcn_jax.core import convolution
from fcn_jax.core.convolution import Convolution, convolve_direct, convolve_patches
from fcn_jax.core.geometry import BalancedWindow, SameWindow, Window
from fcn_jax.core.layers import Map
from fcn_jax.core.random_layers import Draws, drawing
from tests.core.made_maps import CHANNELS, assert_close, make_map, shake


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

        direct, patches = jax.jit(both)(x, kernel, dy)
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


@pytest.mark.parametrize(("wide", "many"), [(1, 1), (1, 10**6), (10**6, 1)], ids=["in parts", "turned", "plain"])
@pytest.mark.parametrize("rows", [8, 9])
def test_the_gradient_of_a_kernel_is_a_product_in_any_way(float64, monkeypatch, wide, many, rows):
    monkeypatch.setattr(convolution, "WIDE", wide)
    monkeypatch.setattr(convolution, "MANY_ROWS", many)
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((rows, 5)), rng.standard_normal((rows, 3))
    assert_close(jax.jit(convolution._kernel_gradient)(x, dy), x.T @ dy)


@pytest.mark.parametrize("patches", [True, False], ids=["patches", "direct"])
@pytest.mark.parametrize("window", [SameWindow(3, 2), SameWindow(5, 3, 2), SameWindow(4, 2), SameWindow(1, 3)], ids=str)
def test_same_padding_is_xlas_for_every_true_size(float64, window, patches):
    rng = np.random.default_rng(0)
    layer = Convolution((CHANNELS, 3), window, rank=2, bias=False, patches=patches, rngs=nnx.Rngs(0), dtype=jnp.float64)
    m = make_map(rng, [(9, 6), (4, 7), (1, 8), (0, 0)], (11, 8))
    (y,) = layer((m,), training=True)
    for row, (height, width) in enumerate(m.size.tolist()):
        expected = lax.conv_general_dilated(
            m.x[row, None, :height, :width], layer.kernel[...], (window.stride,) * 2, "SAME",
            rhs_dilation=(window.dilation,) * 2, dimension_numbers=("NHWC", "HWIO", "NHWC"),
        ) if height else jnp.zeros((1, 0, 0, 3))  # fmt: skip
        assert y.size[row].tolist() == list(expected.shape[1:3])
        assert_close(y.x[row, : expected.shape[1], : expected.shape[2]], expected[0])
        assert_close(y.x[row].sum(), expected.sum())


@pytest.mark.parametrize("window", [BalancedWindow(4, 2, padding=1), BalancedWindow(2, 5, padding=1)], ids=str)
@pytest.mark.parametrize("side", [10, 11, 13])
def test_a_balanced_window_begins_at_a_drawn_place(window, side):
    """A kernel of ones sums positions 1, 2, 3, ..., so every sum tells where its window stands."""
    layer = Convolution((1, 1), window, rank=1, bias=False, number=2, rngs=nnx.Rngs(0))
    layer.kernel[...] = jnp.ones_like(layer.kernel[...])
    examples, canvas = 600, side + 3
    x = np.where(np.arange(canvas) < side, np.arange(1.0, canvas + 1), 0)
    m = Map(jnp.tile(x[None, :, None], (examples, 1, 1)), jnp.full((examples, 1), side))
    padded = np.pad(x[:side], (window.padding, window.padding))
    left = (len(padded) - window.extent) % window.stride

    def sums(skipped: int) -> np.ndarray:
        starts = range(skipped, len(padded) - window.extent + 1, window.stride)
        return np.array([padded[start : start + window.extent].sum() for start in starts])

    with drawing(Draws(jax.random.key(0), (jnp.arange(examples),))):
        ((y, size),) = layer((m,), training=True)
        ((centred, _),) = layer((m,), training=False)
    number = int(size[0, 0])
    assert number == len(sums(0)) == len(sums(left))
    assert (np.asarray(centred)[:, :number, 0] == sums(left // 2)).all()
    share = [float((np.asarray(y)[:, :number, 0] == sums(skipped)).all(1).mean()) for skipped in range(left + 1)]
    assert sum(share) == pytest.approx(1)
    assert share == pytest.approx([1 / (left + 1)] * (left + 1), abs=0.08)
