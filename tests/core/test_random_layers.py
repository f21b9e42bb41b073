"""Random layers: rates, means, and draws that depend on seed, step, layer and example alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fcn_jax.core.layers import Map
from fcn_jax.core.random_layers import Draws, Dropout, StochasticDepth, drawing

EXAMPLES, CHANNELS = 4000, 8


def drawn(layer, *blocks, seed: int = 0, step: int = 5, training: bool = True, joined: bool = False):
    """What the layer makes of ones, for blocks of these examples."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    examples = tuple(jnp.asarray(block, jnp.int32) for block in blocks)
    numbers = [jnp.concatenate(examples)] if joined else examples
    maps = tuple(Map(jnp.ones((len(block), 3, 2, CHANNELS)), jnp.full((len(block), 2), 2)) for block in numbers)
    with drawing(Draws(key, examples)):
        return [np.asarray(m.x) for m in layer(maps, training=training)]


def test_a_channel_of_an_example_is_dropped_everywhere_and_the_mean_stays():
    (x,) = drawn(Dropout(0.25, 0), range(EXAMPLES))
    assert (x == x[:, :1, :1]).all()
    np.testing.assert_allclose(np.unique(x), [0, 1 / 0.75], rtol=1e-6)
    assert x.mean() == pytest.approx(1, abs=0.02)
    assert (x[:, 0, 0] == 0).mean(0) == pytest.approx(0.25, abs=0.04)


def test_a_branch_of_an_example_is_dropped_as_a_whole():
    (x,) = drawn(StochasticDepth(0.4, 0), range(EXAMPLES))
    assert (x == x[:, :1, :1, :1]).all()
    assert (x[:, 0, 0, 0] == 0).mean() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("layer", [Dropout(0.5, 3), StochasticDepth(0.5, 3)])
def test_a_draw_follows_the_example_wherever_it_stands(layer):
    (whole,) = drawn(layer, range(64))
    order = np.random.default_rng(0).permutation(64)
    parts = drawn(layer, order[:10], [-1, *order[10:]])
    np.testing.assert_array_equal(np.concatenate([parts[0], parts[1][1:]]), whole[order])
    (joined,) = drawn(layer, order[:10], order[10:], joined=True)
    np.testing.assert_array_equal(joined, whole[order])


def test_seeds_steps_and_layers_draw_for_themselves():
    first = drawn(Dropout(0.5, 0), range(64))[0]
    others = [
        drawn(Dropout(0.5, 0), range(64), seed=1),
        drawn(Dropout(0.5, 0), range(64), step=6),
        drawn(Dropout(0.5, 1), range(64)),
    ]
    for (other,) in others:
        assert 0.4 < (first == other).mean() < 0.6
    np.testing.assert_array_equal(first, drawn(Dropout(0.5, 0), range(64))[0])


def test_nothing_is_dropped_outside_of_training_or_without_a_step():
    assert (drawn(Dropout(0.9, 0), range(64), training=False)[0] == 1).all()
    m = Map(jnp.ones((2, 3, CHANNELS)), jnp.full((2, 1), 3))
    assert Dropout(0.9, 0)((m,), training=True) == (m,)
