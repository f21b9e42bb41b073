"""The pure functions that are compiled: one update, one evaluation step, one look at BatchNorm's moments.

They take and return what training changes, as plain dicts of arrays: parameters, statistics, the optimiser's state.
The structure of the model (its graphdef) never changes, so it stays outside. Then `jax.jit` sees a plain pytree, which
costs 0.7 ms a step on the host, while `nnx.jit` costs 14 ms.
Metrics are masked sums, never averages of averages, so those of any blocks, steps or hosts can be added.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from fcn_jax.config import TrainConfig
from fcn_jax.core.block import Block
from fcn_jax.core.losses import LossOfLabels, cross_entropy, is_correct, plain_loss, training_loss
from fcn_jax.core.mixing import Mix, draw_mixes
from fcn_jax.core.net import LAYER, Model, Prediction
from fcn_jax.core.norms import Moments, batch_norms, collecting_moments


class Variables(NamedTuple):
    """The arrays of a net."""

    params: Any
    stats: Any
    """Statistics of BatchNorm."""


class TrainState(NamedTuple):
    """All arrays that training changes."""

    step: Int[Array, ""]
    """Updates done."""
    params: Any
    stats: Any
    """Running statistics of BatchNorm."""
    opt_state: Any
    average: Variables | None
    """Exponential moving average of the parameters and of the running statistics; None if the run has none."""

    @property
    def evaluated(self) -> Variables:
        """The variables that evaluation uses: the average, if there is one."""
        return self.average or Variables(self.params, self.stats)

    def evaluated_with(self, stats: Any) -> "TrainState":
        """Return the state with other statistics in the variables that evaluation uses."""
        if self.average is None:
            return self._replace(stats=stats)
        return self._replace(average=self.average._replace(stats=stats))


def split_model(model: Model) -> tuple[Any, Any, Any]:
    """Split a model into (graphdef, parameters, statistics); the last two are plain dicts."""
    graphdef, params, stats = nnx.split(model, nnx.Param, nnx.BatchStat)
    return graphdef, nnx.to_pure_dict(params), nnx.to_pure_dict(stats)


def initial_state(params: Any, stats: Any, optimizer: optax.GradientTransformation, *, average: bool) -> TrainState:
    """Return the state before the first step."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        stats=stats,
        opt_state=optimizer.init(params),
        average=jax.tree.map(jnp.copy, Variables(params, stats)) if average else None,
    )


def abstract_state(params: Any, stats: Any, optimizer: optax.GradientTransformation, *, average: bool) -> TrainState:
    """Return the shapes and types of a state, to restore a checkpoint or to compile a program."""
    return jax.eval_shape(lambda p, s: initial_state(p, s, optimizer, average=average), params, stats)


def put(array: Any, sharding: jax.sharding.Sharding) -> Array:
    """Put an array, which every process has as a whole, on the devices of all processes."""
    on_host = np.asarray(array)
    return jax.make_array_from_callback(on_host.shape, sharding, on_host.__getitem__)


class Sums(NamedTuple):
    """Sums over examples: of their losses, each with its weight, of correct answers, of examples, of the weights."""

    loss: Float[Array, ""] | float
    correct: Float[Array, ""] | float
    weight: Float[Array, ""] | float
    """The number of examples, without filler."""
    loss_weight: Float[Array, ""] | float
    """The sum of the weights in the loss; the number of examples if they have none of their own."""

    def __add__(self, other: "Sums") -> "Sums":  # type: ignore[override]
        return Sums(*(one + another for one, another in zip(self, other, strict=True)))

    def means(self) -> dict[str, float]:
        """Return the mean loss, by the weights in the loss, and the accuracy (a fraction), each example once."""
        return {
            "loss": float(self.loss) / max(float(self.loss_weight), 1e-9),
            "accuracy": float(self.correct) / max(float(self.weight), 1e-9),
        }


ZERO = Sums(0.0, 0.0, 0.0, 0.0)
ONLY_LAYERS = jax.checkpoint_policies.save_only_these_names(LAYER)


def sums_of(
    predictions: tuple[Prediction, ...],
    blocks: tuple[Block, ...],
    *,
    labels: str = "one",
    loss_of: LossOfLabels = cross_entropy,
    mixes: tuple[Mix, ...] = (),
) -> Sums:
    """Return the sums of the losses and of correct answers over all blocks. Filler has weight 0.

    Args:
        labels: what a label is: see `DataConfig.labels`.
        mixes: how the examples of every block are mixed: both labels count, each with its share, and with the weight of
            its example. As all losses are linear in the label, that is the loss to the mixed label.
    """
    total = ZERO
    for prediction, block, mix in zip(predictions, blocks, mixes or (None,) * len(blocks), strict=True):
        logits, label, weight = prediction.logits, block.label, block.weight
        own = weight if block.loss_weight is None else block.loss_weight
        loss = loss_of(logits, label) * own
        correct = is_correct(logits, label, labels)
        if mix is not None:
            other, others = label[mix.partner], own[mix.partner]
            loss = mix.share * loss + (1 - mix.share) * (loss_of(logits, other) * others)
            correct = mix.share * correct + (1 - mix.share) * is_correct(logits, other, labels)
            own = own if block.loss_weight is None else mix.share * own + (1 - mix.share) * others
        total += Sums(loss.sum(), (correct * weight).sum(), weight.sum(), own.sum())
    return total


