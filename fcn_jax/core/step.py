"""The pure functions that are compiled: one update, one evaluation, one look at what BatchNorm normalises by.

They take and return what training changes: parameters, statistics, the optimiser's state, as plain dicts of arrays.
The structure of the model (its graphdef) never changes and stays outside: `jax.jit` then sees a plain pytree, which
costs 0.7 ms a step on the host where `nnx.jit` costs 14. Metrics are masked sums, never averages of averages: sums of
any blocks, steps or hosts simply add up.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from fcn_jax.config import TrainConfig
from fcn_jax.core.block import Block, abstract_block
from fcn_jax.core.buckets import BucketPlan
from fcn_jax.core.net import Model, Prediction
from fcn_jax.core.norms import Moments, batch_norms, collecting_moments
from fcn_jax.core.step_plan import StepPlan


class TrainState(NamedTuple):
    step: Int[Array, ""]
    """Updates done."""
    params: Any
    stats: Any
    """Running statistics of BatchNorm."""
    opt_state: Any
    average: Any
    """Exponential moving average of the parameters; None without one."""

    @property
    def evaluated_params(self) -> Any:
        """What evaluation uses: the average where there is one."""
        return self.params if self.average is None else self.average


def split_model(model: Model) -> tuple[Any, Any, Any]:
    """(graphdef, parameters, statistics), the latter two as plain dicts."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def initial_state(params: Any, stats: Any, optimizer: optax.GradientTransformation, *, average: bool) -> TrainState:
    """The state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, params) if average else None,
    )


def abstract_state(
    params: Any, stats: Any, optimizer: optax.GradientTransformation, *, average: bool, place: jax.sharding.Sharding
) -> TrainState:
    """Shapes, types and places of a state: what a checkpoint is restored into, and a program compiled for."""
    state = jax.eval_shape(lambda p, s: initial_state(p, s, optimizer, average=average), params, stats)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state)


def replicate(tree: Any, sharding: jax.sharding.Sharding) -> Any:
    """Arrays that every process has, put on all devices of all processes."""
    return jax.make_array_from_process_local_data(sharding, jax.device_get(tree))


class Sums(NamedTuple):
    """Weighted sums over examples."""

    loss: Float[Array, ""] | float
    correct: Float[Array, ""] | float
    weight: Float[Array, ""] | float

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums(self.loss + other.loss, self.correct + other.correct, self.weight + other.weight)

    def means(self) -> dict[str, float]:
        """Loss and accuracy (a fraction) of an example."""
        weight = max(float(self.weight), 1e-9)
        return {"loss": float(self.loss) / weight, "accuracy": float(self.correct) / weight}


ZERO = Sums(0.0, 0.0, 0.0)


def sums_of(predictions: tuple[Prediction, ...], blocks: tuple[Block, ...], *, label_smoothing: float) -> Sums:
    """Cross entropy and hits of all blocks; filler has weight 0."""
    total = ZERO
    for prediction, block in zip(predictions, blocks, strict=True):
        logits = prediction.logits
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, block.label)
        if label_smoothing:
            # Cross entropy against the uniform distribution, arXiv:1512.00567.
            uniform = optax.losses.softmax_cross_entropy(logits, jnp.full_like(logits, 1 / logits.shape[-1]))
            loss = (1 - label_smoothing) * loss + label_smoothing * uniform
        correct = logits.argmax(-1) == block.label
        weight = block.weight
        total += Sums((loss * weight).sum(), (correct * weight).sum(), weight.sum())
    return total


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


def compile_steps(
    step: Any,
    *arguments: Any,
    plan: BucketPlan,
    step_plan: StepPlan,
    channels: int,
    sharding: jax.sharding.Sharding | None = None,
) -> list[Callable[..., Any]]:
    """Compile a step for all programs of a step plan, before the first step is taken.

    Args:
        step: what `jax.jit` made of a function of `arguments` and then a tuple of blocks.
        arguments: arrays, or their shapes and types.
        sharding: of the blocks' rows.

    Returns:
        An executable of (*arguments, blocks) for every program; it takes no other shape.
    """
    compiled = []
    for program in step_plan.programs:
        shapes = [(block.rows, plan.shapes[block.bucket]) for block in program.blocks]
        blocks = tuple(abstract_block(rows, shape, channels, sharding=sharding) for rows, shape in shapes)
        compiled.append(step.lower(*arguments, blocks).compile())
    return compiled


def make_moments_step(graphdef: Any) -> Callable[[Any, Any, tuple[Block, ...]], list[Moments]]:
    """(parameters, statistics, blocks) -> what each of `batch_norms` normalises by in training."""

    def moments_step(params: Any, stats: Any, blocks: tuple[Block, ...]) -> list[Moments]:
        model = nnx.merge(graphdef, params, stats)
        with collecting_moments() as collected:
            model(blocks, training=True)
        return [collected[id(layer)] for layer in batch_norms(model)]

    return moments_step
