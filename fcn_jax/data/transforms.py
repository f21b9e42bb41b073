"""The steps from an encoded example to what the net sees: decoding, `data.resize`, random views and changes.

`Resize` gives every example its size, once. `Views` chooses the part of an example that is seen in an epoch, and its
size (scaled, stretched, cropped), before the example is decoded; `random_changes.py` has the changes that keep the
size. Every random draw is a pure function of (seed, epoch, example). So the sizes of any epoch are known from the
headers alone, and an example looks the same on any host and after any resume. No draw makes a side shorter than
the model can take; a side that is too short already is not made shorter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from jaxtyping import Float, Int, Num

from fcn_jax.config import Config, UserError
from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.geometry import format_size, parse_size
from fcn_jax.core.random import uniform
from fcn_jax.data import signals
from fcn_jax.data.image_files import ImageFiles
from fcn_jax.data.pictures import Picture, changed, resized
from fcn_jax.data.pixel_range import PixelRange
from fcn_jax.data.source import Decoded, size_of, values_of


def make_decoder(
    *,
    rank: int,
    channels: int,
    background: int,
    max_megapixels: float,
    sampling_rate: int | None = None,
    resamples: bool = False,
    decode: str = "exact",
    resize: str = "none",
    pixel_range: str = "8bit",
) -> Callable[[bytes], Decoded]:
    """Return the function that decodes images (rank 2) or signals (rank 1), for training and prediction alike.

    Args:
        sampling_rate: samples a second that every signal must have; None: any.
        resamples: whether a signal of another rate is resampled, and not refused.
        decode, resize, pixel_range: the config's `data.decode`, `data.resize` and `data.pixel_range`.

    Raises:
        UserError: there is no such rule of `resize` or `pixel_range`.
    """
    limit = round(max_megapixels * 1e6)
    if rank == 1:
        return partial(
            signals.decode_signal,
            channels=channels,
            max_values=limit,
            sampling_rate=sampling_rate,
            resamples=resamples,
        )
    rule = Resize.parse(resize)
    return ImageFiles(
        channels=channels,
        background=background,
        max_pixels=limit,
        pixel_range=PixelRange.parse(pixel_range),
        resized=rule.size if decode == "fast" and rule.resamples else None,
    )


def decoder_of(config: Config, *, rank: int, sampling_rate: int | None = None) -> Callable[[bytes], Decoded]:
    """Return the function that decodes an encoded example to values with the config's channels.

    Args:
        sampling_rate: the rate of all signals, after resampling if the config asks for it; None: any.
    """
    data = config.data
    return make_decoder(
        rank=rank,
        channels=data.channels,
        background=data.background,
        max_megapixels=data.max_megapixels,
        sampling_rate=sampling_rate,
        resamples=bool(data.sampling_rate),
        decode=data.decode,
        resize=data.resize,
        pixel_range=data.pixel_range,
    )


def background_of(background: int, rank: int, pixel_range: str) -> int | float:
    """Return the value of the config's `data.background` among an example's: from 0 to 1 in an image of floats."""
    return background / 255 if rank == 2 and pixel_range != "8bit" else background


@dataclass(frozen=True)
class Resize:
    """A rule for the size of an example: `none`, `longest`, `shortest`, `area` (of n² pixels), `square`, or `canvas`.

    All but `square` and `canvas` keep the aspect and never enlarge. `canvas` does not resample: it centres the example
    on the canvas, cuts off what lies outside, and fills the rest with background that counts as image.
    """

    kind: str
    n: int = 0
    canvas: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Resize":
        """Read a rule from the text of `data.resize`.

        Raises:
            UserError: there is no such rule.
        """
        kind, _, number = text.partition(":")
        if text == "none":
            return cls("none")
        if kind == "canvas" and number:
            return cls("canvas", canvas=parse_size(number))
        if kind in ("longest", "shortest", "area", "square") and number.isdecimal() and 0 < int(number) <= 65536:
            return cls(kind, int(number))
        raise UserError(
            f"config.data.resize is {text!r}, but it must be none, longest:N, shortest:N, area:N, square:N or "
            "canvas:HxW"
        )

    @property
    def resamples(self) -> bool:
        """Whether the rule may change the number of pixels that show the same thing."""
        return self.kind not in ("none", "canvas")

    def size(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the size of one example after the rule."""
        return _size_after(self, size)

    def sizes(self, sizes: Int[np.ndarray, "n r"]) -> Int[np.ndarray, "n r"]:
        """Return the sizes after the rule.

        Raises:
            UserError: the canvas has another number of axes than the examples.
        """
        match self.kind:
            case "canvas" if len(self.canvas) != sizes.shape[1]:
                raise UserError(
                    f"config.data.resize is canvas:{format_size(self.canvas)}, but the examples have "
                    f"{sizes.shape[1]} spatial axes: give canvas:HxW for images, canvas:N for signals"
                )
            case "canvas":
                return np.broadcast_to(np.array(self.canvas, sizes.dtype), sizes.shape)
            case "none":
                return sizes
            case "square":
                return np.full_like(sizes, self.n)
            case "longest":
                scale = self.n / sizes.max(1)
            case "shortest":
                scale = self.n / sizes.min(1)
            case _:
                scale = self.n / sizes.prod(1, dtype=np.int64) ** (1 / sizes.shape[1])
        return scaled_sizes(sizes, np.minimum(scale, 1)[:, None])

    def apply(self, example: Decoded, *, background: int | float) -> Num[np.ndarray, "*resized c"]:
        """Resize one example by the rule."""
        size = self.size(size_of(example))
        if self.kind == "canvas":
            return centred(values_of(example), size, background)
        return resample(example, size)


