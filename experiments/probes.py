"""Two looks at a run: do its canvases change a logit, and how do the gradients of one fixed net vary between its steps?

The first proves that arms which differ in their canvases train the same function. The second measures what batches of
like examples do to a step, apart from any training.
"""

import hashlib
from collections import defaultdict
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree

from fcn_jax.core.block import Block
from fcn_jax.core.step import TrainState, make_loss
from fcn_jax.train.setup import Setup

EXAMPLES_OF_A_CANVAS = 8
"""Examples of each canvas whose logits are compared."""
MOST_CHANGE = 1e-5
"""The largest change of a logit that rounding explains, in units of the largest logit."""


def largest_change_of_logits(setup: Setup) -> float:
    """Return the largest change of a logit before training if examples move from the run's canvases to one that fits.

    Raises:
        RuntimeError: it is more than rounding explains, so the canvases are part of the function.
    """
    dataset, stage = setup.train.dataset, setup.train.stages[0]
    epoch = stage.epochs[0]

    @jax.jit
    def logits_of(block: Block) -> Any:
        return nnx.merge(setup.graphdef, *setup.state.evaluated)((block,), training=False)[0].logits

    held = [examples[:EXAMPLES_OF_A_CANVAS] for _, examples in stage.schedule.places(epoch)]
    fitting = tuple(dataset.views.sizes(epoch)[np.concatenate(held)].max(0).tolist())
    largest, change = 0.0, 0.0
    for canvas, examples in zip(stage.plan.shapes, held, strict=True):
        if len(examples):
            here, there = (
                np.asarray(logits_of(dataset.block(examples, shape, epoch=epoch))) for shape in (canvas, fitting)
            )
            largest, change = max(largest, float(np.abs(there).max())), max(change, float(np.abs(here - there).max()))
    assert largest > 0, "all logits are zero, so nothing is proved"
    if change > MOST_CHANGE * largest:
        raise RuntimeError(f"logits up to {largest:.3g} change by {change:.3g} with the canvas, more than by rounding")
    return change


def gradient_variance(setup: Setup, state: TrainState) -> dict[str, Any]:
    """Return how the gradient of the loss varies between the steps of an epoch, at the parameters of `state`.

    Returns:
        variance: mean squared distance of a step's gradient from their mean, over all parameters together.
        variance_within: the same among steps whose blocks have the same canvases. Both are unbiased.
        squared_mean: squared length of the mean gradient, without what the variance adds to it.
        steps: number of steps.
        state: a hash of the parameters, to see that other runs measured at the same ones.
    """
    config, stage = setup.config, setup.train.stages[0]
    loss = make_loss(setup.graphdef, config.train, labels=config.data.labels)

    @jax.jit
    def gradient_of(blocks: tuple[Block, ...]) -> jax.Array:
        gradient, _ = jax.grad(loss, has_aux=True)(state.params, state.stats, blocks, state.step)
        return ravel_pytree(gradient)[0]

    of_canvases: dict[tuple, list[np.ndarray]] = defaultdict(list)
    for step in setup.loader(setup.train).steps(0, stage.schedule.steps_per_epoch):
        canvases = tuple(block.image.shape[1:-1] for block in step.blocks)
        of_canvases[canvases].append(np.asarray(gradient_of(step.blocks), np.float64))
    groups = [np.stack(gradients) for gradients in of_canvases.values()]
    every = np.concatenate(groups)
    number, within = len(every), sum(((group - group.mean(0)) ** 2).sum() for group in groups)
    variance = float(((every - every.mean(0)) ** 2).sum() / (number - 1))
    digest = hashlib.sha256(np.asarray(ravel_pytree(state.params)[0]).tobytes()).hexdigest()
    return {
        "variance": variance,
        "variance_within": float(within / (number - len(groups))),
        "squared_mean": float((every.mean(0) ** 2).sum()) - variance / number,
        "steps": number,
        "state": digest[:16],
    }
