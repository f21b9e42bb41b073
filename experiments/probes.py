"""Two looks at a run: do its canvases change the function, and how do the gradients of a fixed net vary between steps?

The first proves that arms which differ in their canvases train the same function. The second measures what batches of
like examples do to a step, apart from any training.
"""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree
from jaxtyping import Float

from fcn_jax.core.block import Block
from fcn_jax.core.stages import training_stages
from fcn_jax.core.step import TrainState, Variables, make_loss, split_model
from fcn_jax.nets.model import make_model
from fcn_jax.train.setup import Setup, Split

EXAMPLES_OF_A_CANVAS = 8
"""Examples of each canvas that are compared."""
MOST_CHANGE = 1e-10
"""The largest change that rounding explains, in units of the largest logit, or of the largest entry of a gradient."""


def largest_change(setup: Setup) -> dict[str, float]:
    """Return the largest changes if examples move from the run's canvases to the smallest one that holds them all.

    They are those of the untrained net: logits in evaluation, and the gradient of a step of these examples in training,
    each in units of the largest. The net computes in double precision. In single precision a ReLU that is 0 but for
    rounding may be on upon one canvas and off upon the other, which changes the gradient by more than rounding.

    Raises:
        RuntimeError: one is more than rounding explains, so the canvases are part of the function.
    """
    dataset, stage, config = setup.train.dataset, setup.train.stages[0], setup.config
    epoch = stage.epochs[0]
    held = [examples[:EXAMPLES_OF_A_CANVAS] for _, examples in stage.schedule.places(epoch)]
    fitting = tuple(dataset.views.sizes(epoch)[np.concatenate(held)].max(0).tolist())
    found = {"logits": (0.0, 0.0), "gradient": (0.0, 0.0)}
    with jax.enable_x64(True):
        graphdef, *_ = split_model(make_model(config, rank=len(fitting), dtype=jnp.float64))
        variables = jax.tree.map(lambda x: x.astype(jnp.float64), Variables(setup.state.params, setup.state.stats))
        loss = make_loss(graphdef, config.train, labels=config.data.labels)

        @jax.jit
        def looks(variables: Variables, block: Block) -> tuple[jax.Array, jax.Array]:
            logits = nnx.merge(graphdef, *variables)((block,), training=False)[0].logits
            gradient, _ = jax.grad(loss, has_aux=True)(*variables, (block,), setup.state.step)
            return logits, ravel_pytree(gradient)[0]

        for canvas, examples in zip(stage.plan.shapes, held, strict=True):
            if not len(examples):
                continue
            blocks = (dataset.block(examples, shape, epoch=epoch) for shape in (canvas, fitting))
            for what, here, there in zip(found, *(looks(variables, block) for block in blocks), strict=True):
                size, change = (float(jnp.abs(value).max()) for value in (there, here - there))
                found[what] = max(found[what][0], size), max(found[what][1], change)
    changes = {what: change / size for what, (size, change) in found.items()}
    for what, change in changes.items():
        if not change <= MOST_CHANGE:
            raise RuntimeError(f"{what}: {change:.3g} of the largest changes with the canvas, more than by rounding")
    return {f"largest_change_of_{what}": change for what, change in changes.items()}


@dataclass(frozen=True)
class Gradients:
    """The gradients of the steps of an epoch at some parameters."""

    mean: Float[np.ndarray, " p"]
    """Every example counts the same."""
    variance: float
    """Mean squared distance of a step's gradient from that of all steps, over all parameters together; unbiased."""
    variance_within: float | None
    """The same among steps whose blocks have the same canvases; None if no two steps have."""


def gradients_of_epoch(setup: Setup, state: TrainState, *, order: int) -> Gradients:
    """Return the gradients of the steps of an epoch at the parameters of `state`.

    Args:
        order: seed of the schedule, so that the same examples, changed in the same way, come in other steps.
    """
    config, dataset = setup.config, setup.train.dataset
    stages = training_stages(dataset.views, [range(1)], config.schedule, seed=order, classes=dataset.classes)
    loss = make_loss(setup.graphdef, config.train, labels=config.data.labels)

    @jax.jit
    def gradient_of(state: TrainState, blocks: tuple[Block, ...]) -> jax.Array:
        gradient, _ = jax.grad(loss, has_aux=True)(state.params, state.stats, blocks, state.step)
        return ravel_pytree(gradient)[0]

    of_canvases, weights = defaultdict(list), defaultdict(list)
    for step in setup.loader(Split(dataset, stages)).steps(0, stages.total_steps):
        canvases = tuple(block.image.shape[1:-1] for block in step.blocks)
        of_canvases[canvases].append(np.asarray(gradient_of(state, step.blocks), np.float64))
        weights[canvases].append(step.num_examples)
    groups = [np.stack(gradients) for gradients in of_canvases.values()]
    every, free = np.concatenate(groups), sum(map(len, groups)) - len(groups)
    within = sum(((group - group.mean(0)) ** 2).sum() for group in groups)
    return Gradients(
        mean=np.average(every, axis=0, weights=np.concatenate([*weights.values()])),
        variance=float(((every - every.mean(0)) ** 2).sum() / (len(every) - 1)),
        variance_within=float(within / free) if free else None,
    )


def gradients_against(shuffled: Setup, setup: Setup, state: TrainState) -> dict[str, Any]:
    """Return how the gradients of a run's steps differ from those of shuffled steps, at the parameters of `state`.

    Returns:
        variance: variance of a step's gradient, in units of that of shuffled steps.
        variance_within: the same among steps of the same canvases; None if no two steps have the same.
        bias: squared distance of the mean gradient from that of shuffled steps, in the same units. Both means are over
            the same examples. So it is 0, but for rounding, where the loss of an example does not depend on the others
            of its step; where it does, shuffled steps in another order show how much is chance.
        state: a hash of the parameters, to see that other runs measured at the same ones.
    """
    own, other = gradients_of_epoch(setup, state, order=1), gradients_of_epoch(shuffled, state, order=0)
    within = own.variance_within
    return {
        "variance": own.variance / other.variance,
        "variance_within": None if within is None else within / other.variance,
        "bias": float(((own.mean - other.mean) ** 2).sum()) / other.variance,
        "state": hashlib.sha256(np.asarray(ravel_pytree(state.params)[0]).tobytes()).hexdigest()[:16],
    }
