"""The pure functions that are compiled: one update, one evaluation, one look at what BatchNorm normalises by."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array

from fcn_jax.config import TrainConfig
from fcn_jax.models.norms import Moments, batch_norms, collecting_moments
from fcn_jax.train.metrics import Sums, sums_of
from fcn_jax.train.state import TrainState
from fcn_jax.types import Block


def make_loss(
    graphdef: Any, *, label_smoothing: float, mean_examples: float | None = None
) -> Callable[..., tuple[Array, tuple[Sums, Any]]]:
    """(parameters, statistics, blocks) -> (loss of all true examples of all blocks, (sums, new statistics)).

    Args:
        mean_examples: the sum is divided by this number; None: by the number of examples there are.
    """

    def loss(params: Any, stats: Any, blocks: tuple[Block, ...]) -> tuple[Array, tuple[Sums, Any]]:
        model = nnx.merge(graphdef, params, stats)
        sums = sums_of(model(blocks, training=True), blocks, label_smoothing=label_smoothing)
        stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
        return jnp.asarray(sums.loss / (mean_examples or jnp.maximum(sums.weight, 1))), (sums, stats)

    return loss


def make_train_step(
    graphdef: Any, optimizer: optax.GradientTransformation, config: TrainConfig, *, mean_examples: float
) -> Callable[[TrainState, tuple[Block, ...]], tuple[TrainState, Sums]]:
    """(state, blocks) -> (state, sums): one update.

    Args:
        mean_examples: of a step, over an epoch; by it small steps and large ones are weighed.
    """
    loss = make_loss(
        graphdef,
        label_smoothing=config.label_smoothing,
        mean_examples=mean_examples if config.loss_mean == "epoch" else None,
    )
    gradient = jax.grad(loss, has_aux=True)
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[config.rate_scaling]

    def train_step(state: TrainState, blocks: tuple[Block, ...]) -> tuple[TrainState, Sums]:
        grads, (sums, stats) = gradient(state.params, state.stats, blocks)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        if power:
            factor = (sums.weight / mean_examples) ** power
            updates = jax.tree.map(lambda update: update * factor, updates)
        params = optax.apply_updates(state.params, updates)
        average = state.average
        if average is not None:
            # Young averages forget faster, so that the first steps do not linger.
            decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
            average = optax.incremental_update(params, average, 1 - decay)
        return TrainState(state.step + 1, params, stats, opt_state, average), sums

    return train_step


def make_evaluate_step(graphdef: Any) -> Callable[[Any, Any, tuple[Block, ...]], Sums]:
    """(parameters, statistics, blocks) -> sums."""

    def evaluate_step(params: Any, stats: Any, blocks: tuple[Block, ...]) -> Sums:
        model = nnx.merge(graphdef, params, stats)
        return sums_of(model(blocks, training=False), blocks, label_smoothing=0.0)

    return evaluate_step


def make_moments_step(graphdef: Any) -> Callable[[Any, Any, tuple[Block, ...]], list[Moments]]:
    """(parameters, statistics, blocks) -> what each of `batch_norms` normalises by in training."""

    def moments_step(params: Any, stats: Any, blocks: tuple[Block, ...]) -> list[Moments]:
        model = nnx.merge(graphdef, params, stats)
        with collecting_moments() as collected:
            model(blocks, training=True)
        return [collected[id(layer)] for layer in batch_norms(model)]

    return moments_step
