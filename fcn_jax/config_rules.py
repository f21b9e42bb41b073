"""The rules of a config that need no data: types, choices, bounds, and what fields ask of each other."""

import dataclasses
import math
import re
import sys
import types
import typing
from typing import Any

from fcn_jax.config import Config, UserError, check_length


def validate(config: Config) -> None:
    """Check every rule that needs no data.

    Raises:
        UserError: a rule is broken; the message names the first one, its field and the value.
    """
    check_types(config)
    _check_values(config, "config")
    config.model.check()
    try:
        re.compile(config.train.freeze)
    except re.error as error:
        raise UserError(
            f"config.train.freeze is {config.train.freeze!r}, which is no regular expression: {error}"
        ) from error
    check_length("config.data.mean", config.data.mean, config.data.channels)
    check_length("config.data.std", config.data.std, config.data.channels)
    if len(config.schedule.costs) not in (0, 4):
        raise UserError(f"config.schedule.costs has {len(config.schedule.costs)} values, but it must have 0 or 4")
    check_length("config.train.stage_shares", config.train.stage_shares, len(config.train.stage_scales))
    if not config.train.stage_scales:
        raise UserError(
            "config.train.stage_scales is (), but it needs at least one stage: set config.train.stage_scales=(1.0,)"
        )
    scale = config.data.augment.scale
    if len(scale) != 2 or scale[0] > scale[1]:
        raise UserError(f"config.data.augment.scale is {scale}, but it must be (smallest, largest)")
    if config.train.precise_batch_norm and config.model.norm != "batch":
        norms = next(item.metadata["choices"] for item in dataclasses.fields(config.model) if item.name == "norm")
        raise UserError(
            f"config.train.precise_batch_norm is True, but config.model.norm={config.model.norm} keeps no statistics: "
            f"set {'config.model.norm=batch, or ' * ('batch' in norms)}config.train.precise_batch_norm=False"
        )
    parts, programs = config.train.accumulate, config.schedule.programs
    in_parts = parts > 1 or (programs == "bucket" and config.schedule.kind == "stratified")
    if in_parts and config.model.norm == "batch" and config.train.statistics == "step":
        raise UserError(
            f"config.train.accumulate is {parts} and config.schedule.programs is {programs}, so steps are computed in "
            "micro-steps, but BatchNorm needs the statistics of all examples of a step at once: set "
            "config.model.norm=group, or config.schedule.programs=step and config.train.accumulate=1, or "
            "config.train.statistics=micro_step"
        )
    if config.train.class_weights:
        check_length("config.train.class_weights", config.train.class_weights, config.model.num_classes)
    if config.train.restarts and config.train.decay == "constant":
        raise UserError(
            f"config.train.restarts is {config.train.restarts}, but config.train.decay=constant never falls: set "
            "config.train.decay=cosine, or config.train.restarts=0"
        )
    if config.data.balance and config.data.labels == "several":
        raise UserError(
            f"config.data.balance is {config.data.balance}, but with several labels an example is of no one class: set "
            "config.data.balance=0.0, or config.data.labels=one"
        )
    if config.schedule.canvases != "smallest" and (config.data.balance or config.data.labels == "several"):
        raise UserError(
            f"config.schedule.canvases is {config.schedule.canvases}, but config.data.balance is {config.data.balance} "
            f"and config.data.labels is {config.data.labels}, and canvases are dealt out to examples of one class, "
            "each once an epoch: set config.schedule.canvases=smallest, or both config.data.balance=0.0 and "
            "config.data.labels=one"
        )
    if config.checkpoint.best == "mean_average_precision" and config.data.labels != "several":
        raise UserError(
            f"config.checkpoint.best is mean_average_precision, but config.data.labels is {config.data.labels}, and "
            "only several labels have it: set config.checkpoint.best=accuracy, or config.data.labels=several"
        )
    if config.train.patience and not config.checkpoint.best:
        raise UserError(
            f"config.train.patience is {config.train.patience}, but config.checkpoint.best names no metric: set "
            "config.checkpoint.best=accuracy, or config.train.patience=0"
        )
    if config.checkpoint.best and not config.train.evaluate_every_epochs:
        raise UserError(
            f"config.checkpoint.best is {config.checkpoint.best}, but config.train.evaluate_every_epochs is 0, so "
            "nothing is validated: set config.train.evaluate_every_epochs=1, or leave out config.checkpoint.best"
        )
    if not config.checkpoint.every_steps and not config.checkpoint.every_minutes:
        raise UserError(
            "config.checkpoint.every_steps is 0, but every_minutes is 0 too, so a run that breaks would begin anew: "
            "set config.checkpoint.every_minutes=10"
        )
    if config.schedule.positions_per_step and config.schedule.kind != "bucketed":
        raise UserError(
            f"config.schedule.positions_per_step is {config.schedule.positions_per_step}, but a stratified step always "
            "holds the same blocks: set config.schedule.kind=bucketed, or config.schedule.positions_per_step=0"
        )


def _check_values(config: Any, prefix: str) -> None:
    """Check every field against the choices and the bounds beside it."""
    for item in dataclasses.fields(config):
        value, path = getattr(config, item.name), f"{prefix}.{item.name}"
        if dataclasses.is_dataclass(value):
            _check_values(value, path)
        choices = item.metadata.get("choices", (value,))
        if value not in choices:
            raise UserError(f"{path} is {value!r}, but it must be one of: {', '.join(choices)}")
        low, high = item.metadata.get("bounds", (None, None))
        for number in value if isinstance(value, tuple) else (value,):
            if low is not None and number is not None and not low <= number <= high:
                rule = f"at least {low}" if high == math.inf else f"between {low} and {high}"
                raise UserError(f"{path} is {value}, but it must be {rule}")


def check_types(config: Any, prefix: str = "config") -> None:
    """Check that every field holds what its annotation says; an int may stand for a float."""
    hints = typing.get_type_hints(type(config))
    for item in dataclasses.fields(config):
        value, kind, path = getattr(config, item.name), hints[item.name], f"{prefix}.{item.name}"
        if dataclasses.is_dataclass(kind) and isinstance(value, typing.cast(type, kind)):
            check_types(value, path)
        else:
            check_type(path, value, kind)


def check_type(path: str, value: Any, kind: Any) -> None:
    """Check one value against an annotation."""
    if not _matches(value, kind):
        raise UserError(f"{path} is {value!r}, but it must be {_describe(kind)}")


def _matches(value: Any, kind: Any) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_matches(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_matches(item, typing.get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe(kind: Any) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a tuple of {typing.get_args(kind)[0].__name__}"
    return str(kind) if isinstance(kind, types.UnionType) else f"of type {kind.__name__}"
