"""What is seen of an example in an epoch, and at what size: scaled, stretched, cropped, drawn before it is decoded.

Every draw is a pure function of (seed, epoch, example), so the sizes of any epoch are known from the headers alone
and the schedule is made from them. What always holds: no draw takes a side below the smallest the model survives.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num

from fcn_jax.config import AugmentConfig
from fcn_jax.data.draws import uniform
from fcn_jax.data.resize import resample, scaled_sizes, widened_sizes


@dataclass(frozen=True)
class View:
    """What is seen of some examples: of each, scaled to `scaled`, the part of size `cropped` that begins at `start`."""

    scaled: Int[np.ndarray, "n r"]
    start: Int[np.ndarray, "n r"]
    cropped: Int[np.ndarray, "n r"]

    def apply(self, example: Num[np.ndarray, "*spatial c"], number: int) -> Num[np.ndarray, "*cropped c"]:
        """What is seen of the example of that number, whole in `example`."""
        scaled, size = self.scaled[number], tuple(self.cropped[number].tolist())
        if size == example.shape[:-1]:
            return example
        ratio = np.array(example.shape[:-1]) / scaled
        start, extent = self.start[number] * ratio, self.cropped[number] * ratio
        return resample(example, size, start=tuple(start.tolist()), extent=tuple(extent.tolist()))


class Views:
    """The views of one split.

    Args:
        sizes: of the examples, before.
        scale: of all examples in an epoch: the stage's scale in training, the test-time scale in evaluation.
        augment: the largest random changes of size; None: none.
        smallest: side that no draw goes below, and to which shorter sides are widened in the end.
    """

    def __init__(
        self,
        sizes: Int[np.ndarray, "n r"],
        *,
        scale: Callable[[int], float] = lambda _: 1.0,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        smallest: int,
    ):
        self._sizes, self._scale, self._seed, self._smallest = sizes, scale, seed, smallest
        self._augment = augment or AugmentConfig()

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def rank(self) -> int:
        return self._sizes.shape[1]

    @property
    def is_random(self) -> bool:
        """Whether sizes differ between epochs of one scale."""
        a = self._augment
        return a.scale != (1.0, 1.0) or a.aspect > 0 or a.crop > 0

    def sizes(self, epoch: int) -> Int[np.ndarray, "n r"]:
        """True sizes of all examples in an epoch, widened."""
        return widened_sizes(self.draw(epoch, np.arange(len(self))).cropped, self._smallest)

    def undrawn(self, scale: float) -> Int[np.ndarray, "n r"]:
        """True sizes of all examples at a scale, without random changes, widened."""
        return Views(self._sizes, scale=lambda _: scale, smallest=self._smallest).sizes(0)

    def largest(self, epochs: Sequence[int]) -> Int[np.ndarray, " r"]:
        """A size that covers whatever may be drawn in some epochs."""
        stretch = math.sqrt(1 + self._augment.aspect)
        scale = max(map(self._scale, epochs)) * max(self._augment.scale) * stretch
        return widened_sizes(np.ceil(self._sizes.max(0) * scale).astype(self._sizes.dtype)[None], self._smallest)[0]

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> View:
        """What is seen of some examples."""
        sizes = self._sizes[index]
        scaled = sizes
        factor = self._factor(epoch, index)
        if factor is not None:
            scaled = np.maximum(scaled_sizes(sizes, factor), np.minimum(sizes, self._smallest))
        if not self._augment.crop:
            return View(scaled, np.zeros_like(scaled), scaled)
        kept = 1 - self._augment.crop * self._uniform_each_axis(epoch, index, stream="crop")
        cropped = np.maximum(scaled_sizes(scaled, kept), np.minimum(scaled, self._smallest))
        place = self._uniform_each_axis(epoch, index, stream="crop_start")
        return View(scaled, (place * (scaled - cropped + 1)).astype(scaled.dtype), cropped)

    def _factor(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n r"] | None:
        """Of every side of some examples; None where none is to change."""
        a, scale = self._augment, self._scale(epoch)
        if scale == 1 and a.scale == (1.0, 1.0) and not a.aspect:
            return None
        low, high = np.log(a.scale)
        drawn = uniform(self._seed, epoch, index, stream="scale")
        factor = np.repeat((scale * np.exp(low + (high - low) * drawn))[:, None], self.rank, axis=1)
        if a.aspect:
            taller = (2 * uniform(self._seed, epoch, index, stream="aspect") - 1) * math.log1p(a.aspect) / 2
            factor *= np.exp(np.stack([taller, -taller], axis=1))
        return factor

    def _uniform_each_axis(self, epoch: int, index: np.ndarray, *, stream: str) -> Float[np.ndarray, "n r"]:
        draws = [uniform(self._seed, epoch, index, stream=f"{stream}_{axis}") for axis in range(self.rank)]
        return np.stack(draws, axis=1)