def make_loss(
    graphdef: Any, config: TrainConfig, *, labels: str = "one", mean_examples: float | None = None
) -> Callable[..., tuple[Array, tuple[Sums, Any]]]:
    """Return the loss function: (parameters, statistics, blocks, step) -> (mean loss, (sums, new statistics)).

    With `config.remat` its gradient keeps what leaves each layer of the net, and computes the rest of the way there
    again (arXiv:1604.06174).

    Args:
        labels: what a label is: see `DataConfig.labels`.
        mean_examples: number by which the sum of losses is divided; None: the sum of the weights in the loss, which is
            the number of examples in the blocks if these have no weights of their own.
    """

    def loss(
        params: Any, stats: Any, blocks: tuple[Block, ...], step: Int[Array, ""] | None = None
    ) -> tuple[Array, tuple[Sums, Any]]:
        model = nnx.merge(graphdef, params, stats)
        key = None if step is None else model.key_of(step)
        mixes = () if key is None else draw_mixes(key, blocks, mixup=config.mixup, cutmix=config.cutmix)
        predictions = model(blocks, training=True, key=key, mixes=mixes)
        sums = sums_of(predictions, blocks, labels=labels, loss_of=training_loss(config, labels), mixes=mixes)
        stats = nnx.to_pure_dict(nnx.state(model, nnx.BatchStat))
        return jnp.asarray(sums.loss / (mean_examples or divisor_of(sums))), (sums, stats)

    return jax.checkpoint(loss, policy=ONLY_LAYERS) if config.remat else loss


def divisor_of(sums: Sums) -> Array:
    """Return the number by which the sum of the losses is divided for their mean; 1 if there is nothing to divide."""
    return jnp.where(jnp.asarray(sums.loss_weight) > 0, sums.loss_weight, 1)


def make_train_step(
    graphdef: Any,
    optimizer: optax.GradientTransformation,
    config: TrainConfig,
    *,
    labels: str = "one",
    mean_examples: float,
) -> Callable[[TrainState, tuple[Block, ...]], tuple[TrainState, Sums]]:
    """Return the function that does one update: (state, blocks) -> (state, sums).

    Args:
        labels: what a label is: see `DataConfig.labels`.
        mean_examples: mean number of examples in a step of an epoch. `config.loss_mean` and `config.rate_scaling` say
            how it decides the weight of small and large steps.
    """
    divisor = mean_examples if config.loss_mean == "epoch" else None
    loss = make_loss(graphdef, config, labels=labels, mean_examples=divisor)
    gradient = jax.grad(loss, has_aux=True)
    update = make_update(optimizer, config, mean_examples=mean_examples)

    def train_step(state: TrainState, blocks: tuple[Block, ...]) -> tuple[TrainState, Sums]:
        grads, (sums, stats) = gradient(state.params, state.stats, blocks, state.step)
        return update(state._replace(stats=stats), grads, sums), sums

    return train_step


def make_update(
    optimizer: optax.GradientTransformation, config: TrainConfig, *, mean_examples: float
) -> Callable[[TrainState, Any, Sums], TrainState]:
    """Return the function (state, gradients of the mean loss, sums of the step) -> next state; statistics stay."""
    power = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}[config.rate_scaling]

    def update(state: TrainState, grads: Any, sums: Sums) -> TrainState:
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        if power:
            factor = (sums.weight / mean_examples) ** power
            updates = jax.tree.map(lambda update: update * factor, updates)
        params = optax.apply_updates(state.params, updates)
        average: Any = state.average
        if average is not None:
            # The average forgets faster in the first steps, so that the initial parameters do not stay in it for long.
            decay = jnp.minimum(config.ema_decay, (1 + state.step) / (10 + state.step))
            average = optax.incremental_update(Variables(params, state.stats), average, 1 - decay)
        return TrainState(state.step + 1, params, state.stats, opt_state, average)

    return update


def make_evaluate_step(graphdef: Any, labels: str = "one") -> Callable[[Any, Any, tuple[Block, ...]], Sums]:
    """Return the function that evaluates one step: (parameters, statistics, blocks) -> sums."""

    def evaluate_step(params: Any, stats: Any, blocks: tuple[Block, ...]) -> Sums:
        model = nnx.merge(graphdef, params, stats)
        return sums_of(model(blocks, training=False), blocks, labels=labels, loss_of=plain_loss(labels))

    return evaluate_step


class Scored(NamedTuple):
    """The sums of an evaluation step of one block, and the logits of its rows."""

    sums: Sums
    example: Int[Array, " b"]
    """Number of the row's example in its split; -1 for filler."""
    logits: Float[Array, "b k"]


def make_scoring_step(graphdef: Any, labels: str) -> Callable[[Any, Any, tuple[Block]], Scored]:
    """Return the function that evaluates one block and keeps its logits: (parameters, statistics, blocks) -> scored."""

    def evaluate_step(params: Any, stats: Any, blocks: tuple[Block]) -> Scored:
        (block,) = blocks
        predictions = nnx.merge(graphdef, params, stats)(blocks, training=False)
        sums = sums_of(predictions, blocks, labels=labels, loss_of=plain_loss(labels))
        return Scored(sums, jnp.asarray(block.index), predictions[0].logits)

    return evaluate_step


def make_moments_step(graphdef: Any) -> Callable[[Any, Any, tuple[Block, ...]], list[Moments]]:
    """Return the function (parameters, statistics, blocks) -> the training moments of each layer of `batch_norms`."""

    def moments_step(params: Any, stats: Any, blocks: tuple[Block, ...]) -> list[Moments]:
        model = nnx.merge(graphdef, params, stats)
        with collecting_moments() as collected:
            model(blocks, training=True)
        return [collected[id(layer)] for layer in batch_norms(model)]

    return moments_step
