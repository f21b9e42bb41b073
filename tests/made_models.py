"""Configs of models from plain fields, and what their fields may be."""

import dataclasses

from fcn_jax.config import FAMILIES, ModelConfig
from fcn_jax.nets.families import FCN

IMAGE_FAMILIES = tuple(name for name, family in FAMILIES.items() if family.takes_images)
SIGNAL_FAMILIES = tuple(name for name, family in FAMILIES.items() if not family.takes_images)


def model_of(*, name: str = FCN.name, **fields) -> ModelConfig:
    """The config of a family with some of its fields."""
    return FAMILIES[name](**fields)


def choices_of(name: str, *, family: str = FCN.name) -> tuple[str, ...]:
    """The words that a field of a family may hold."""
    return next(item.metadata["choices"] for item in dataclasses.fields(FAMILIES[family]) if item.name == name)


HEADS, NORMS = choices_of("head"), choices_of("norm")
