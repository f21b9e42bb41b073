"""Dense layers over flattened positions, which fix the size of the input: the baselines that a global pool replaces.

A dense layer has a weight for every position. So it is a convolution whose window is the whole map, and a map of any
other size is refused. A larger canvas is refused too, even if it holds only padding beyond the true size: a compiled
program knows only canvases, and cannot tell a larger image from padding.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from fcn_jax.config import UserError
from fcn_jax.core.geometry import Window, format_size, largest_side, sizes_through
from fcn_jax.core.layers import GlobalPool, Layer, Maps
from fcn_jax.core.net import Head, LayerMaker, Net
from fcn_jax.core.pooling import one_position
from fcn_jax.nets import families
from fcn_jax.nets.convolutional import fcn_layers, windows_of
from fcn_jax.nets.heads import make_head


class Flatten(GlobalPool, Layer):
    """A layer that flattens a map: all its positions, one after the other, become the channels of one position.

    Args:
        side: side of the map, on every axis.
        rank: number of spatial axes.
        pads: whether smaller maps are taken too, padded with zeros to the full side.
    """

    def __init__(self, side: int, *, rank: int, pads: bool = False):
        self.side, self.rank, self.pads = side, rank, pads

    @property
    def windows(self) -> tuple[Window, ...]:
        """One window over the whole map; if the layer pads, one that also fits a smaller map."""
        return (Window(self.side, self.side + 1, padding=self.side // 2) if self.pads else Window(self.side),)

    def check(self, sides: Sequence[int]) -> None:
        """Check that the dense layer that follows has weights for a map.

        Raises:
            UserError: it has not.
        """
        fits = max(sides) <= self.side if self.pads else set(sides) == {self.side}
        if not fits:
            raise UserError(
                f"{self} is given a map of {format_size(sides)}, but the dense layer behind it has a weight for each "
                f"of {format_size([self.side] * self.rank)} positions, which fixes the size of the input; a global "
                f"pool in its place takes any size (config.model.name=fcn), or {self._remedy}"
            )

    @property
    def _remedy(self) -> str:
        if self.pads:
            return "let config.model.input_side be as long as the longest"
        if self.rank == 1:
            return "pad all to one length (config.model.name=dense)"
        return "bring all inputs to one size (config.data.resize=square:N, config.model.input_side=N)"

    def apply(self, maps: Maps, *, training: bool) -> Maps:
        outputs = []
        for x, size in maps:
            canvas = x.shape[1:-1]
            self.check(canvas)
            x = jnp.pad(x, [(0, 0), *[(0, self.side - side) for side in canvas], (0, 0)])
            outputs.append(one_position(x.reshape(x.shape[0], -1), size))
        return tuple(outputs)

    def __str__(self) -> str:
        return f"Flatten {format_size([self.side] * self.rank)}"


class FixedNet(Net):
    """A net with a flatten layer, which takes inputs of one size."""

    def __init__(self, before: Sequence[Layer], flatten: Flatten, behind: Sequence[Layer], head: Head):
        super().__init__([*before, flatten, *behind], head)
        self.flatten_at = len(before)

    @property
    def _flatten(self) -> Flatten:
        flatten = self.layers[self.flatten_at]
        assert isinstance(flatten, Flatten)
        return flatten

    @property
    def _windows_before(self) -> list[Window]:
        return [window for layer in list(self.layers)[: self.flatten_at] for window in layer.windows]

    @property
    def largest_side(self) -> int:
        return largest_side(self._windows_before, self._flatten.side)

    def check_size(self, size: Sequence[int]) -> None:
        self._flatten.check(sizes_through(self._windows_before, size)[-1])


def make_flatten(c: families.Flatten, input_channels: int, make: LayerMaker) -> Net:
    """Make a net of convolutions as in `make_fcn`, a flatten layer, and a dense layer to the classes.

    An input of another size is taken as well if the convolutions make a map of the same size of it. Every head sees one
    position, so the head average is the dense layer.

    Raises:
        UserError: nothing is left of an input of side `input_side` after the convolutions.
    """
    windows = windows_of(c)
    side = sizes_through(windows, (c.input_side,))[-1][0]
    layers = fcn_layers(input_channels, c.channels, windows, make=make)
    features = c.channels[-1] * side**make.rank
    dense = make_head(c.head, features, c.num_classes, make=make)
    return FixedNet(layers, Flatten(side, rank=make.rank), [], dense)


def make_mlp(c: families.MLP | families.Dense, input_channels: int, make: LayerMaker) -> Net:
    """Make a net of dense layers over the flattened input, which `Dense` first pads with zeros to the largest size.

    Every head sees one position, so the head average is a dense layer.
    """
    behind: list[Layer] = []
    features = input_channels * c.input_side**make.rank
    for width in c.channels:
        behind += [make.convolution((features, width), Window(1)), make.norm(width, jax.nn.relu)]
        features = width
    flatten = Flatten(c.input_side, rank=make.rank, pads=isinstance(c, families.Dense))
    return FixedNet([], flatten, behind, make_head(c.head, features, c.num_classes, make=make))
