"""The optimiser of a config: AdamW or SGD with momentum, with a linear warm-up and then a cosine decay to zero.

For fine-tuning, parameters can be frozen by their paths, and those before the head can have their own learning rate.
"""

import math
import re
from typing import Any

import jax
import optax

from fcn_jax.config import TrainConfig, UserError

HEAD = "net/head/"
"""Prefix of the paths of a head's parameters."""


def learning_rate_schedule(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step (Loshchilov and Hutter, arXiv:1608.03983)."""
    warmup = min(warmup_steps, total_steps - 1)
    return optax.warmup_cosine_decay_schedule(0.0, config.learning_rate, warmup, total_steps)


def make_optimizer(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.GradientTransformation:
    """Return the optimiser of a config; it scales the updates before the head and does not update frozen parameters.

    Its `init` raises a UserError if `train.freeze` matches no parameter, or all.
    """
    optimizer = make_base_optimizer(config, warmup_steps=warmup_steps, total_steps=total_steps)
    if config.backbone_rate != 1:
        optimizer = optax.chain(optimizer, optax.masked(optax.scale(config.backbone_rate), is_backbone))
    if not config.freeze:
        return optimizer

    def labels(params):
        return jax.tree.map(lambda frozen: "frozen" if frozen else "trained", is_frozen(params, config.freeze))

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def make_base_optimizer(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.GradientTransformation:
    """Return AdamW or SGD. Both decay only kernels (rank above 1), decoupled from the gradient (arXiv:1711.05101)."""
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


def is_backbone(params: Any) -> Any:
    """Return, for every parameter, True if it is not part of the head."""
    return jax.tree.map_with_path(lambda path, _: not _join(path).startswith(HEAD), params)


def is_frozen(params: Any, pattern: str) -> Any:
    """Return, for every parameter, True if the regular expression matches anywhere in its path.

    Raises:
        UserError: the pattern matches no path, or all paths.
    """
    frozen = jax.tree.map_with_path(lambda path, _: re.search(pattern, _join(path)) is not None, params)
    number, total = sum(jax.tree.leaves(frozen)), len(jax.tree.leaves(frozen))
    if number == 0:
        paths = [_join(path) for path, _ in jax.tree.leaves_with_path(params)]
        raise UserError(
            f"config.train.freeze is {pattern!r}, which fits none of the {total} paths of parameters: they are "
            f"{paths[0]}, {paths[total // 2]}, ..., {paths[-1]}"
        )
    if number == total:
        raise UserError(
            f"config.train.freeze is {pattern!r}, which fits all {total} paths of parameters, but something has to be "
            "trained: set config.train.freeze=^net/layers/ to train the head alone"
        )
    return frozen


def describe_frozen(params: Any, pattern: str) -> str:
    """Return a line that says how many numbers a pattern freezes."""
    sizes = jax.tree.map(lambda leaf: math.prod(leaf.shape), params)
    frozen = jax.tree.map(lambda size, frozen: size * frozen, sizes, is_frozen(params, pattern))
    return f"frozen: {sum(jax.tree.leaves(frozen)):,} of {sum(jax.tree.leaves(sizes)):,} parameters ({pattern})"


def _join(path: jax.tree_util.KeyPath) -> str:
    """Return a path as text, such as net/layers/0/kernel."""
    return jax.tree_util.keystr(path, simple=True, separator="/")
