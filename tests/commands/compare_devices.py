"""The same steps on one device and on all devices of all processes; run by itself, of one process.

Prints one JSON line: whether the blocks hold the same examples, and the largest differences.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
import optax

from configs.mnist import get_config
from fcn_jax.config import Config
from fcn_jax.core.block import Block
from fcn_jax.core.step import initial_state, make_train_step, replicate, split_model
from fcn_jax.nets.model import make_model
from fcn_jax.system.processes import is_first
from fcn_jax.train.setup import prepare

STEPS = {"float32": 20, "float64": 50}


def remembering(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, with the last gradients in its state."""

    def update(grads, state, params):
        updates, inner = optimizer.update(grads, state[1], params)
        return updates, (grads, inner)

    return optax.GradientTransformation(lambda params: (params, optimizer.init(params)), update)


class Run:
    """Steps of a config on some devices."""

    def __init__(self, config: Config, devices: list[jax.Device], dtype: str, *, steps: int):
        setup = prepare(config, devices=devices)
        self.place = setup.state.step.sharding
        graphdef, params, stats = split_model(make_model(config, rank=2, dtype=dtype))
        optimizer = remembering(setup.optimizer)
        state = initial_state(params, stats, optimizer, average=False)
        as_dtype = jax.tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, jax.device_get(state))
        self.state = replicate(as_dtype, self.place)
        update = make_train_step(graphdef, optimizer, config.train, mean_examples=64.0)
        self._step = jax.jit(update, out_shardings=self.place)
        self.steps = setup.loader(setup.train).steps(0, steps)

    def step(self, blocks: tuple[Block, ...]) -> Any:
        """(loss, statistics, gradients) of an update."""
        self.state, sums = self._step(self.state, blocks)
        return jax.device_get((sums.loss / sums.weight, self.state.stats, self.state.opt_state[0]))


def largest_difference(one, other) -> float:
    return max(
        float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def same_rows(block: Block, whole: Block) -> bool:
    """Check whether the rows that this process has are those of a whole block; of other rows the losses tell."""
    return all(
        np.array_equal(piece.data, np.asarray(expected)[piece.index])
        for array, expected in zip(jax.tree.leaves(block), jax.tree.leaves(whole), strict=True)
        for piece in array.addressable_shards
    )


def compare(dtype: str, *, from_one_state: bool) -> dict[str, Any]:
    """The first process, with a device of its own, against all of them together; in float64 to be called under x64."""
    config, steps = get_config("tiny"), STEPS[dtype]
    config.model.channels = (4, 8, 8)
    config.train.learning_rate, config.train.epochs = 1e-2, 8
    alone = Run(config, jax.local_devices()[:1], dtype, steps=steps) if is_first() else None
    together = Run(config, jax.devices(), dtype, steps=steps)
    same, worst = True, 0.0
    for blocks in (step.blocks for step in together.steps):
        before = jax.device_get(together.state)
        found = together.step(blocks)
        assert jax.tree.leaves(together.state.params)[0].dtype == dtype
        if alone is None:
            continue
        own = next(alone.steps).blocks
        same &= all(same_rows(block, whole) for block, whole in zip(blocks, own, strict=True))
        if from_one_state:
            alone.state = replicate(before, alone.place)
        worst = max(worst, largest_difference(alone.step(own), found))
    if alone is not None and not from_one_state:
        worst = max(worst, largest_difference(alone.state.params, together.state.params))
    return {"same_examples": bool(same), "largest_difference": worst}


def compare_both() -> dict[str, Any]:
    """Compare every step from one state in float32, and all steps in a row in float64."""
    with jax.enable_x64(True):
        return {
            "float32": compare("float32", from_one_state=True),
            "float64": compare("float64", from_one_state=False),
        }


if __name__ == "__main__":
    assert len(jax.devices()) == 4, jax.devices()
    print(json.dumps(compare_both()))
    sys.exit(0)
