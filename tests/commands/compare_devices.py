"""The same steps on one device and on all devices of all processes; run by itself, of one process.

Float32 trains on one label an example, float64 on several labels, with weights of the examples.

    python -m tests.commands.compare_devices [STEPS]

Prints one JSON line: whether the blocks hold the same examples, the filler rows that the devices need, and the largest
differences.
"""

import json
import sys
from typing import Any

import jax
import numpy as np
import optax

from configs.mnist import get_config
from fcn_jax.config import Config
from fcn_jax.core.block import Block, filler_block
from fcn_jax.core.step import TrainState, initial_state, make_train_step, put, split_model
from fcn_jax.data.dataset import Dataset
from fcn_jax.nets.model import make_model
from fcn_jax.system.processes import is_first
from fcn_jax.train.placement import placement
from fcn_jax.train.setup import prepare

STEPS = {"float32": 20, "float64": 50}


def remembering(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The same, with the last gradients in its state."""

    def update(grads, state, params):
        updates, inner = optimizer.update(grads, state[1], params)
        return updates, (grads, inner)

    return optax.GradientTransformation(lambda params: (params, optimizer.init(params)), update)


def give_several_labels(dataset: Dataset) -> None:
    """Give each example some labels, and a weight in the loss."""
    number = np.arange(len(dataset))
    dataset.labels = ((dataset.labels[:, None] + np.arange(10) * (1 + number[:, None] % 3)) % 3 == 0).astype(np.float32)
    dataset.loss_weights = (0.5 + number % 4).astype(np.float32)


class Run:
    """Steps of a config on some devices."""

    def __init__(self, config: Config, devices: list[jax.Device], dtype: str, *, steps: int):
        setup = prepare(config, devices=devices)
        labels = "one"
        if dtype == "float64":
            labels = "several"
            give_several_labels(setup.train.dataset)
        graphdef, params, stats = split_model(make_model(config, rank=2, dtype=dtype))
        optimizer = remembering(setup.optimizer)
        state = initial_state(params, stats, optimizer, average=False)
        as_dtype = jax.tree.map(lambda x: x.astype(dtype) if x.dtype.kind == "f" else x, jax.device_get(state))
        self.places = placement(as_dtype, setup.mesh, config.machine.share_optimizer)
        self.state = self.placed(as_dtype)
        update = make_train_step(graphdef, optimizer, config.train, labels=labels, mean_examples=64.0)
        self._step = jax.jit(update, out_shardings=(self.places, self.places.step))
        self.steps = setup.loader(setup.train).steps(0, steps)

    def placed(self, state: TrainState) -> TrainState:
        return jax.tree.map(put, state, self.places)

    def step(self, blocks: tuple[Block, ...]) -> Any:
        """(loss, statistics, gradients) of an update."""
        self.state, sums = self._step(self.state, blocks)
        return jax.device_get((sums.loss / sums.loss_weight, self.state.stats, self.state.opt_state[0]))


def largest_difference(one, other) -> float:
    return max(
        float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def same_rows(block: Block, whole: Block) -> bool:
    """Check whether the rows that this process has are those of a whole block, and filler behind them.

    Of the rows of other processes the losses tell.
    """
    targets = whole.label.shape[1] if whole.label.ndim > 1 else None
    has_weights = whole.loss_weight is not None
    rows, canvas, channels = len(block.index) - len(whole.index), whole.image.shape[1:-1], whole.image.shape[-1]
    filler = filler_block(rows, canvas, channels, targets=targets, has_weights=has_weights)
    expected = jax.tree.map(lambda *parts: np.concatenate(parts), whole, filler)
    return all(
        np.array_equal(piece.data, values[piece.index])
        for array, values in zip(jax.tree.leaves(block), jax.tree.leaves(expected), strict=True)
        for piece in array.addressable_shards
    )


def compare(dtype: str, *, steps: int, from_one_state: bool) -> dict[str, Any]:
    """The first process, with a device of its own, against all of them together; in float64 to be called under x64."""
    config = get_config("tiny")
    config.schedule.examples_per_step = 47  # Two, three, four and five devices divide not all of its blocks.
    config.model.channels, config.model.dropout = (4, 8, 8), 0.25
    config.train.mixup, config.train.cutmix = 0.4, 1.0
    config.train.learning_rate, config.train.epochs = 1e-2, 8
    if jax.process_count() == 1:
        config.machine.share_optimizer = "always"
    alone = Run(config, jax.local_devices()[:1], dtype, steps=steps) if is_first() else None
    together = Run(config, jax.devices(), dtype, steps=steps)
    same, worst, filler = True, 0.0, 0
    for blocks in (step.blocks for step in together.steps):
        before = jax.device_get(together.state)
        found = together.step(blocks)
        assert jax.tree.leaves(together.state.params)[0].dtype == dtype
        if alone is None:
            continue
        own = next(alone.steps).blocks
        filler += sum(len(block.index) - len(whole.index) for block, whole in zip(blocks, own, strict=True))
        same &= all(same_rows(block, whole) for block, whole in zip(blocks, own, strict=True))
        if from_one_state:
            alone.state = alone.placed(before)
        worst = max(worst, largest_difference(alone.step(own), found))
    if alone is not None and not from_one_state:
        worst = max(worst, largest_difference(alone.state.params, together.state.params))
    shared = sum(not leaf.is_fully_replicated for leaf in jax.tree.leaves(together.state.opt_state))
    return {
        "same_examples": bool(same),
        "filler_of_devices": filler,
        "largest_difference": worst,
        "shared_arrays": shared,
    }


def compare_both(steps: int | None = None) -> dict[str, Any]:
    """Compare every step from one state in float32, and all steps in a row in float64."""
    with jax.enable_x64(True):
        return {
            "float32": compare("float32", steps=steps or STEPS["float32"], from_one_state=True),
            "float64": compare("float64", steps=steps or STEPS["float64"], from_one_state=False),
        }


if __name__ == "__main__":
    print(json.dumps(compare_both(*map(int, sys.argv[1:]))))
    sys.exit(0)
