"""Several labels, shares and weights of examples keep the laws: padding, filler and blocks change nothing."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.core.block import Block
from fcn_jax.core.layers import Map
from fcn_jax.core.losses import plain_loss
from fcn_jax.core.mixing import Mix
from fcn_jax.core.net import Prediction
from fcn_jax.core.step import make_evaluate_step, make_loss, make_scoring_step, split_model, sums_of
from fcn_jax.nets.model import make_model
from tests.core.test_mixing import block_of

CLASSES = 10
ROWS = (2, 0, 1, 4, 3)


def labelled(rows, canvas, labels: str, *, weights: np.ndarray | None) -> Block:
    """A block whose labels and weights depend on the example alone."""
    rng, block = np.random.default_rng(2), block_of(rows, canvas)
    targets = rng.integers(0, 2, (5, CLASSES)).astype(np.float64)
    targets = targets / targets.sum(1, keepdims=True) if labels == "shares" else targets
    is_example = block.index >= 0
    label = np.where(is_example[:, None], targets[block.index], 0)
    loss_weight = None if weights is None else np.where(is_example, weights[block.index], 0.0)
    return dataclasses.replace(block, label=label, loss_weight=loss_weight)


@cache
def net(norm: str):
    config = get_config("tiny")
    config.model.norm, config.model.channels, config.model.group_size = norm, (4, 4), 2
    return config.train, *split_model(make_model(config, rank=2, dtype=jnp.float64))


def gradients(blocks, labels: str, *, norm: str = "batch", step: int | None = 7, **ways):
    train, graphdef, params, stats = net(norm)
    loss = make_loss(graphdef, dataclasses.replace(train, **ways), labels=labels)
    gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return jax.device_get(gradient(params, stats, blocks, None if step is None else jnp.asarray(step, jnp.int32)))


def assert_same(one, other) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


WEIGHTS = np.array([0.5, 0.0, 2.0, 1.0, 0.25])


@pytest.mark.parametrize("labels", ["several", "shares"])
def test_labels_and_weights_are_the_same_on_any_canvas_beside_any_filler(float64, labels):
    del float64
    ways = {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1, "focal": 1.0}
    found = [
        gradients((labelled(rows, canvas, labels, weights=WEIGHTS),), labels, **ways)
        for rows, canvas in ((ROWS, (13, 13)), ((-1, 2, 0, -1, -1, 1, 4, 3, -1), (17, 24)))
    ]
    assert_same(*found)


def test_a_weight_is_how_often_an_example_counts(float64):
    del float64
    weights = np.array([2.0, 0.0, 1.0, 0.0, 3.0])
    whole = labelled(ROWS, (13, 13), "several", weights=weights)
    repeated = labelled((2, 0, 0, 4, 4, 4), (13, 13), "several", weights=None)
    one, other = (gradients((block,), "several", norm="group", step=None) for block in (whole, repeated))
    assert_same((one[0][0], one[1]), (other[0][0], other[1]))
    assert one[0][1][0].weight == 5
    assert one[0][1][0].loss_weight == 6


def test_a_weight_changes_neither_the_statistics_nor_the_accuracy(float64):
    del float64
    weighted, plain = (
        gradients((labelled(ROWS, (13, 13), "shares", weights=weights),), "shares", step=None)
        for weights in (WEIGHTS, None)
    )
    (loss, (sums, stats)), _ = weighted
    assert_same(stats, plain[0][1][1])
    assert (sums.correct, sums.weight) == (plain[0][1][0].correct, 5)
    assert abs(loss - plain[0][0]) > 1e-3
    assert loss == pytest.approx(sums.loss / WEIGHTS.sum())


def test_a_mixed_label_weighs_as_its_example(float64):
    del float64
    logits = jnp.asarray(np.random.default_rng(3).normal(size=(2, CLASSES)))
    block = labelled((0, 2), (13, 13), "several", weights=WEIGHTS)
    nothing = jnp.zeros((2, 2), jnp.int32)
    mix = Mix(jnp.asarray([1, 0]), block.size, jnp.ones(2), nothing, nothing, jnp.asarray([0.25, 1.0]))
    prediction = Prediction(logits, Map(logits[:, None, None], jnp.asarray(block.size)))
    sums = sums_of((prediction,), (block,), labels="several", loss_of=plain_loss("several"), mixes=(mix,))
    own, other = (np.asarray(plain_loss("several")(logits, label)) for label in (block.label, block.label[::-1]))
    assert float(sums.loss) == pytest.approx(0.25 * 0.5 * own[0] + 0.75 * 2 * other[0] + 2 * own[1], rel=1e-12)
    assert float(sums.loss_weight) == pytest.approx(0.25 * 0.5 + 0.75 * 2 + 2)
    assert sums.weight == 2


def test_both_blocks_of_a_step_share_the_sum_of_the_weights(float64):
    del float64
    parts = tuple(labelled(rows, (13, 13), "several", weights=WEIGHTS) for rows in ((2, 0, 1), (4, 3)))
    whole = labelled(ROWS, (13, 13), "several", weights=WEIGHTS)
    assert_same(gradients(parts, "several", step=None), gradients((whole,), "several", step=None))


def test_weights_of_zero_alone_leave_everything_finite(float64):
    del float64
    block = labelled(ROWS, (13, 13), "several", weights=np.zeros(5))
    (loss, (sums, _)), grads = gradients((block,), "several", step=None)
    assert (loss, sums.weight, sums.loss_weight) == (0, 5, 0)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(grads))
    assert sums.means()["loss"] == 0


def test_the_scoring_step_gives_the_sums_and_the_logits(float64):
    del float64
    _, graphdef, params, stats = net("batch")
    block = labelled((2, -1, 1), (13, 13), "several", weights=None)
    sums, example, logits = jax.jit(make_scoring_step(graphdef, "several"))(params, stats, (block,))
    assert_same(sums, jax.jit(make_evaluate_step(graphdef, "several"))(params, stats, (block,)))
    assert example.tolist() == [2, -1, 1]
    assert logits.shape == (3, CLASSES)
    assert sums.correct == sum(((logits > 0) == (block.label > 0.5)).all(1) & (example >= 0))


def test_sums_of_one_label_weigh_each_example_once(float64):
    del float64
    _, graphdef, params, stats = net("batch")
    sums = jax.jit(make_evaluate_step(graphdef))(params, stats, (block_of((2, -1, 1), (13, 13)),))
    assert sums.weight == sums.loss_weight == 2
    assert sums_of((), ()).means() == {"loss": 0, "accuracy": 0}
