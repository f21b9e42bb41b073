"""Where the cells of a map lie in the input of the net, and the map's values anywhere between them.

A cell stands where its receptive field is centred: behind a window of kernel k, stride s, dilation d and padding p,
cell i is centred on position s i - p + d (k - 1) / 2 of what is before it; behind an adaptive pool, on the middle of
its part. A causal net's cell stands on the last position that it sees. Positions are counted from the middle of the
first, 0.0: position j reaches from j - 0.5 to j + 0.5. Between cells values are linear; beyond the outermost, where no
receptive field is centred, they stay as they are there.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from fcn_jax.models.layers import Layer
from fcn_jax.models.pooling import AdaptiveAveragePool


@dataclass(frozen=True)
class Grid:
    """The cells of a map on one axis of the input: cell i is centred on position first + step i."""

    first: float
    step: float
    cells: int


def grid_of(layers: Iterable[Layer], side: int) -> Grid:
    """The cells that some layers, one after the other, make of a side of the input."""
    first, step = 0.0, 1.0
    for layer in layers:
        if isinstance(layer, AdaptiveAveragePool):
            extent = side / layer.cells
            first, step, side = first + step * (extent - 1) / 2, step * extent, layer.cells
        for window in layer.windows:
            first += step * ((window.extent - 1) / 2 - window.padding)
            step *= window.stride
            side = window.output_side(side)
    return Grid(first, step, side)


def places_of(side: int, shown: int) -> Float[np.ndarray, " shown"]:
    """Middles of the parts of a side that is shown in that many parts."""
    return (np.arange(shown) + 0.5) * side / shown - 0.5


def read_map(
    values: Float[np.ndarray, "*cells"], grids: Sequence[Grid], places: Sequence[Float[np.ndarray, " _"]]
) -> Float[np.ndarray, "*places"]:
    """Values of a map at positions of the input, given for every axis."""
    for axis, (grid, at) in enumerate(zip(grids, places, strict=True)):
        assert values.shape[axis] == grid.cells, (values.shape, grids)
        cell = np.clip((at - grid.first) / grid.step, 0, grid.cells - 1)
        before = np.minimum(cell.astype(np.int64), max(0, grid.cells - 2))
        after = np.minimum(before + 1, grid.cells - 1)
        share = (cell - before).reshape(-1, *[1] * (values.ndim - 1 - axis))
        values = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return values
