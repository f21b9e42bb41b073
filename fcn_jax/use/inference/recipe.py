"""What is done with a file before a net sees it, and which sizes the net takes: the same as in the net's evaluation.

A recipe is all that is left of the config, so that an artifact can carry it beside it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Num

from fcn_jax.config import Config
from fcn_jax.data import images, signals
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.files import read_file
from fcn_jax.data.resize import Resize, widen
from fcn_jax.data.views import Views
from fcn_jax.geometry import format_size

SIDES = {1: ("length",), 2: ("height", "width")}
"""What the sides of a size are called, by spatial rank."""


class Example(NamedTuple):
    """A file, read."""

    size: tuple[int, ...]
    """As it was decoded."""
    values: Num[np.ndarray, "*spatial c"]
    """As the net will see it."""


@dataclass(frozen=True)
class Recipe:
    """The way from a file to the net."""

    rank: int
    """2 for images, 1 for signals."""
    channels: int
    resize: str
    """As `data.resize`."""
    scale: float
    """As `evaluate.scale`."""
    min_side: int
    """Shorter sides are widened to this."""
    background: int
    """Value that surrounds what is widened, and lies under transparency."""
    max_megapixels: float
    """A larger image is refused before it is decoded."""
    smallest_side: int
    """That the net takes."""
    largest_side: int | None
    """None: any."""
    is_masked: bool
    """Whether the net tells padding from image."""

    @property
    def suffixes(self) -> frozenset[str]:
        """Of the files that are looked for in folders."""
        return images.SUFFIXES if self.rank == 2 else signals.SUFFIXES

    @cached_property
    def _decode(self) -> Callable[[bytes], np.ndarray]:
        limit = round(self.max_megapixels * 1e6)
        if self.rank == 1:
            return partial(signals.decode_signal, channels=self.channels, max_values=limit)
        images.check_image_channels(self.channels)
        return partial(images.decode_image, channels=self.channels, background=self.background, max_pixels=limit)

    @cached_property
    def _resize(self) -> Resize:
        return Resize.parse(self.resize)

    def check(self) -> None:
        """
        Raises:
            ValueError: a rule that cannot be followed.
        """
        if self.rank not in (1, 2):
            raise ValueError(f"rank is {self.rank}, but it must be 1 (signals) or 2 (images)")
        for name, value, low, high in (
            ("smallest_side", self.smallest_side, 1, math.inf),
            ("scale", self.scale, 0.01, 100),
            ("background", self.background, 0, 255),
            ("max_megapixels", self.max_megapixels, 0, 1e9),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name} is {value}, but it must be between {low} and {high}")
        assert self._decode
        assert self._resize

    def read(self, path: str) -> Example:
        """A file as the net will see it.

        Raises:
            BadExampleError: it cannot be read, or the net does not take its size.
        """
        decoded = self._decode(read_file(path))
        values = self._resize.apply(decoded, background=self.background)
        if self.scale != 1:
            smallest = max(self.min_side, self.smallest_side)
            views = Views(np.array([values.shape[:-1]]), scale=lambda _: self.scale, smallest=smallest)
            values = views.draw(0, np.zeros(1, np.int64)).apply(values, 0)
        values = widen(values, self.min_side, self.background)
        self._check_size(values.shape[:-1])
        return Example(decoded.shape[:-1], values)

    def _check_size(self, size: tuple[int, ...]) -> None:
        least, most = self.smallest_side, self.largest_side
        if min(size) >= least and (most is None or max(size) <= most):
            return
        sides = f"sides of {least}" if least == most else f"sides of at least {least}"
        sides += "" if most in (None, least) else f" and at most {most}"
        raise BadExampleError(f"it is {format_size(size)} to the net, which takes {sides} only")


def recipe_of(config: Config, *, rank: int, smallest_side: int, largest_side: int | None) -> Recipe:
    """The recipe of a net that was trained with a config."""
    data = config.data
    return Recipe(
        rank=rank,
        channels=data.channels,
        resize=data.resize,
        scale=config.evaluate.scale,
        min_side=smallest_side if data.min_side is None else data.min_side,
        background=data.background,
        max_megapixels=data.max_megapixels,
        smallest_side=smallest_side,
        largest_side=largest_side,
        is_masked=config.model.masked,
    )
