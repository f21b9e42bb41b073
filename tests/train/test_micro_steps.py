"""An update in micro-steps is the update of the whole step; BatchNorm alone sees the difference."""

import dataclasses
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from configs.mnist import get_config
from fcn_jax.config import TrainConfig
from fcn_jax.core.block import Block, filler_block
from fcn_jax.core.step import initial_state, make_loss, make_train_step, split_model
from fcn_jax.core.step_plan import BlockShape, Program, StepPlan, in_micro_steps
from fcn_jax.nets.model import make_model
from fcn_jax.train.micro_steps import in_turn, make_add_gradients, make_apply_gradients, make_no_gradients
from fcn_jax.train.optimizer import make_optimizer
from tests.commands.compare_devices import remembering

CANVASES = ((9, 12), (16, 10))
WAYS = {
    "plain": {},
    "smooth": {"label_smoothing": 0.1, "ema_decay": 0.9, "rate_scaling": "sqrt"},
    "epoch": {"loss_mean": "epoch", "optimizer": "sgd"},
    "several": {"label_smoothing": 0.1, "focal": 1.0},
}
"""Fields of `config.train` that shape the update; in the last, examples have several labels, and weights."""


class Functions(NamedTuple):
    """The functions of one net and one way of training."""

    graphdef: Any
    state: Any
    whole: Any
    begin: Any
    micro_step: Any
    end: Any


@cache
def functions(norm: str, way: str) -> Functions:
    config = get_config("tiny")
    config.model.channels, config.model.group_size, config.model.norm = (4, 4), 2, norm
    train = dataclasses.replace(config.train, learning_rate=0.1, warmup_epochs=0.0, **WAYS[way])
    graphdef, params, stats = split_model(make_model(config, rank=2, dtype=jnp.float64))
    optimizer = remembering(make_optimizer(train, warmup_steps=0, total_steps=100))
    labels = "several" if way == "several" else "one"
    add_gradients = make_add_gradients(graphdef, train, labels=labels)
    return Functions(
        graphdef,
        initial_state(params, stats, optimizer, average=train.ema_decay > 0),
        jax.jit(make_train_step(graphdef, optimizer, train, labels=labels, mean_examples=7.0)),
        jax.jit(make_no_gradients()),
        jax.jit(add_gradients, donate_argnums=2),
        jax.jit(make_apply_gradients(optimizer, train, mean_examples=7.0)),
    )


def random_block(rows: int, canvas: tuple[int, int], rng: np.random.Generator, *, several: bool = False) -> Block:
    """A block in which about a third of the rows is filler; the weights are any numbers."""
    block = filler_block(rows, canvas, 1)
    examples = np.flatnonzero(rng.random(rows) < 0.7)
    weight = np.zeros(rows)
    weight[examples] = rng.uniform(0.1, 2, len(examples))
    block.size[examples] = rng.integers(8, np.add(canvas, 1), (len(examples), 2))
    block.label[examples] = rng.integers(0, 10, len(examples))
    block.image[examples] = rng.integers(0, 256, block.image[examples].shape)
    if several:
        label = np.where(weight[:, None] > 0, rng.integers(0, 2, (rows, 10)), 0).astype(np.float32)
        return dataclasses.replace(block, label=label, weight=(weight > 0) * 1.0, loss_weight=weight)
    return dataclasses.replace(block, weight=weight)


def assert_same(expected, found, *, tolerance: float = 1e-10) -> None:
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(b, a, rtol=tolerance, atol=tolerance)


@st.composite
def steps(draw) -> tuple[tuple[BlockShape, ...], list[int]]:
    """The blocks of a step, and a unit of rows for each bucket."""
    buckets = draw(st.lists(st.integers(0, len(CANVASES) - 1), min_size=1, max_size=2, unique=True))
    blocks = tuple(BlockShape(bucket, draw(st.integers(1, 6))) for bucket in buckets)
    return blocks, [draw(st.integers(1, 3)) for _ in CANVASES]


