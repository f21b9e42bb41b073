"""The adaptive average pool: cells of one grid over every true size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st

from fcn_jax.config import Config, TrainConfig
from fcn_jax.config_rules import validate
from fcn_jax.core.block import filler_block
from fcn_jax.core.pooling import AdaptiveAveragePool, cell_shares
from fcn_jax.core.step import make_loss, split_model
from fcn_jax.nets.families import FCN
from fcn_jax.nets.model import make_model, smallest_input, trace_shapes
from tests.core.made_maps import assert_close, make_map
from tests.core.padding import NUM_CLASSES


def pooled(m, cells):
    (output,) = AdaptiveAveragePool(cells, rank=m.size.shape[1])((m,), training=False)
    return output


def test_cells_that_end_on_positions_are_plain_means(float64):
    m = make_map(np.random.default_rng(0), [(6, 4), (0, 0), (3, 2)], (7, 4))
    output = pooled(m, 2)
    assert output.size.tolist() == [[2, 2], [0, 0], [2, 2]]
    x = np.asarray(m.x)
    assert_close(output.x[0], x[0, :6, :4].reshape(2, 3, 2, 2, -1).mean((1, 3)))
    assert not output.x[1].any()
    middle = x[2, 1, :2]
    assert_close(output.x[2], np.stack([(x[2, 0, :2] + middle / 2) / 1.5, (middle / 2 + x[2, 2, :2]) / 1.5]))


def test_a_map_smaller_than_the_grid_is_repeated(float64):
    m = make_map(np.random.default_rng(0), [(2,), (1,)], (3,))
    output = pooled(m, 4)
    assert_close(output.x[0], np.repeat(m.x[0, :2], 2, axis=0))
    assert_close(output.x[1], np.repeat(m.x[1, :1], 4, axis=0))


@settings(max_examples=12)  # Each has a canvas of its own to compile for.
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(1, 12), st.integers(0, 5))
def test_cells_share_all_positions_evenly(sides, cells, margin):
    canvas = max(sides) + margin
    shares = np.asarray(cell_shares(jnp.asarray(sides), canvas, cells, jnp.float32))
    np.testing.assert_allclose(shares.sum(2), 1, rtol=1e-5)
    inside = np.arange(canvas) < np.array(sides)[:, None]
    np.testing.assert_allclose(shares.sum(1), np.where(inside, cells / np.array(sides)[:, None], 0), rtol=1e-5)
    for share in shares:
        first, last = share.argmax(1), share.shape[1] - 1 - share[:, ::-1].argmax(1)
        assert (np.diff(first) >= 0).all()
        assert (np.diff(last) >= 0).all()


def net_with_grid(cells: int) -> Config:
    config = Config(model=FCN())
    config.data.channels = 2
    config.model.num_classes, config.model.channels = NUM_CLASSES, (3, 4)
    config.model.adaptive_pool, config.model.adaptive_pool_after = cells, 1
    return config


def test_behind_the_grid_every_size_is_one():
    config = net_with_grid(8)
    assert smallest_input(config) == 2
    traces = [[record.canvas for record in trace_shapes(config, size)] for size in ((2, 3), (64, 50))]
    assert [trace[2:5] for trace in traces] == [[(8, 8), (4, 4), (4, 4)]] * 2


def test_a_grid_that_the_net_leaves_nothing_of_is_refused():
    with pytest.raises(ValueError, match=r"config.model.adaptive_pool is 1, but .* at least 2"):
        make_model(net_with_grid(1), rank=2)
    config = net_with_grid(4)
    config.model.adaptive_pool_after = 3
    with pytest.raises(ValueError, match=r"config.model.adaptive_pool_after is 3, but the net has 2 convolutions"):
        validate(config)


def test_blocks_that_become_one_behind_the_grid_give_the_same(float64):
    """Predictions and maps of every block, gradients and statistics."""
    config = Config(model=FCN(channels=(4, 6, 5), kernel=(3,), adaptive_pool=6, head="pyramid"))
    rng, blocks = np.random.default_rng(0), []
    for rows, canvas in ((3, (12, 16)), (2, (20, 9)), (4, (16, 16))):
        block = filler_block(rows, canvas, 1)
        block.image[:] = rng.integers(0, 256, block.image.shape)
        block.size[:-1] = rng.integers(8, 1 + np.array(canvas), (rows - 1, 2))  # The last row is filler.
        block.weight[:-1], block.label[:] = 1, rng.integers(0, 10, rows)
        blocks.append(block)
    found = {}
    for joins in (False, True):
        model = make_model(config, rank=2, dtype=jnp.float64)
        model.net.joins_blocks = joins
        graphdef, params, stats = split_model(model)
        predictions = jax.jit(lambda g=graphdef, p=params, s=stats: nnx.merge(g, p, s)(tuple(blocks), training=False))()
        gradient = jax.jit(jax.grad(make_loss(graphdef, TrainConfig()), has_aux=True))
        text = gradient.lower(params, stats, tuple(blocks)).as_text()
        found[joins] = predictions, gradient(params, stats, tuple(blocks)), text.count("dot_general")
        assert [len(one.logits) for one in predictions] == [3, 2, 4]
    assert found[True][2] < found[False][2]
    for one, other in zip(jax.tree.leaves(found[True][:2]), jax.tree.leaves(found[False][:2]), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
