"""Masked layers over blocks. The law: padding changes nothing.

Every layer takes a tuple of maps, one a block, and returns one. It may count on zeros outside every true size, and
it leaves zeros there. A layer works on each map by itself; only normalisation looks across: its statistics pool over
all blocks.
"""

import math
from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import jax
from flax import nnx
from jaxtyping import Array

from fcn_jax.geometry import Window
from fcn_jax.models.maps import Map, Maps

Activation = Callable[[Array], Array]


def identity(x: Array) -> Array:
    return x


@dataclass(frozen=True)
class Record:
    """What a layer did to the first map, for `shapes`."""

    layer: str
    canvas: tuple[int, ...]
    """() where all positions have become one."""
    channels: int
    parameters: int


_records: ContextVar[list[Record] | None] = ContextVar("records", default=None)


@contextmanager
def recording():
    """Collect a `Record` of every layer called inside."""
    records: list[Record] = []
    token = _records.set(records)
    try:
        yield records
    finally:
        _records.reset(token)


def count_parameters(module: nnx.Module) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(nnx.state(module, nnx.Param)))


def recorded(layer: nnx.Module, maps: Maps) -> Maps:
    """What a layer made, noted where somebody is recording."""
    records = _records.get()
    if records is not None:
        x = maps[0].x
        canvas = () if isinstance(layer, GlobalPool) else x.shape[1:-1]
        records.append(Record(str(layer), canvas, x.shape[-1], count_parameters(layer)))
    return maps


class Layer(nnx.Module):
    """A masked layer: subclasses write `apply`."""

    @property
    def windows(self) -> tuple[Window, ...]:
        """What slides over the maps, one after the other, and decides their size."""
        return ()

    def __call__(self, maps: Maps, *, training: bool) -> Maps:
        return recorded(self, self.apply(maps, training=training))

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        raise AssertionError(f"{type(self).__name__} has no apply")

    def __str__(self) -> str:
        return type(self).__name__


class GlobalPool(nnx.Module):
    """What makes all positions of a map one."""


class Activate(Layer):
    """An activation that maps 0 to 0, such as ReLU, so that the outside stays zero."""

    def __init__(self, activation: Activation):
        self.activation = activation

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        return tuple(Map(self.activation(x), size) for x, size in maps)


class Add(nnx.Module):
    """The sum of two branches (He et al., arXiv:1512.03385), and an activation that maps 0 to 0."""

    def __init__(self, activation: Activation = identity):
        self.activation = activation

    def __call__(self, branch: Maps, shortcut: Maps) -> Maps:
        sums = []
        for a, b in zip(branch, shortcut, strict=True):
            assert a.x.shape == b.x.shape, (a.x.shape, b.x.shape)
            sums.append(Map(self.activation(a.x + b.x), a.size))
        return recorded(self, tuple(sums))

    def __str__(self) -> str:
        return "Add"
