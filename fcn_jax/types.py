"""The one structure that travels through the whole house: a block, one bucket's padded batch.

Dimension letters, used in every annotation: b examples (rows), h w height and width of a canvas, t length of a
signal's canvas, c channels, k classes, r spatial rank (2 for images, 1 for signals).
"""

from typing import NamedTuple

from jaxtyping import Array, Float, Int, Num
from numpy import ndarray

AnyArray = Array | ndarray


class Block(NamedTuple):
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
