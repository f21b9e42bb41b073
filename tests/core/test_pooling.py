"""Pools against counting their true positions, and against XLA's gradient."""

import itertools

import jax
import numpy as np
import pytest
from flax import nnx

from fcn_jax.core.geometry import Window
from fcn_jax.core.layers import Map
from fcn_jax.core.pooling import AveragePool, MaxPool
from tests.core.made_maps import assert_close, make_map

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
@pytest.mark.parametrize("reduce_window", [False, True], ids=["slices", "reduce_window"])
@pytest.mark.parametrize("layer", [MaxPool, AveragePool])
@pytest.mark.parametrize("canvas", [(7,), (5, 8)])
def test_pools_see_true_positions_only(float64, layer, window, canvas, reduce_window):
    sizes = [canvas, (4, 3)[: len(canvas)], (0, 0)[: len(canvas)]]
    m = make_map(np.random.default_rng(0), sizes, canvas, channels=2)
    m = Map(-m.x, m.size)
    ((y, size),) = layer(window, rank=len(canvas), reduce_window=reduce_window)((m,), training=True)
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


@pytest.mark.parametrize("layer", [MaxPool, AveragePool])
def test_both_ways_to_pool_have_the_same_gradient(float64, layer):
    m = make_map(np.random.default_rng(0), [(9, 8), (4, 3), (0, 0)], (9, 8))

    def total(x, reduce_window):
        pool = layer(Window(3, 2, padding=1), rank=2, reduce_window=reduce_window)
        ((y, _),) = pool((Map(x, m.size),), training=True)
        return (y**2).sum()

    slices, windows = (jax.grad(total)(m.x, way) for way in (False, True))
    assert_close(slices, windows)
    assert np.asarray(slices)[0].any()
    assert not np.asarray(windows)[1, 4:].any()
