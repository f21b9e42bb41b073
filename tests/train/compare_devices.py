"""Run by test_devices.py with four virtual devices: the same steps on one device and on four.

Prints one JSON line: whether the blocks hold the same examples, and the largest differences.
"""

import json
import sys

import jax
import numpy as np

from configs.mnist import get_config
from fcn_jax.models.model import make_model
from fcn_jax.train.setup import prepare
from fcn_jax.train.state import split_model
from fcn_jax.train.step import make_loss, make_train_step

jax.config.update("jax_enable_x64", True)


def largest_difference(one, four) -> float:
    return max(
        float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True)
    )


def compare(dtype, *, steps: int, from_one_state: bool) -> dict:
    config = get_config("tiny")
    config.train.learning_rate, config.train.epochs = 1e-2, 8
    setups = [prepare(config, devices=jax.devices()[:n]) for n in (1, 4)]
    runs = []
    for setup in setups:
        state = jax.tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, setup.state)
        graphdef, _, _ = split_model(make_model(config, rank=2, dtype=dtype))
        gradient = jax.jit(jax.value_and_grad(make_loss(graphdef, label_smoothing=0.1), has_aux=True))
        update = jax.jit(make_train_step(graphdef, setup.optimizer, config.train, mean_examples=64.0))
        runs.append([setup, state, gradient, update, setup.loader(setup.train).steps(0, steps)])
    same, worst = True, 0.0
    for _ in range(steps):
        blocks = [next(run[4]).blocks for run in runs]
        same &= all(
            np.array_equal(a.index, b.index) and np.array_equal(a.image, b.image) for a, b in zip(*blocks, strict=True)
        )
        if from_one_state:
            runs[1][1] = jax.device_put(jax.device_get(runs[0][1]), runs[1][0].state.step.sharding)
            results = [run[2](run[1].params, run[1].stats, block) for run, block in zip(runs, blocks, strict=True)]
            worst = max(worst, largest_difference(*[(loss, stats, grads) for (loss, (_, stats)), grads in results]))
        for run, block in zip(runs, blocks, strict=True):
            run[1], _ = run[3](run[1], block)
            assert jax.tree.leaves(run[1].params)[0].dtype == dtype
        if not from_one_state:
            worst = max(worst, largest_difference(runs[0][1].params, runs[1][1].params))
    return {"same_examples": bool(same), "largest_difference": worst}


if __name__ == "__main__":
    assert len(jax.devices()) == 4, jax.devices()
    print(
        json.dumps(
            {
                "float32": compare(np.float32, steps=20, from_one_state=True),
                "float64": compare(np.float64, steps=50, from_one_state=False),
            }
        )
    )
    sys.exit(0)
