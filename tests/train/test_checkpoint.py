"""A checkpoint holds parameters that another order of the head reads as well."""

import jax
import numpy as np
import pytest

from configs.mnist import get_config
from fcn_jax.models.model import make_model
from fcn_jax.train.checkpoint import Checkpoints
from fcn_jax.train.optimizer import make_optimizer
from fcn_jax.train.state import TrainState, initial_state, split_model
from fcn_jax.train.step import make_evaluate_step
from fcn_jax.types import Block, filler_block


def graphdef_and_state(head: str, *, seed: int) -> tuple[object, TrainState]:
    config = get_config("tiny")
    config.model.head, config.seed = head, seed
    graphdef, params, stats = split_model(make_model(config, rank=2))
    optimizer = make_optimizer(config.train, warmup_steps=1, total_steps=2)
    return graphdef, initial_state(params, stats, optimizer, average=True)


def make_block() -> Block:
    rng, block = np.random.default_rng(0), filler_block(3, (28, 20), 1)
    block.image[:] = rng.integers(0, 256, block.image.shape)
    block.size[:] = [(28, 16), (0, 0), (9, 20)]
    block.weight[:], block.label[:] = [1, 0, 1], [3, 0, 7]
    return block


@pytest.mark.parametrize(("saved", "loaded"), [("average_last", "average_first"), ("average_first", "average_last")])
def test_a_checkpoint_of_one_head_order_gives_the_same_with_the_other(tmp_path, saved, loaded):
    graphdef, state = graphdef_and_state(saved, seed=0)
    rng = np.random.default_rng(1)
    stats = jax.tree.map(lambda leaf: leaf + rng.uniform(0, 0.3, leaf.shape).astype(leaf.dtype), state.stats)
    state = state._replace(stats=stats)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(0, state, {})
    other_graphdef, target = graphdef_and_state(loaded, seed=1)
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        restored, _ = checkpoints.restore(0, target)
    expected, found = (
        jax.jit(make_evaluate_step(g))(s.evaluated_params, s.stats, (make_block(),))
        for g, s in ((graphdef, state), (other_graphdef, restored))
    )
    assert expected.weight == 2
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-6)
    untouched = jax.jit(make_evaluate_step(other_graphdef))(target.params, target.stats, (make_block(),))
    assert abs(untouched.loss - expected.loss) > 1e-2
