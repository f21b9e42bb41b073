"""What can be done with any config: look fields up, list them, compare, check their types, read them from JSON."""

import copy
import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from fcn_jax.config import Config, UserError


def get_field(config: Any, path: str) -> Any:
    """The value at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def flatten(config) -> dict[str, object]:
    """{'train.epochs': 16, ...}"""
    flat = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat.update({f"{item.name}.{name}": inner for name, inner in flatten(value).items()})
        else:
            flat[item.name] = value
    return flat


def overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    """A copy with other values at some dotted paths.

    Raises:
        UserError: no such field, or a value that it does not take.
    """
    config, known = copy.deepcopy(config), flatten(config)
    for path, value in overrides.items():
        if path not in known:
            raise UserError(f"config.{path} is not a field of the config")
        parent, _, name = path.rpartition(".")
        setattr(get_field(config, parent) if parent else config, name, value)
    check_types(config)
    return config


def changes_result(path: str) -> bool:
    """Whether the field at a path changes what a run comes to, not only where it is kept and how fast it is."""
    return not path.startswith(("machine.", "checkpoint."))


def differences(old: Config, new: Config) -> list[str]:
    """One line for each field that changes a run's result and differs: `train.epochs: 16 -> 3`."""
    before, after = flatten(old), flatten(new)
    return [
        f"{name}: {before[name]} -> {after[name]}"
        for name in before
        if before[name] != after[name] and changes_result(name)
    ]


def check_types(config, prefix: str = "config") -> None:
    """Every field holds what its annotation says, ints serving as floats.

    Raises:
        UserError: the first field that doesn't.
    """
    for name, kind in typing.get_type_hints(type(config)).items():
        value, path = getattr(config, name), f"{prefix}.{name}"
        if dataclasses.is_dataclass(kind) and isinstance(value, typing.cast(type, kind)):
            check_types(value, path)
        else:
            _check_type(path, value, kind)


def _check_type(path: str, value: Any, kind: Any) -> None:
    if not _matches(value, kind):
        raise UserError(f"{path} is {value!r}, but it must be {_describe(kind)}")


def _matches(value, kind) -> bool:
    if isinstance(kind, types.UnionType):
        return any(_matches(value, option) for option in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_matches(item, typing.get_args(kind)[0]) for item in value)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _describe(kind) -> str:
    if typing.get_origin(kind) is tuple:
        return f"a tuple of {typing.get_args(kind)[0].__name__}"
    return str(kind) if isinstance(kind, types.UnionType) else f"of type {kind.__name__}"


def from_dict(kind: type, values: Any, prefix: str = "config"):
    """A config from the parsed JSON of `dataclasses.asdict`.

    Raises:
        UserError: an unknown, missing or mistyped field.
    """
    if not isinstance(values, dict):
        raise UserError(f"{prefix} is {values!r}, but it must be an object")
    hints = typing.get_type_hints(kind)
    for name in [*(values.keys() - hints.keys()), *(hints.keys() - values.keys())]:
        raise UserError(f"{prefix}.{name} is {'missing' if name in hints else 'not a field of this version'}")
    fields = {}
    for name, hint in hints.items():
        value = values[name]
        if dataclasses.is_dataclass(hint):
            value = from_dict(typing.cast(type, hint), value, f"{prefix}.{name}")
        else:
            value = tuple(value) if typing.get_origin(hint) is tuple and isinstance(value, list) else value
            _check_type(f"{prefix}.{name}", value, hint)
        fields[name] = value
    return kind(**fields)
