"""Operations on any config: look up fields, list them, override them, compare them, read them from JSON."""

import copy
import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any

from fcn_jax.config import FAMILIES, Config, ModelConfig, UserError
from fcn_jax.config_rules import check_type, check_types


def get_field(config: Any, path: str) -> Any:
    """Return the value at a dotted path."""
    for name in path.split("."):
        config = getattr(config, name)
    return config


def flatten(config: Any) -> dict[str, object]:
    """Return all values by dotted path: {'train.epochs': 16, ...}."""
    flat = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat.update({f"{item.name}.{name}": inner for name, inner in flatten(value).items()})
        else:
            flat[item.name] = value
    return flat


def overridden(config: Config, overrides: Mapping[str, Any]) -> Config:
    """Return a copy with other values at some dotted paths; `model.name` is always set first.

    Raises:
        UserError: there is no such field, or it does not take the value.
    """
    config = copy.deepcopy(config)
    if "model.name" in overrides:
        config.model = of_family(config.model, overrides["model.name"])
    for path, value in overrides.items():
        check_path(config, path)
        parent, _, name = path.rpartition(".")
        setattr(get_field(config, parent) if parent else config, name, value)
    check_types(config)
    return config


def of_family(model: ModelConfig, name: Any) -> ModelConfig:
    """Return the default config of another family, with the same number of classes.

    A model that is of that family already is returned unchanged.

    Raises:
        UserError: there is no such family.
    """
    family = _family_named(name)
    return model if type(model) is family else family(num_classes=model.num_classes)


def _family_named(name: Any) -> type[ModelConfig]:
    if not isinstance(name, str) or name not in FAMILIES:
        raise UserError(f"config.model.name is {name!r}, but it must be one of: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def check_path(config: Config, path: str) -> None:
    """Check that a dotted path names a field that can be overridden.

    Raises:
        UserError: it does not; the message names a field with a similar name, or the fields of the model's family.
    """
    known = flatten(config)
    if path in known:
        return
    parent, _, name = path.partition(".")
    if parent == "model":
        own = [item.name for item in dataclasses.fields(config.model)]
        others = [f for f, kind in FAMILIES.items() if any(item.name == name for item in dataclasses.fields(kind))]
        elsewhere = f"; {', '.join(others)} {'has' if len(others) == 1 else 'have'} it" if others else ""
        raise UserError(
            f"config.{path} is not a field of {config.model.name}{elsewhere}; {config.model.name} has: {', '.join(own)}"
        )
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.5)
    hint = f"; did you mean config.{close[0]}?" if close else ""
    raise UserError(f"config.{path} is not a field of the config{hint}")


def changes_result(path: str) -> bool:
    """Return whether the field at a path changes the result of a run, not only its speed or its checkpoints."""
    return not path.startswith(("machine.", "checkpoint."))


def differences(old: Config, new: Config) -> list[str]:
    """Return one line for each different field that changes a run's result: `train.epochs: 16 -> 3`.

    If the families of nets differ, fields that only one of them has are left out: `model.name` tells them apart.
    """
    before, after = flatten(old), flatten(new)
    return [
        f"{name}: {before[name]} -> {after[name]}"
        for name in before
        if name in after and before[name] != after[name] and changes_result(name)
    ]


def from_dict(kind: type, values: Any, prefix: str = "config"):
    """Make a config from the parsed JSON of `dataclasses.asdict`; the field `name` of a model says its family.

    Raises:
        UserError: a field is unknown, missing or of the wrong type.
    """
    if not isinstance(values, dict):
        raise UserError(f"{prefix} is {values!r}, but it must be an object")
    if kind is ModelConfig:
        if "name" not in values:
            raise UserError(f"{prefix}.name is missing")
        kind = _family_named(values["name"])
    hints, names = typing.get_type_hints(kind), [item.name for item in dataclasses.fields(kind)]
    for name in [*sorted(values.keys() - {*names}), *(name for name in names if name not in values)]:
        raise UserError(f"{prefix}.{name} is {'missing' if name in names else 'not a field of this version'}")
    fields = {}
    for name in names:
        value, hint = values[name], hints[name]
        if dataclasses.is_dataclass(hint):
            value = from_dict(typing.cast(type, hint), value, f"{prefix}.{name}")
        else:
            value = tuple(value) if typing.get_origin(hint) is tuple and isinstance(value, list) else value
            check_type(f"{prefix}.{name}", value, hint)
        fields[name] = value
    return kind(**fields)
