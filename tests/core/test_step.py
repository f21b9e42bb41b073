"""The update: blocks are one batch, filler is nothing, the loss is what it is called."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from configs.mnist import get_config
from fcn_jax.config import Config, TrainConfig
from fcn_jax.core.block import Block, filler_block
from fcn_jax.core.layers import Map
from fcn_jax.core.losses import training_loss
from fcn_jax.core.net import Prediction
from fcn_jax.core.step import (
    ZERO,
    Variables,
    initial_state,
    make_evaluate_step,
    make_loss,
    make_train_step,
    split_model,
    sums_of,
)
from fcn_jax.nets.families import FCN, ConvNeXt, ResNet
from fcn_jax.nets.model import make_model
from fcn_jax.train.optimizer import learning_rate_schedule, make_optimizer
from fcn_jax.train.setup import balanced_weights


def blocks_of(sizes, canvas, *, rng) -> Block:
    block = filler_block(len(sizes), canvas, 1)
    block.image[:] = rng.integers(0, 256, block.image.shape)
    block.size[:] = sizes
    block.label[:] = rng.integers(0, 10, len(sizes))
    block.weight[:] = 1
    return block


def joined(*blocks: Block) -> Block:
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *blocks)


@pytest.fixture
def tiny(float64):
    del float64
    config = get_config("tiny")
    config.model.norm = "batch"
    graphdef, params, stats = split_model(make_model(config, rank=2, dtype=jnp.float64))
    return config, graphdef, params, stats


def updated(tiny, blocks, **changes):
    config, graphdef, params, stats = tiny
    config = dataclasses.replace(config.train, **changes)
    warmup_steps = round(10 * config.warmup_epochs)
    optimizer = make_optimizer(config, warmup_steps=warmup_steps, total_steps=10 * config.epochs)
    state = initial_state(params, stats, optimizer, average=config.ema_decay > 0)
    step = make_train_step(graphdef, optimizer, config, mean_examples=4.0)
    return jax.jit(step)(state, blocks)


def assert_close(one, other, tolerance=1e-10):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


def gradients(tiny, blocks):
    _, graphdef, params, stats = tiny
    return jax.jit(jax.grad(make_loss(graphdef, TrainConfig(label_smoothing=0.1)), has_aux=True))(params, stats, blocks)


def test_two_blocks_are_one_batch(tiny):
    rng = np.random.default_rng(0)
    first, second = blocks_of([(12, 9), (10, 14)], (14, 14), rng=rng), blocks_of([(9, 9)], (14, 14), rng=rng)
    assert_close(gradients(tiny, (first, second)), gradients(tiny, (joined(first, second),)))


def test_filler_changes_nothing(tiny):
    rng = np.random.default_rng(1)
    block = blocks_of([(12, 9), (10, 14)], (14, 14), rng=rng)
    filler = filler_block(3, (14, 14), 1)
    filler.image[:] = 200
    assert_close(gradients(tiny, (block,)), gradients(tiny, (joined(block, filler),)))
    assert_close(gradients(tiny, (block,)), gradients(tiny, (block, filler)))


def test_a_step_of_filler_alone_leaves_everything_finite(tiny):
    state, sums = updated(tiny, (filler_block(2, (14, 14), 1),))
    assert sums.weight == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_label_smoothing_is_cross_entropy_with_smoothed_labels(float64):
    del float64
    rng = np.random.default_rng(2)
    logits, block = jnp.asarray(rng.normal(size=(5, 10))), blocks_of([(9, 9)] * 5, (9, 9), rng=rng)
    prediction = Prediction(logits, Map(logits[:, None, None], jnp.asarray(block.size)))
    sums = sums_of((prediction,), (block,), loss_of=training_loss(TrainConfig(label_smoothing=0.1)))
    smoothed = optax.smooth_labels(jax.nn.one_hot(block.label, 10, dtype=jnp.float64), 0.1)
    np.testing.assert_allclose(sums.loss, optax.softmax_cross_entropy(logits, smoothed).sum(), atol=1e-12)
    assert sums.correct == (logits.argmax(-1) == block.label).sum()


def test_sums_of_parts_add_up_to_the_whole(tiny):
    _, graphdef, params, stats = tiny
    rng = np.random.default_rng(3)
    one, two = blocks_of([(12, 9)] * 3, (14, 14), rng=rng), blocks_of([(9, 9)] * 2, (14, 14), rng=rng)
    evaluate = jax.jit(make_evaluate_step(graphdef))
    parts = sum((evaluate(params, stats, (block,)) for block in (one, two)), start=ZERO)
    assert_close(parts, evaluate(params, stats, (one, two)))
    assert parts.weight == 5


def test_biases_and_scales_do_not_decay(tiny):
    block = (filler_block(2, (14, 14), 1),)
    state, _ = updated(tiny, block, weight_decay=0.5, warmup_epochs=0.0, learning_rate=0.1)
    before = jax.tree.leaves_with_path(tiny[2])
    after = jax.tree.leaves(state.params)
    for (path, old), new in zip(before, after, strict=True):
        if old.ndim > 1:
            np.testing.assert_allclose(new, old * (1 - 0.1 * 0.5), atol=1e-12, err_msg=str(path))
        else:
            np.testing.assert_array_equal(new, old, err_msg=str(path))


def test_the_average_follows_the_weights_and_the_statistics(tiny):
    block = blocks_of([(12, 9)] * 4, (14, 14), rng=np.random.default_rng(4))
    state, _ = updated(tiny, (block,), ema_decay=0.9, warmup_epochs=0.0)
    before, after = Variables(*tiny[2:]), Variables(state.params, state.stats)
    expected = jax.tree.map(lambda old, new: 0.1 * old + 0.9 * new, before, after)
    assert_close(state.average.params, expected.params)
    assert_close(state.average.stats, expected.stats, tolerance=1e-7)  # Statistics have 32 bits.
    for old, new in zip(jax.tree.leaves(before.stats), jax.tree.leaves(after.stats), strict=True):
        assert not np.array_equal(old, new)
    assert state.evaluated is state.average


def test_the_learning_rate_warms_up_and_ends_at_zero():
    config = get_config().train
    rate = learning_rate_schedule(
        config, warmup_steps=round(100 * config.warmup_epochs), total_steps=100 * config.epochs
    )
    assert rate(0) == 0
    assert rate(round(100 * config.warmup_epochs)) == pytest.approx(config.learning_rate)
    assert rate(config.epochs * 100) == pytest.approx(0, abs=1e-9)


def test_an_example_weighs_the_same_in_every_step_where_the_mean_is_of_the_epoch(tiny):
    _, graphdef, params, stats = tiny
    few, many = (blocks_of([(12, 9)] * n, (14, 14), rng=np.random.default_rng(n)) for n in (2, 6))
    for block, number in ((few, 2), (many, 6)):
        mean, epoch = (
            jax.jit(jax.grad(make_loss(graphdef, TrainConfig(), mean_examples=m), has_aux=True))(
                params, stats, (block,)
            )
            for m in (None, 4.0)
        )
        assert_close(jax.tree.map(lambda g, n=number: g * n / 4, mean[0]), epoch[0])


@pytest.mark.parametrize(("scaling", "factor"), [("none", 1.0), ("sqrt", 0.5**0.5), ("linear", 0.5)])
def test_the_learning_rate_scales_with_the_examples_of_the_step(tiny, scaling, factor):
    block = (blocks_of([(12, 9)] * 2, (14, 14), rng=np.random.default_rng(4)),)
    plain, _ = updated(tiny, block, warmup_epochs=0.0)
    scaled, _ = updated(tiny, block, warmup_epochs=0.0, rate_scaling=scaling)
    expected = jax.tree.map(lambda old, new: old + factor * (new - old), tiny[2], plain.params)
    assert_close(scaled.params, expected)


def test_the_mean_of_the_epoch_reaches_the_update(tiny):
    block = (blocks_of([(12, 9)] * 2, (14, 14), rng=np.random.default_rng(4)),)
    plain_sgd = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "warmup_epochs": 0.0}
    step, epoch = (updated(tiny, block, loss_mean=mean, **plain_sgd)[0].params for mean in ("step", "epoch"))
    assert_close(epoch, jax.tree.map(lambda old, new: old + (new - old) * 2 / 4, tiny[2], step))


NETS = {
    "fcn": FCN(channels=(4, 4, 4)),
    "resnet": ResNet(channels=(4, 8), blocks=(1, 1)),
    "convnext": ConvNeXt(channels=(4, 8), blocks=(1, 1)),
}


@pytest.mark.parametrize("net", ["fcn", "resnet", pytest.param("convnext", marks=pytest.mark.full)])
def test_what_is_computed_again_is_the_same(net, float64):
    """Loss, gradients and statistics, though fewer values are kept between the two passes."""
    config = Config(model=NETS[net])
    graphdef, params, stats = split_model(make_model(config, rank=2, dtype=jnp.float64))
    block = blocks_of([(40, 64), (52, 33)], (64, 64), rng=np.random.default_rng(0))
    gradients, kept = {}, {}
    for remat in (False, True):
        loss = make_loss(graphdef, TrainConfig(remat=remat, label_smoothing=0.1))
        gradients[remat] = jax.jit(jax.grad(loss, has_aux=True))(params, stats, (block,))
        _, pullback, _ = jax.vjp(lambda p, loss=loss: loss(p, stats, (block,)), params, has_aux=True)
        kept[remat] = sum(leaf.nbytes for leaf in jax.tree.leaves(pullback))
    assert_close(gradients[False], gradients[True], 1e-12)
    assert kept[True] < 0.6 * kept[False]


LOGITS, LABELS = jnp.asarray([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0], [0.0, 0.0, 40.0]]), jnp.asarray([0, 2, 2])


def test_the_focal_loss_weighs_by_what_is_missing_to_certainty():
    probability = jax.nn.softmax(LOGITS)[jnp.arange(3), LABELS]
    found = training_loss(TrainConfig(focal=2.0))(LOGITS, LABELS)
    np.testing.assert_allclose(found, -((1 - probability) ** 2) * jnp.log(probability), rtol=1e-5, atol=1e-12)
    for gamma in (0.5, 1.0, 2.0):
        gradient = jax.grad(lambda x, g=gamma: training_loss(TrainConfig(focal=g))(x, LABELS).sum())(LOGITS)
        assert np.isfinite(gradient).all()


def test_classes_weigh_as_the_config_says():
    plain = training_loss(TrainConfig(label_smoothing=0.1))(LOGITS, LABELS)
    weighted = training_loss(TrainConfig(label_smoothing=0.1, class_weights=(0.5, 1.0, 3.0)))(LOGITS, LABELS)
    np.testing.assert_allclose(weighted, plain * jnp.asarray([0.5, 3.0, 3.0]), rtol=1e-6)


def test_balanced_weights_give_every_class_the_same_sum():
    labels = np.repeat([0, 1, 3], [10, 30, 20])
    weights = balanced_weights(labels, 4)
    sums = np.bincount(labels, weights=np.asarray(weights)[labels])
    np.testing.assert_allclose(sums[[0, 1, 3]], 20)
    assert np.asarray(weights)[labels].mean() == pytest.approx(1)
