"""Masks, true sizes, means and maxima of maps, against counting and NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import larger, largest, mask_of, masked_mean, size_after
from tests.core.made_maps import assert_close, inside_of, make_map


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