@lru_cache(maxsize=4096)
def _size_after(rule: Resize, size: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(rule.sizes(np.array([size]))[0].tolist())


def scaled_sizes(sizes: Int[np.ndarray, "n r"], factor: Float[np.ndarray, "n #r"]) -> Int[np.ndarray, "n r"]:
    """Return sizes times a factor, rounded, at least 1."""
    return np.maximum(np.rint(sizes * factor), 1).astype(sizes.dtype)


def resample(
    example: Decoded,
    size: tuple[int, ...],
    *,
    start: tuple[float, ...] | None = None,
    extent: tuple[float, ...] | None = None,
) -> Num[np.ndarray, "*resized c"]:
    """Resample a part of an example to another size, by linear interpolation; shrinking images are antialiased.

    Args:
        size: size of the result.
        start, extent: where the part begins and its size, in positions of the example; None: the whole example.
    """
    start, extent = start or (0.0,) * len(size), extent or size_of(example)
    if size == tuple(extent) and all(float(place).is_integer() for place in start):
        part = [slice(int(place), int(place) + side) for place, side in zip(start, size, strict=True)]
        return values_of(example)[tuple(part)]
    if isinstance(example, np.ndarray) and len(size) == 1:
        places = start[0] + (np.arange(size[0]) + 0.5) * extent[0] / size[0] - 0.5
        known = np.arange(len(example))
        return np.stack([np.interp(places, known, channel) for channel in example.T], axis=1).astype(example.dtype)
    if isinstance(example, Picture):
        return example.resized(size, start=start, extent=extent)
    return changed(example, lambda image: resized(image, size, start=start, extent=extent))


def widened_sizes(sizes: Int[np.ndarray, "n r"], min_side: int) -> Int[np.ndarray, "n r"]:
    """Return the true sizes after every short side is widened."""
    return np.maximum(sizes, min_side)


def widen(example: np.ndarray, min_side: int, background: int | float) -> np.ndarray:
    """Centre an example on a canvas whose sides are at least `min_side`."""
    return centred(example, [max(min_side, side) for side in example.shape[:-1]], background)


def centred(example: np.ndarray, canvas: Sequence[int], background: int | float) -> np.ndarray:
    """Centre an example on a canvas: cut off what lies outside, fill the rest with background."""
    gaps = [wanted - side for wanted, side in zip(canvas, example.shape[:-1], strict=True)]
    if any(gap < 0 for gap in gaps):
        start = [max(0, -gap) // 2 for gap in gaps]
        example = example[tuple(slice(first, first + side) for first, side in zip(start, canvas, strict=True))]
    if any(gap > 0 for gap in gaps):
        around = [(max(0, gap) // 2, max(0, gap) - max(0, gap) // 2) for gap in gaps]
        example = np.pad(example, [*around, (0, 0)], constant_values=background)
    return example


@dataclass(frozen=True)
class View:
    """The seen parts of some examples: each is scaled to `scaled`, then cropped to size `cropped` from `start`."""

    scaled: Int[np.ndarray, "n r"]
    start: Int[np.ndarray, "n r"]
    cropped: Int[np.ndarray, "n r"]

    def apply(self, example: Num[np.ndarray, "*spatial c"], number: int) -> Num[np.ndarray, "*cropped c"]:
        """Return the seen part of a whole example, which has position `number` in this view."""
        size, scaled = tuple(self.cropped[number].tolist()), self.scaled[number]
        if size == example.shape[:-1] == tuple(scaled.tolist()):
            return example
        ratio = np.array(example.shape[:-1]) / scaled
        start, extent = self.start[number] * ratio, self.cropped[number] * ratio
        return resample(example, size, start=tuple(start.tolist()), extent=tuple(extent.tolist()))


class Views:
    """The views of one split.

    Args:
        sizes: sizes of the examples before any change.
        scale: the factor on all sizes, for each epoch: the stage's scale in training, the test scale in evaluation.
        augment: the largest random changes of size; None: no such changes.
        seed: seed of the draws.
        smallest: no draw makes a longer side shorter than this; at the end, shorter sides are widened to it.
        drawn: function that returns the example of every draw of an epoch, [n]; None: draw i is example i.
    """

    def __init__(
        self,
        sizes: Int[np.ndarray, "n r"],
        *,
        scale: Callable[[int], float] = lambda _: 1.0,
        augment: AugmentConfig | None = None,
        seed: int = 0,
        smallest: int,
        drawn: Callable[[int], Int[np.ndarray, " n"]] | None = None,
    ):
        self._sizes, self._scale, self._seed, self._smallest = sizes, scale, seed, smallest
        self._drawn = drawn
        self._augment = augment or AugmentConfig()

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def rank(self) -> int:
        return self._sizes.shape[1]

    @property
    def is_random(self) -> bool:
        """Return whether sizes differ between epochs of the same scale."""
        a = self._augment
        return self._drawn is not None or a.scale != (1.0, 1.0) or a.aspect > 0 or a.crop > 0

    def examples(self, epoch: int, draws: Int[np.ndarray, " b"]) -> Int[np.ndarray, " b"]:
        """Return the examples that some draws of an epoch stand for."""
        return draws if self._drawn is None else self._drawn(epoch)[draws]

    def sizes(self, epoch: int) -> Int[np.ndarray, "n r"]:
        """Return the true sizes of all draws of an epoch, after widening."""
        return widened_sizes(self.draw(epoch, np.arange(len(self))).cropped, self._smallest)

    def undrawn(self, scale: float) -> Int[np.ndarray, "n r"]:
        """Return the true sizes of all examples at a scale, after widening, without random changes."""
        return Views(self._sizes, scale=lambda _: scale, smallest=self._smallest).sizes(0)

    def largest(self, epochs: Sequence[int]) -> Int[np.ndarray, "n r"]:
        """Return, for every example, a size that covers every size that may be drawn for it in some epochs."""
        stretch = math.sqrt(1 + self._augment.aspect)
        scale = max(map(self._scale, epochs)) * max(self._augment.scale) * stretch
        return widened_sizes(np.ceil(self._sizes * scale).astype(self._sizes.dtype), self._smallest)

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> View:
        """Draw the seen parts of some draws of an epoch."""
        sizes = self._sizes[self.examples(epoch, index)]
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
        """Return the factor of every side of some examples; None if no side changes."""
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
