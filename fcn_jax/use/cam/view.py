"""What a picture shows of a file: its pixels or values, no more of them than are asked for, and the evidence at each.

Large images are averaged down and small ones enlarged pixel by pixel; of a long signal every part keeps its lowest and
its highest value. The evidence is read at the very places that are shown.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num, UInt8

from fcn_jax.data.resize import resample
from fcn_jax.use.cam.grid import places_of, read_map
from fcn_jax.use.cam.maps import Explained

FOR, AGAINST = np.array([1.0, 0.42, 0.0]), np.array([0.1, 0.45, 1.0])
OPACITY = 0.8
"""Of the strongest evidence: whatever lies beneath stays visible."""
DARKEST = 0.2
"""That grey becomes, so that a colour on black can be told from black."""


@dataclass(frozen=True)
class View:
    """A file as it is shown."""

    values: Num[np.ndarray, "*shown c"]
    evidence: Float[np.ndarray, "*shown"]
    places: tuple[Float[np.ndarray, " _"], ...]
    """Positions of the input that are shown, on every axis."""
    size: tuple[int, ...]
    """Of the input."""

    @property
    def limit(self) -> float:
        """The strongest evidence; where there is none, not quite 0, so that a scale can be drawn."""
        return max(1e-6, float(np.abs(self.evidence).max()))


def view_of(explained: Explained, *, most: int) -> View:
    """A file with at most so many pixels a side, or values."""
    values, size = explained.values, explained.values.shape[:-1]
    if len(size) == 1:
        values, place = envelope(values, most=most)
        places = (place,)
    else:
        values = fitted(values, longest=most)
        places = tuple(places_of(side, shown) for side, shown in zip(size, values.shape[:-1], strict=True))
    return View(values, read_map(explained.evidence, explained.grids, places), places, size)


def fitted(image: UInt8[np.ndarray, "h w c"], *, longest: int) -> UInt8[np.ndarray, "m n c"]:
    """An image whose longer side is `longest`, or where it is smaller than half of that, a whole number of times it."""
    side = max(image.shape[:2])
    if side > longest:
        height, width = (max(1, round(n * longest / side)) for n in image.shape[:2])
        return resample(image, (height, width))
    return image.repeat(longest // side, axis=0).repeat(longest // side, axis=1)


def envelope(
    values: Float[np.ndarray, "t c"], *, most: int
) -> tuple[Float[np.ndarray, "shown c"], Float[np.ndarray, " shown"]]:
    """Values of a signal and their positions; of one that is longer, the lowest and highest of every part."""
    length = len(values)
    if length <= most:
        return values, np.arange(length, dtype=np.float64)
    parts = most // 2
    starts = np.arange(parts) * length // parts
    both = [np.minimum.reduceat(values, starts), np.maximum.reduceat(values, starts)]
    return np.stack(both, axis=1).reshape(2 * parts, -1), places_of(length, parts).repeat(2)


def tinted(
    grey: Float[np.ndarray, "*shape"], evidence: Float[np.ndarray, "*shape"], *, limit: float
) -> Float[np.ndarray, "*shape 3"]:
    """Grey (0-1) under the colour of the evidence: none is no colour, `limit` the strongest of its sign."""
    strength = np.clip(np.abs(evidence) / limit, 0, 1)[..., None] * OPACITY
    colour = np.where(evidence[..., None] > 0, FOR, AGAINST)
    return (DARKEST + (1 - DARKEST) * grey)[..., None] * (1 - strength) + colour * strength
