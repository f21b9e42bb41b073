"""Mixup and CutMix under masks: values, sizes and labels as the papers say, and the same on any canvas."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.mnist import get_config
from fcn_jax.core.block import Block
from fcn_jax.core.layers import Map
from fcn_jax.core.mixing import Mix, draw_mixes
from fcn_jax.core.net import Net
from fcn_jax.core.step import make_loss, split_model, sums_of
from fcn_jax.nets.model import make_model
from tests.core.padding import make_block, make_images

SIZES = [(9, 8), (12, 10), (8, 13), (10, 10), (11, 8)]
WAYS = {
    "mixup": {"mixup": 0.8},
    "cutmix": {"cutmix": 1.0},
    "both": {"mixup": 0.8, "cutmix": 1.0},
    "both, smooth": {"mixup": 0.3, "cutmix": 0.5, "label_smoothing": 0.1},
}


def block_of(rows, canvas, *, sizes=SIZES) -> Block:
    images = make_images(sizes, 1, np.random.default_rng(0))
    block = make_block(images, rows, canvas, np.random.default_rng(1))
    return dataclasses.replace(block, weight=(block.index >= 0).astype(np.float64))


def mixed(rows, *, key: int = 0, canvas=(13, 13), sizes=SIZES, **ways) -> tuple[Mix, Block]:
    block = block_of(rows, canvas, sizes=sizes)
    (mix,) = draw_mixes(jax.random.key(key), (block,), **{"mixup": 0.0, "cutmix": 0.0, **ways})
    return jax.tree.map(np.asarray, mix), block


def true_parts(block: Block) -> np.ndarray:
    """The values of a block, 0 outside of every true size."""
    x = np.zeros(block.image.shape)
    for row, size in enumerate(block.size):
        inside = (row, *map(slice, size))
        x[inside] = block.image[inside]
    return x


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_pair_gives_the_same_loss_and_gradients_on_any_canvas_beside_any_filler(float64, way, norm):
    del float64
    config = get_config("tiny")
    config.model.norm, config.model.channels, config.model.group_size = norm, (4, 4), 2
    graphdef, params, stats = split_model(make_model(config, rank=2, dtype=jnp.float64))
    loss = make_loss(graphdef, dataclasses.replace(config.train, **{"label_smoothing": 0.0, **WAYS[way]}))
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    found = [
        jax.device_get(gradient(params, stats, (block_of(rows, canvas),), jnp.asarray(7, jnp.int32)))
        for rows, canvas in (((2, 0, 1, 4, 3), (13, 13)), ((-1, 2, 0, -1, -1, 1, 4, 3, -1), (17, 24)))
    ]
    for one, other in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-10)
    plain = jax.device_get(gradient(params, stats, (block_of((2, 0, 1, 4, 3), (13, 13)),), None))
    assert abs(plain[0][0] - found[0][0][0]) > 1e-3  # Something was mixed.


def test_mixup_blends_two_examples_on_the_union_of_their_sizes():
    mix, block = mixed((0, 1, 2, -1), mixup=0.8)
    x, keeps = true_parts(block), mix.keeps
    assert list(mix.partner[:3]) == [1, 2, 0]
    np.testing.assert_array_equal(mix.size[:3], [(12, 10), (12, 13), (9, 13)])
    y = np.asarray(Mix(*map(jnp.asarray, mix)).apply(Map(jnp.asarray(x), jnp.asarray(block.size))).x)
    for row, other in enumerate((1, 2, 0)):
        np.testing.assert_allclose(y[row], keeps[row] * x[row] + (1 - keeps[row]) * x[other], rtol=1e-5, atol=1e-4)
        own, others = keeps[row] * np.prod(SIZES[row]), (1 - keeps[row]) * np.prod(SIZES[other])
        assert mix.share[row] == pytest.approx(own / (own + others), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**20))
def test_the_box_of_cutmix_lies_inside_both_and_labels_weigh_as_its_area(key):
    mix, block = mixed((0, 1, 2, 3, 4), key=key, cutmix=1.0)
    x, sides = true_parts(block), mix.stop - mix.start
    np.testing.assert_array_equal(mix.size, block.size)
    assert (mix.keeps == 1).all()
    assert (mix.start >= 0).all()
    assert (mix.stop <= np.minimum(block.size, block.size[mix.partner])).all()
    np.testing.assert_allclose(mix.share, 1 - sides.prod(1) / block.size.prod(1), rtol=1e-5, atol=1e-6)
    y = np.asarray(Mix(*map(jnp.asarray, mix)).apply(Map(jnp.asarray(x), jnp.asarray(block.size))).x)
    for row, other in enumerate(mix.partner):
        box = tuple(map(slice, mix.start[row], mix.stop[row]))
        expected = x[row].copy()
        expected[box] = x[other][box]
        np.testing.assert_array_equal(y[row], expected)


def test_shares_follow_their_distributions_and_either_way_is_drawn():
    size = [(16, 16)] * 600
    rows = tuple(range(600))
    for ways in ({"mixup": 0.4}, {"cutmix": 0.4}):
        share = mixed(rows, canvas=(16, 16), sizes=size, **ways)[0].share
        assert share.mean() == pytest.approx(0.5, abs=0.05)
        assert share.std() == pytest.approx((0.25 / 1.8) ** 0.5, abs=0.04)  # Of Beta(0.4, 0.4).
    both = mixed(rows, canvas=(16, 16), sizes=size, mixup=0.4, cutmix=0.4)[0]
    assert (both.keeps < 1).mean() == pytest.approx(0.5, abs=0.07)


def test_filler_stays_filler_and_an_example_alone_stays_itself():
    mix, block = mixed((-1, 2, -1), mixup=0.8, cutmix=1.0)
    assert (mix.size[[0, 2]] == 0).all()
    assert mix.partner[1] == 1
    np.testing.assert_array_equal(mix.size[1], block.size[1])
    x = true_parts(block)
    y = Mix(*map(jnp.asarray, mix)).apply(Map(jnp.asarray(x), jnp.asarray(block.size)))
    np.testing.assert_allclose(y.x, x, rtol=1e-5)
    nothing, _ = mixed((-1, -1), mixup=0.8)
    assert np.isfinite(nothing.share).all()
    assert (nothing.size == 0).all()


def test_signals_are_mixed_too():
    images = make_images([(9,), (14,)], 1, np.random.default_rng(0))
    block = make_block(images, (0, 1), (15,), np.random.default_rng(1))
    (mix,) = draw_mixes(jax.random.key(1), (block,), mixup=0.0, cutmix=1.0)
    sides = np.asarray(mix.stop - mix.start)[:, 0]
    assert (np.asarray(mix.stop)[:, 0] <= 9).all()
    np.testing.assert_allclose(mix.share, 1 - sides / np.array([9, 14]), rtol=1e-5)


def test_both_labels_count_by_their_shares():
    block = block_of((0, 1), (13, 13))
    mix = Mix(*(jnp.asarray(value) for value in ([1, 0], block.size, [1, 1], [[0, 0]] * 2, [[0, 0]] * 2, [0.25, 1.0])))
    config = get_config("tiny")
    model = make_model(config, rank=2)
    predictions = model((block,), training=False)
    logits = np.asarray(jax.nn.log_softmax(predictions[0].logits))
    own, other = -logits[[0, 1], block.label], -logits[[0, 1], block.label[::-1]]
    sums = sums_of(predictions, (block,), mixes=(mix,))
    assert float(sums.loss) == pytest.approx(0.25 * own[0] + 0.75 * other[0] + own[1], rel=1e-5)


def test_a_net_without_masks_still_sees_the_whole_canvas(monkeypatch):
    config, seen, call = get_config("tiny"), [], Net.__call__

    def watched(self, maps, *, training):
        seen.extend(maps)
        return call(self, maps, training=training)

    monkeypatch.setattr(Net, "__call__", watched)
    config.model.masked = False
    block = block_of((0, 1, -1), (13, 14))
    mixes = draw_mixes(jax.random.key(0), (block,), mixup=0.8, cutmix=0.0)
    make_model(config, rank=2)((block,), training=True, mixes=mixes)
    assert seen[0].size.tolist() == [[13, 14], [13, 14], [0, 0]]
