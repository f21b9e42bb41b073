"""A net, whatever its family: layers in a row, then a head."""

from collections.abc import Sequence
from itertools import takewhile

from flax import nnx

from fcn_jax.geometry import Window, sizes_through
from fcn_jax.models.heads import Head, Prediction
from fcn_jax.models.layers import Layer
from fcn_jax.models.maps import Map, Maps, full_precision
from fcn_jax.models.pooling import AdaptiveAveragePool


class Net(nnx.Module):
    """Maps -> layers -> head -> predictions. The head works in float32, whatever the layers do."""

    def __init__(self, layers: Sequence[Layer], head: Head):
        self.layers, self.head = nnx.List(layers), head

    @property
    def windows(self) -> tuple[Window, ...]:
        """The windows that an input has to survive: not those behind an adaptive pool, which makes any size one."""
        before = takewhile(lambda layer: not isinstance(layer, AdaptiveAveragePool), self.layers)
        return tuple(window for layer in before for window in layer.windows)

    @property
    def largest_side(self) -> int | None:
        """The largest side that the net takes; None: any."""
        return None

    def check_size(self, size: Sequence[int]) -> None:
        """
        Raises:
            ValueError: the net does not take inputs of that size; it says why and which it takes.
        """
        sizes_through(self.windows, size)

    def __call__(self, maps: Maps, *, training: bool) -> tuple[Prediction, ...]:
        for layer in self.layers:
            maps = layer(maps, training=training)
        return self.head(tuple(Map(full_precision(x), size) for x, size in maps), training=training)