TWO_BLOCKS = ((BlockShape(0, 5), BlockShape(1, 3)), [2, 3])


@pytest.mark.parametrize("norm", ["group", pytest.param("layer", marks=pytest.mark.full), "none"])
@settings(max_examples=4)
@given(
    step=steps(),
    accumulate=st.integers(1, 5),
    by_bucket=st.booleans(),
    way=st.sampled_from([*WAYS]),
    seed=st.integers(0, 99),
)
@example(step=TWO_BLOCKS, accumulate=3, by_bucket=False, way="smooth", seed=0)
@example(step=TWO_BLOCKS, accumulate=1, by_bucket=True, way="epoch", seed=1)
@example(step=TWO_BLOCKS, accumulate=2, by_bucket=True, way="several", seed=2)
def test_micro_steps_are_the_whole_step(norm, step, accumulate, by_bucket, way, seed):
    blocks, units = step
    whole = StepPlan((Program(blocks, 1),), len(CANVASES))
    in_parts = in_micro_steps(whole, accumulate=accumulate, units=np.array(units) if by_bucket else None)
    (program,) = in_parts.programs
    rng = np.random.default_rng(seed)
    with jax.enable_x64(True):
        net = functions(norm, way)
        update = in_turn(net.begin, [net.micro_step] * program.micro_steps, net.end)
        one = several = net.state
        for _ in range(3):
            parts = tuple(
                random_block(block.rows, CANVASES[block.bucket], rng, several=way == "several")
                for block in program.blocks
            )
            one, expected = net.whole(one, joined(program, parts))
            several, found = update(several, parts)
            assert_same((one, expected), (several, found))
    assert several.step == 3


def joined(program: Program, parts: tuple[Block, ...]) -> tuple[Block, ...]:
    """The same examples in one block a bucket."""
    buckets = [block.bucket for block in program.blocks]
    return tuple(
        jax.tree.map(
            lambda *leaves: np.concatenate(leaves),
            *(part for part, other in zip(parts, buckets, strict=True) if other == bucket),
        )
        for bucket in dict.fromkeys(buckets)
    )


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_micro_step_of_filler_adds_nothing(float64, norm):
    del float64
    net, block = functions(norm, "smooth"), random_block(4, CANVASES[0], np.random.default_rng(0))
    params, stats = net.state.params, net.state.stats
    added, stats = net.micro_step(params, stats, net.begin(params), net.state.step, (block,))
    before = jax.device_get((added, stats))
    for old, new in zip(
        jax.tree.leaves(before),
        jax.tree.leaves(net.micro_step(params, stats, added, net.state.step, (filler_block(4, CANVASES[0], 1),))),
        strict=True,
    ):
        np.testing.assert_array_equal(new, old)


def test_a_step_of_filler_alone_leaves_everything_finite(float64):
    del float64
    net = functions("group", "smooth")
    state, sums = in_turn(net.begin, [net.micro_step] * 2, net.end)(net.state, (filler_block(2, CANVASES[0], 1),) * 2)
    assert sums.weight == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))


def test_every_micro_step_updates_the_statistics_of_batch_norm(float64):
    del float64
    net, rng = functions("batch", "plain"), np.random.default_rng(1)
    parts = tuple(random_block(6, CANVASES[0], rng) for _ in range(2))
    state, _ = in_turn(net.begin, [net.micro_step] * 2, net.end)(net.state, parts)
    stats, loss = net.state.stats, jax.jit(make_loss(net.graphdef, TrainConfig()))
    for part in parts:
        _, (_, stats) = loss(net.state.params, stats, (part,))
    assert_same(stats, state.stats)
    whole, _ = net.whole(net.state, parts)
    assert_same(whole, in_turn(net.begin, [net.micro_step], net.end)(net.state, parts)[0])
    assert max(np.abs(a - b).max() for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(state), strict=True)) > 1e-3
