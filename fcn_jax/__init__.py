"""Classify images and signals at the sizes they have.

The library's face: the names below are what other programs build on. They are imported when they are first used, so
that planning and scheduling need no JAX. `docs/library.md` shows two programs.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fcn_jax.version import VERSION as __version__  # noqa: F401

if TYPE_CHECKING:
    from fcn_jax.config import UserError
    from fcn_jax.core.block import Block
    from fcn_jax.core.buckets import BucketPlan, plan_buckets
    from fcn_jax.core.convolution import Convolution
    from fcn_jax.core.geometry import Window
    from fcn_jax.core.layers import Map
    from fcn_jax.core.norms import BatchNorm, GroupNorm, LayerNorm
    from fcn_jax.core.pooling import AveragePool, GlobalAverage, MaxPool
    from fcn_jax.core.schedule import Schedule
    from fcn_jax.core.step_plan import bucketed_step_plan, stratified_step_plan
    from fcn_jax.data.loader import load_blocks
    from fcn_jax.train.compile import compile_steps

_STANDS_IN = {
    "UserError": "config",
    "Block": "core.block",
    "BucketPlan": "core.buckets",
    "plan_buckets": "core.buckets",
    "Window": "core.geometry",
    "Convolution": "core.convolution",
    "Map": "core.layers",
    "BatchNorm": "core.norms",
    "GroupNorm": "core.norms",
    "LayerNorm": "core.norms",
    "AveragePool": "core.pooling",
    "GlobalAverage": "core.pooling",
    "MaxPool": "core.pooling",
    "Schedule": "core.schedule",
    "compile_steps": "train.compile",
    "bucketed_step_plan": "core.step_plan",
    "stratified_step_plan": "core.step_plan",
    "load_blocks": "data.loader",
}

__all__ = [
    "AveragePool",
    "BatchNorm",
    "Block",
    "BucketPlan",
    "Convolution",
    "GlobalAverage",
    "GroupNorm",
    "LayerNorm",
    "Map",
    "MaxPool",
    "Schedule",
    "UserError",
    "Window",
    "bucketed_step_plan",
    "compile_steps",
    "load_blocks",
    "plan_buckets",
    "stratified_step_plan",
]


def __getattr__(name: str):
    if name not in _STANDS_IN:
        raise AttributeError(f"module 'fcn_jax' has no attribute {name!r}")
    return getattr(import_module(f"fcn_jax.{_STANDS_IN[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
