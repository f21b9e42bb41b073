"""The same steps on one device and on all devices of all processes; run by itself, of one process.

Prints one JSON line: whether the blocks hold the same examples, and the largest differences.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from configs.mnist import get_config
from fcn_jax.cluster import is_first
from fcn_jax.config import Config
from fcn_jax.models.model import make_model
from fcn_jax.train.setup import prepare
from fcn_jax.train.state import replicate, split_model
from fcn_jax.train.step import make_loss, make_train_step
from fcn_jax.types import Block

STEPS = {"float32": 20, "float64": 50}


class Run:
    """Steps of a config on some devices."""

    def __init__(self, config: Config, devices: list[jax.Device], dtype: str, *, steps: int):
        setup = prepare(config, devices=devices)
        self.place = setup.state.step.sharding
        as_dtype = jax.tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, jax.device_get(setup.state))
        self.state = replicate(as_dtype, self.place)
        graphdef, _, _ = split_model(make_model(config, rank=2, dtype=dtype))
        gradient = jax.value_and_grad(make_loss(graphdef, label_smoothing=0.1), has_aux=True)
        update = make_train_step(graphdef, setup.optimizer, config.train, mean_examples=64.0)

        def step(state, blocks):
            (loss, (_, stats)), grads = gradient(state.params, state.stats, blocks)
            return update(state, blocks)[0], (loss, stats, grads)

        self._step = jax.jit(step, out_shardings=self.place)
        self.steps = setup.loader(setup.train).steps(0, steps)

    def step(self, blocks: tuple[Block, ...]) -> Any:
        """(loss, statistics, gradients) of an update."""
        self.state, found = self._step(self.state, blocks)
        return jax.device_get(found)


def largest_difference(one, other) -> float:
    return max(
        float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def compare(dtype: str, *, from_one_state: bool) -> dict[str, Any]:
    """The first process, with a device of its own, against all of them together; in float64 to be called under x64."""
    config, steps = get_config("tiny"), STEPS[dtype]
    config.train.learning_rate, config.train.epochs = 1e-2, 8
    alone = Run(config, jax.local_devices()[:1], dtype, steps=steps) if is_first() else None
    together = Run(config, jax.devices(), dtype, steps=steps)
    same, worst = True, 0.0
    for blocks in (step.blocks for step in together.steps):
        whole = [process_allgather((block.index, block.image), tiled=True) for block in blocks]
        before = jax.device_get(together.state)
        found = together.step(blocks)
        assert jax.tree.leaves(together.state.params)[0].dtype == dtype
        if alone is None:
            continue
        own = next(alone.steps).blocks
        for (index, image), block in zip(whole, own, strict=True):
            same &= np.array_equal(index, block.index) and np.array_equal(image, block.image)
        if from_one_state:
            alone.state = replicate(before, alone.place)
        worst = max(worst, largest_difference(alone.step(own), found))
    if alone is not None and not from_one_state:
        worst = max(worst, largest_difference(alone.state.params, together.state.params))
    return {"same_examples": bool(same), "largest_difference": worst}


def compare_both() -> dict[str, Any]:
    """In float32 every step from one state; in float64 all steps in a row."""
    with jax.enable_x64(True):
        return {
            "float32": compare("float32", from_one_state=True),
            "float64": compare("float64", from_one_state=False),
        }


if __name__ == "__main__":
    assert len(jax.devices()) == 4, jax.devices()
    print(json.dumps(compare_both()))
    sys.exit(0)
