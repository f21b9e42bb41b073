"""The rules that a config keeps, whatever its data: known names, ranges, lengths that fit.

What needs the data (classes, sizes, splits) is checked where the data is opened.
"""

import math
import re

from fcn_jax.config import Config, UserError
from fcn_jax.config_fields import check_types, get_field
from fcn_jax.config_model_rules import (
    CONVOLUTIONS,
    DTYPES,
    HEADS,
    MODELS,
    NORMS,
    WITHOUT_BATCH_NORM,
    of_every_layer,
    validate_model,
)

SCHEDULE_KINDS = ("stratified", "bucketed")
OPTIMIZERS = ("adamw", "sgd")
LOSS_MEANS = ("step", "epoch")
RATE_SCALINGS = ("none", "sqrt", "linear")


def validate(config: Config) -> None:
    """Check every rule that needs no data.

    Raises:
        UserError: the first broken rule: the field, its value, the rule.
    """
    check_types(config)
    for path, choices in (
        ("schedule.kind", SCHEDULE_KINDS),
        ("model.name", MODELS),
        ("model.norm", NORMS),
        ("model.head", HEADS),
        ("model.dtype", DTYPES),
        ("model.convolution", CONVOLUTIONS),
        ("train.optimizer", OPTIMIZERS),
        ("train.loss_mean", LOSS_MEANS),
        ("train.rate_scaling", RATE_SCALINGS),
    ):
        value = get_field(config, path)
        if value not in choices:
            raise UserError(f"config.{path} is {value!r}, but it must be one of: {', '.join(choices)}")
    for path, (low, high) in _BOUNDS.items():
        value = get_field(config, path)
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not low <= number <= high:
                rule = f"at least {low}" if high == math.inf else f"between {low} and {high}"
                raise UserError(f"config.{path} is {value}, but it must be {rule}")
    validate_model(config.model)
    _validate_freeze(config.train.freeze)
    _validate_lengths(config)
    _validate_precise_batch_norm(config)
    schedule = config.schedule
    if schedule.positions_per_step and schedule.kind != "bucketed":
        raise UserError(
            f"config.schedule.positions_per_step is {schedule.positions_per_step}, but a stratified step always holds "
            "the same blocks: set config.schedule.kind=bucketed, or leave it 0"
        )
    for path, examples in (
        ("schedule.examples_per_step", schedule.examples_per_step),
        ("evaluate.examples_per_step", config.evaluate.examples_per_step),
    ):
        if examples % schedule.rows_multiple_of:
            raise UserError(
                f"config.{path} is {examples}, but it must be a multiple of "
                f"config.schedule.rows_multiple_of, which is {schedule.rows_multiple_of}"
            )


_BOUNDS = {
    "seed": (0, 2**31 - 1),
    "data.channels": (1, 4096),
    "data.std": (1e-12, math.inf),
    "data.background": (0, 255),
    "data.max_megapixels": (0, 1e9),
    "data.min_side": (0, 65536),
    "data.max_bad_fraction": (0, 1),
    "data.augment.rotate": (0, 180),
    "data.augment.shear": (0, 80),
    "data.augment.scale": (0.01, 100),
    "data.augment.aspect": (0, 9),
    "data.augment.crop": (0, 0.99),
    "data.augment.stretch": (0, 0.9),
    "data.augment.shift": (0, math.inf),
    "data.augment.brightness": (0, 1),
    "data.augment.contrast": (0, 1),
    "data.augment.saturation": (0, 1),
    "machine.cache_mib": (0, math.inf),
    "machine.num_threads": (1, 1024),
    "machine.prefetch_steps": (1, 1024),
    "machine.watchdog_seconds": (0, math.inf),
    "schedule.max_buckets": (0, 1024),
    "schedule.multiple_of": (1, 4096),
    "schedule.examples_per_step": (1, 2**20),
    "schedule.rows_multiple_of": (1, 65536),
    "schedule.num_programs": (1, 64),
    "schedule.positions_per_step": (0, 2**40),
    "model.num_classes": (2, 2**24),
    "model.channels": (1, 2**20),
    "model.kernel": (1, 1024),
    "model.stride": (1, 1024),
    "model.dilation": (1, 1024),
    "model.padding": (0, 1024),
    "model.blocks": (1, 1024),
    "model.stem_kernel": (1, 1023),
    "model.stem_stride": (1, 1024),
    "model.adaptive_pool": (0, 1024),
    "model.adaptive_pool_after": (0, math.inf),
    "model.input_side": (1, 65536),
    "model.group_size": (1, 2**20),
    "model.norm_momentum": (0, 1),
    "train.epochs": (1, 50_000),
    "train.learning_rate": (0, math.inf),
    "train.warmup_epochs": (0, math.inf),
    "train.weight_decay": (0, math.inf),
    "train.momentum": (0, 1),
    "train.label_smoothing": (0, 0.99),
    "train.backbone_rate": (0, math.inf),
    "train.ema_decay": (0, 0.999999),
    "train.stage_scales": (0.01, 100),
    "train.stage_shares": (1e-6, 1e6),
    "train.log_every_steps": (1, math.inf),
    "train.evaluate_every_epochs": (0, math.inf),
    "evaluate.examples_per_step": (1, 2**20),
    "evaluate.scale": (0.01, 100),
    "evaluate.padding": (0, 65536),
    "checkpoint.every_steps": (1, math.inf),
    "checkpoint.keep": (1, math.inf),
}


def _validate_freeze(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"config.train.freeze is {pattern!r}, which is no regular expression: {error}") from error


def _validate_lengths(config: Config) -> None:
    names, layers = of_every_layer(config.model)
    for path, length in (
        *((f"model.{name}", layers) for name in names),
        ("data.mean", config.data.channels),
        ("data.std", config.data.channels),
        ("train.stage_shares", len(config.train.stage_scales)),
    ):
        value = get_field(config, path)
        if len(value) not in (1, length):
            raise UserError(f"config.{path} has {len(value)} values, but it must have 1 or {length}")
    if not config.train.stage_scales:
        raise UserError("config.train.stage_scales is (), but training needs at least one stage: set it to (1.0,)")
    scale = config.data.augment.scale
    if len(scale) != 2 or scale[0] > scale[1]:
        raise UserError(f"config.data.augment.scale is {scale}, but it must be (smallest, largest)")


def _validate_precise_batch_norm(config: Config) -> None:
    """Only a net with BatchNorm has statistics to estimate."""
    if not config.train.precise_batch_norm:
        return
    model = config.model
    if model.name in WITHOUT_BATCH_NORM:
        raise UserError(
            f"config.train.precise_batch_norm is True, but config.model.name={model.name} has no BatchNorm: choose "
            "another model, or leave it False"
        )
    if model.norm != "batch":
        raise UserError(
            f"config.train.precise_batch_norm is True, but config.model.norm={model.norm} keeps no statistics: set "
            "config.model.norm=batch, or leave it False"
        )
