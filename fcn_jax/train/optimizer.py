"""The optimiser of a config: AdamW or SGD with momentum, a linear warm-up, then a cosine to zero."""

import jax
import optax

from fcn_jax.config import TrainConfig


def learning_rate_schedule(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Learning rate of every step (Loshchilov and Hutter, arXiv:1608.03983)."""
    warmup = min(warmup_steps, total_steps - 1)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, total_steps)


def make_optimizer(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.GradientTransformation:
    """Weight decay acts on kernels (rank above 1), decoupled from the gradient (arXiv:1711.05101) for both."""
    rate = learning_rate_schedule(config, warmup_steps=warmup_steps, total_steps=total_steps)

    def is_kernel(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    match config.optimizer:
        case "adamw":
            return optax.adamw(rate, weight_decay=config.weight_decay, mask=is_kernel)
        case "sgd":
            return optax.chain(
                optax.trace(config.momentum, nesterov=True),
                optax.add_decayed_weights(config.weight_decay, mask=is_kernel),
                optax.scale_by_learning_rate(rate),
            )
        case _:
            raise AssertionError(config.optimizer)
