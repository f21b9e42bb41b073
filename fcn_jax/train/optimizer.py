"""The optimiser of a config, from Optax, and its learning rate: a linear warm-up, then a decay to zero.

For fine-tuning, parameters can be frozen by their paths, and those before the head can have their own learning rates.
"""

import math
import re
from itertools import pairwise
from typing import Any

import jax
import optax

from fcn_jax.config import TrainConfig, UserError

HEAD = "net/head/"
"""Prefix of the paths of a head's parameters."""


def learning_rate_schedule(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Return the learning rate as a function of the step."""
    peak, warmup = config.learning_rate, min(warmup_steps, total_steps - 1)
    if config.decay == "cosine" and not config.restarts:
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, total_steps)
    cycles = config.restarts + 1
    ends = [warmup + round((total_steps - warmup) * cycle / cycles) for cycle in range(cycles + 1)]
    falls = [_fall(config.decay, peak, max(1, end - begin)) for begin, end in pairwise(ends)]
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), *falls], ends[:-1])


def _fall(decay: str, peak: float, steps: int) -> optax.Schedule:
    match decay:
        case "cosine":
            return optax.cosine_decay_schedule(peak, steps)
        case "linear":
            return optax.linear_schedule(peak, 0.0, steps)
        case "constant":
            return optax.constant_schedule(peak)
        case _:
            raise AssertionError(decay)


def make_optimizer(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.GradientTransformation:
    """Return the optimiser of a config; it clips gradients, scales the updates before the head and freezes parameters.

    Its `init` raises a UserError if `train.freeze` matches no parameter, or all.
    """
    optimizer = make_base_optimizer(config, warmup_steps=warmup_steps, total_steps=total_steps)
    if config.clip_norm:
        optimizer = optax.chain(optax.clip_by_global_norm(config.clip_norm), optimizer)
    if config.backbone_rate != 1:
        optimizer = optax.chain(optimizer, optax.masked(optax.scale(config.backbone_rate), is_backbone))

    def labels(params):
        return jax.tree.map(lambda frozen: "frozen" if frozen else "trained", is_frozen(params, config.freeze))

    if config.freeze:
        optimizer = optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)
    if config.layer_decay != 1:  # Outside of the partition, where frozen layers count too.
        optimizer = optax.chain(optimizer, _scale_by_layer(config.layer_decay))
    return optimizer


def make_base_optimizer(config: TrainConfig, *, warmup_steps: int, total_steps: int) -> optax.GradientTransformation:
    """Return the optimiser of a name. All decay only kernels (rank above 1), decoupled from the gradient."""
    rate = learning_rate_schedule(config, warmup_steps=warmup_steps, total_steps=total_steps)

    def is_kernel(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    match config.optimizer:
        case "adamw":
            return optax.adamw(rate, weight_decay=config.weight_decay, mask=is_kernel)
        case "lion":
            return optax.lion(rate, weight_decay=config.weight_decay, mask=is_kernel)
        case "lamb":
            return optax.lamb(rate, weight_decay=config.weight_decay, mask=is_kernel)
        case "muon":
            # An update of Muon is scaled to the size of AdamW's, so that one learning rate serves both.
            return optax.contrib.muon(
                rate,
                weight_decay=config.weight_decay,
                adam_weight_decay=0.0,
                muon_weight_dimension_numbers=_matrices,
                consistent_rms=0.2,
            )
        case "sgd":
            return optax.chain(
                optax.trace(config.momentum, nesterov=True),
                optax.add_decayed_weights(config.weight_decay, mask=is_kernel),
                optax.scale_by_learning_rate(rate),
            )
        case _:
            raise AssertionError(config.optimizer)


def _matrices(params: Any) -> Any:
    """Return, for every kernel [*window, c, d], the axes of its matrix: (window and c, d); None for the rest."""

    def axes(leaf: Any) -> Any:
        last = leaf.ndim - 1
        return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last) if leaf.ndim > 1 else None

    return jax.tree.map(axes, params)


def _scale_by_layer(decay: float) -> optax.GradientTransformation:
    """Scale each update by decay ** (number of layers with a kernel that follow its own, the head counting as one)."""

    def scaled(updates: Any, params: Any) -> Any:
        del params
        return jax.tree.map(lambda leaf, number: leaf * decay**number, updates, layers_that_follow(updates))

    return optax.stateless(scaled)


def layers_that_follow(params: Any) -> Any:
    """Return, for every parameter, how many layers with a kernel come after its own; 0 in the head."""
    layers = {_layer_of(path) for path, leaf in jax.tree.leaves_with_path(params) if leaf.ndim > 1}
    total = len(layers)

    def follow(path: jax.tree_util.KeyPath, leaf: Any) -> int:
        del leaf
        own = _layer_of(path)
        return total - sum(layer <= own for layer in layers) if own < LAST else 0

    return jax.tree.map_with_path(follow, params)


LAST = 2**30
"""The number of the head among the layers."""


def _layer_of(path: jax.tree_util.KeyPath) -> int:
    """Return the number of the layer that a parameter is in."""
    found = re.match(r"net/layers/(\d+)/", _join(path))
    return int(found.group(1)) if found else LAST


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
