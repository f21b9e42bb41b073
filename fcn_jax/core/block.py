"""The one structure that travels through the whole house: a block, one bucket's padded batch.

Dimension letters, used in every annotation: b examples (rows), h w height and width of a canvas, t length of a
signal's canvas, c channels, k classes, r spatial rank (2 for images, 1 for signals).
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Num

AnyArray = Array | np.ndarray

Side = Any
"""Of a canvas: a whole number, or its name while a program for any size is exported."""

VALUE_TYPES = {2: np.uint8, 1: np.float32}
"""What an example's values are, by spatial rank: pixels of an image, values of a signal."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Block:
    """Examples padded to one bucket's canvas. A step is a tuple of these.

    Filler rows have weight 0, size 0, label 0 and index -1; they change nothing but the shape.
    """

    image: Num[AnyArray, "b *spatial c"]
    """Pixels (0-255) or signal values; whatever lies outside an example's size is ignored."""
    size: Int[AnyArray, "b r"]
    """True (height, width), or (length,), of every example."""
    label: Int[AnyArray, " b"]
    weight: Float[AnyArray, " b"]
    """1 for an example, 0 for filler."""
    index: Int[AnyArray, " b"]
    """Position of the example in its split."""


def filler_block(rows: int, canvas: tuple[int, ...], channels: int) -> Block:
    """A block of nothing but filler."""
    return Block(
        image=np.zeros((rows, *canvas, channels), VALUE_TYPES[len(canvas)]),
        size=np.zeros((rows, len(canvas)), np.int32),
        label=np.zeros(rows, np.int32),
        weight=np.zeros(rows, np.float32),
        index=np.full(rows, -1, np.int32),
    )


def abstract_block(
    rows: int, canvas: tuple[int, ...], channels: int, *, sharding: jax.sharding.Sharding | None = None
) -> Block:
    """The shapes, types and place of a block, which programs are compiled for."""
    return jax.tree.map(
        lambda values: jax.ShapeDtypeStruct((rows, *values.shape[1:]), values.dtype, sharding=sharding),
        filler_block(0, canvas, channels),
    )
