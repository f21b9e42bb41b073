"""Two looks at a run: do its canvases change a logit, and how do the gradients of one fixed net vary between its steps?

The first proves that arms which differ in their canvases train the same function. The second measures what batches of
like examples do to a step, apart from any training.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from fcn_jax.core.block import Block
from fcn_jax.core.step import TrainState, Variables, make_loss
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
    def logits_of(variables: Variables, block: Block) -> jax.Array:
        return nnx.merge(setup.graphdef, *variables)((block,), training=False)[0].logits

    held = [examples[:EXAMPLES_OF_A_CANVAS] for _, examples in stage.schedule.places(epoch)]
    fitting = tuple(dataset.views.sizes(epoch)[np.concatenate(held)].max(0).tolist())
    largest, change = 0.0, 0.0
    for canvas, examples in zip(stage.plan.shapes, held, strict=True):
        if len(examples):
            blocks = (dataset.block(examples, shape, epoch=epoch) for shape in (canvas, fitting))
            here, there = (np.asarray(logits_of(setup.state.evaluated, block)) for block in blocks)
            largest = max(largest, float(np.abs(there).max()))
            change = max(change, float(np.abs(here - there).max()))
    assert largest > 0, "all logits are zero, so nothing is proved"
    if change > MOST_CHANGE * largest:
        raise RuntimeError(f"logits up to {largest:.3g} change by {change:.3g} with the canvas, more than by rounding")
    return change


@dataclass(frozen=True)
class Gradients:
    """The gradients of the steps of an epoch at some parameters."""

    mean: Float[np.ndarray, " p"]
    variance: float
    """Mean squared distance of a step's gradient from the mean, over all parameters together; unbiased."""
    variance_within: float
    """The same among steps whose blocks have the same canvases."""
    steps: int


def gradients_of_epoch(setup: Setup, state: TrainState) -> Gradients:
    """Return the gradients of the steps of the first epoch at the parameters of `state`."""
    config, stage = setup.config, setup.train.stages[0]
    loss = make_loss(setup.graphdef, config.train, labels=config.data.labels)

    @jax.jit
    def gradient_of(state: TrainState, blocks: tuple[Block, ...]) -> jax.Array:
        gradient, _ = jax.grad(loss, has_aux=True)(state.params, state.stats, blocks, state.step)
        return ravel_pytree(gradient)[0]

    of_canvases: dict[tuple, list[np.ndarray]] = defaultdict(list)
    for step in setup.loader(setup.train).steps(0, stage.schedule.steps_per_epoch):
        canvases = tuple(block.image.shape[1:-1] for block in step.blocks)
        of_canvases[canvases].append(np.asarray(gradient_of(state, step.blocks), np.float64))
    groups = [np.stack(gradients) for gradients in of_canvases.values()]
    every = np.concatenate(groups)
    within = sum(((group - group.mean(0)) ** 2).sum() for group in groups) / (len(every) - len(groups))
    variance = ((every - every.mean(0)) ** 2).sum() / (len(every) - 1)
    return Gradients(every.mean(0), float(variance), float(within), len(every))


def gradients_against(shuffled: Setup, setup: Setup, state: TrainState) -> dict[str, Any]:
    """Return how the gradients of a run's steps differ from those of shuffled steps, at the parameters of `state`.

    Returns:
        variance: variance of a step's gradient, in units of that of shuffled steps.
        variance_within: the same among steps of the same canvases.
        bias: squared distance of the mean gradient from that of shuffled steps, in the same units. It is unbiased
            itself, so it may be a little below 0. It is 0 where the loss of an example does not depend on the others.
        steps: number of steps of the run.
        state: a hash of the parameters, to see that other runs measured at the same ones.
    """
    own, other = gradients_of_epoch(setup, state), gradients_of_epoch(shuffled, state)
    bias = float(((own.mean - other.mean) ** 2).sum()) - own.variance / own.steps - other.variance / other.steps
    return {
        "variance": own.variance / other.variance,
        "variance_within": own.variance_within / other.variance,
        "bias": bias / other.variance,
        "steps": own.steps,
        "state": hashlib.sha256(np.asarray(ravel_pytree(state.params)[0]).tobytes()).hexdigest()[:16],
    }
