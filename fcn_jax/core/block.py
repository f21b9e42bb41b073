"""The block: one bucket's padded batch, with the true size of each example. All of fcn_jax passes these around.

Every annotation uses the same letters for dimensions: b examples (rows of a block), h and w height and width of a
canvas, t length of a signal's canvas, c channels, k classes, r spatial rank (2 for images, 1 for signals).
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Num

AnyArray = Array | np.ndarray

Side = Any
"""A side of a canvas: a whole number, or a symbolic dimension while a program for any size is exported."""

ValueType = type[np.uint8] | type[np.float32]


def value_type(rank: int, pixel_range: str = "8bit") -> ValueType:
    """Return the type of an example's values.

    Args:
        rank: 2 for images, 1 for signals.
        pixel_range: the config's `data.pixel_range`.
    """
    return np.uint8 if rank == 2 and pixel_range == "8bit" else np.float32


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Block:
    """Examples padded to one bucket's canvas. A step takes a tuple of blocks.

    A row without an example is filler. It has weights 0, size 0, label 0 and index -1, and changes no result.
    """

    image: Num[AnyArray, "b *spatial c"]
    """Pixels (0-255; 0-1 if floats) or signal values; values outside an example's true size are ignored."""
    size: Int[AnyArray, "b r"]
    """True (height, width), or (length,), of every example."""
    label: Int[AnyArray, " b"] | Float[AnyArray, "b k"]
    """The number of the class; or the target of every class, from 0 to 1, if there are several labels or shares."""
    weight: Float[AnyArray, " b"]
    """1 for an example, 0 for filler."""
    index: Int[AnyArray, " b"]
    """Number of the example in its split, from 0; in training with balanced draws, number of the draw in its epoch."""
    loss_weight: Float[AnyArray, " b"] | None = None
    """Weight of the example in the loss of training, and 0 for filler; None: every example weighs 1."""


def rows_on_devices(rows: int, devices: int) -> int:
    """Return the rows of a block with the filler that lets every device take equally many of them."""
    return -(-rows // devices) * devices


def filler_block(
    rows: int,
    canvas: tuple[int, ...],
    channels: int,
    values: ValueType | None = None,
    *,
    targets: int | None = None,
    has_weights: bool = False,
) -> Block:
    """Return a block in which every row is filler.

    Args:
        values: from `value_type`; None: that of an image of 8 bits, or of a signal.
        targets: number of classes, if a label is a target of every class; None: it is the number of a class.
        has_weights: whether examples have weights of their own in the loss.
    """
    return Block(
        image=np.zeros((rows, *canvas, channels), values or value_type(len(canvas))),
        size=np.zeros((rows, len(canvas)), np.int32),
        label=np.zeros(rows, np.int32) if targets is None else np.zeros((rows, targets), np.float32),
        weight=np.zeros(rows, np.float32),
        index=np.full(rows, -1, np.int32),
        loss_weight=np.zeros(rows, np.float32) if has_weights else None,
    )


def abstract_block(
    rows: int,
    canvas: tuple[int, ...],
    channels: int,
    values: ValueType | None = None,
    *,
    targets: int | None = None,
    has_weights: bool = False,
    sharding: jax.sharding.Sharding | None = None,
) -> Block:
    """Return the shapes, types and sharding of a block without its values, to compile a program for it."""
    return jax.tree.map(
        lambda values: jax.ShapeDtypeStruct((rows, *values.shape[1:]), values.dtype, sharding=sharding),
        filler_block(0, canvas, channels, values, targets=targets, has_weights=has_weights),
    )
