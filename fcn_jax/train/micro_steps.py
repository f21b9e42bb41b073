"""An update in micro-steps: gradients of one part of a step after the other are added, then parameters change once.

Sums are added, not means, so the parts may have different numbers of examples and the update is that of the whole step.
This needs a net whose norms treat each example by itself. BatchNorm normalises by the statistics of the blocks that it
sees together, which here are those of one micro-step.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from fcn_jax.config import TrainConfig
from fcn_jax.core.block import Block
from fcn_jax.core.step import Sums, TrainState, divisor_of, make_loss, make_update


class Added(NamedTuple):
    """What the micro-steps of an update have added so far."""

    grads: Any
    """Gradients of the sum of the losses, not of their mean."""
    sums: Sums


def make_no_gradients() -> Callable[[Any], Added]:
    """Return the function that begins an update: parameters -> zeros. Each run compiles its own."""

    def no_gradients(params: Any) -> Added:
        zero = jnp.zeros((len(Sums._fields),), jnp.result_type(*jax.tree.leaves(params)))
        return Added(jax.tree.map(jnp.zeros_like, params), Sums(*zero))

    return no_gradients


def make_add_gradients(
    graphdef: Any, config: TrainConfig, *, labels: str = "one"
) -> Callable[[Any, Any, Added, Array, tuple[Block, ...]], tuple[Added, Any]]:
    """Return the function of one micro-step: (parameters, statistics, added, step, blocks) -> (added, statistics)."""
    loss = make_loss(graphdef, config, labels=labels, mean_examples=1.0)
    gradient = jax.grad(loss, has_aux=True)

    def add_gradients(
        params: Any, stats: Any, added: Added, step: Array, blocks: tuple[Block, ...]
    ) -> tuple[Added, Any]:
        grads, (sums, new_stats) = gradient(params, stats, blocks, step)
        # A micro-step of filler alone has no statistics.
        stats = jax.tree.map(lambda old, new: jnp.where(sums.weight > 0, new, old), stats, new_stats)
        return Added(jax.tree.map(jnp.add, added.grads, grads), added.sums + sums), stats

    return add_gradients


def make_apply_gradients(
    optimizer: optax.GradientTransformation, config: TrainConfig, *, mean_examples: float
) -> Callable[[TrainState, Added], tuple[TrainState, Sums]]:
    """Return the function that ends an update: (state, added) -> (state, sums); see `make_train_step`."""
    update = make_update(optimizer, config, mean_examples=mean_examples)

    def apply_gradients(state: TrainState, added: Added) -> tuple[TrainState, Sums]:
        divisor = mean_examples if config.loss_mean == "epoch" else divisor_of(added.sums)
        grads = jax.tree.map(lambda grad: grad / divisor, added.grads)
        return update(state, grads, added.sums), added.sums

    return apply_gradients


def in_turn(
    begin: Callable[[Any], Added], micro_steps: Sequence[Callable[..., tuple[Added, Any]]], end: Callable[..., Any]
) -> Callable[[TrainState, tuple[Block, ...]], tuple[TrainState, Sums]]:
    """Return the function (state, blocks) -> (state, sums) that calls those above, once compiled, one after the other.

    Args:
        micro_steps: the function of every micro-step; each takes equally many of the blocks.
    """

    def update(state: TrainState, blocks: tuple[Block, ...]) -> tuple[TrainState, Sums]:
        added, stats, number = begin(state.params), state.stats, len(blocks) // len(micro_steps)
        for turn, add_gradients in enumerate(micro_steps):
            added, stats = add_gradients(state.params, stats, added, state.step, blocks[turn * number :][:number])
        return end(state._replace(stats=stats), added)

    return update
