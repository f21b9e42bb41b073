"""What gives an example another size: the rule of `data.resize`, resampling, widening."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num
from PIL import Image

from fcn_jax.geometry import format_size, parse_size


@dataclass(frozen=True)
class Resize:
    """A rule for the size of an example: `none`, `longest`, `shortest`, `area` (of n² pixels), `square`, or `canvas`.

    All but `square` and `canvas` keep the aspect and never enlarge. `canvas` resamples nothing: the example stands in
    the middle, what is beyond is cut off, and what is added is background that counts as image.
    """

    kind: str
    n: int = 0
    canvas: tuple[int, ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Resize":
        """
        Raises:
            ValueError: no such rule.
        """
        kind, _, number = text.partition(":")
        if text == "none":
            return cls("none")
        if kind == "canvas" and number:
            return cls("canvas", canvas=parse_size(number))
        if kind in ("longest", "shortest", "area", "square") and number.isdecimal() and 0 < int(number) <= 65536:
            return cls(kind, int(number))
        raise ValueError(
            f"config.data.resize is {text!r}, but it must be none, longest:N, shortest:N, area:N, square:N or "
            "canvas:HxW"
        )

    def sizes(self, sizes: Int[np.ndarray, "n r"]) -> Int[np.ndarray, "n r"]:
        """Sizes after the rule.

        Raises:
            ValueError: a canvas of another rank.
        """
        match self.kind:
            case "canvas" if len(self.canvas) != sizes.shape[1]:
                raise ValueError(
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

    def apply(self, example: Num[np.ndarray, "*spatial c"], *, background: int) -> Num[np.ndarray, "*resized c"]:
        """An example after the rule."""
        (size,) = self.sizes(np.array([example.shape[:-1]])).tolist()
        if self.kind == "canvas":
            return centred(example, size, background)
        return resample(example, tuple(size))


def scaled_sizes(sizes: Int[np.ndarray, "n r"], factor: Float[np.ndarray, "n #r"]) -> Int[np.ndarray, "n r"]:
    """Sizes times a factor, rounded, at least 1."""
    return np.maximum(np.rint(sizes * factor), 1).astype(sizes.dtype)


def resample(
    example: Num[np.ndarray, "*spatial c"],
    size: tuple[int, ...],
    *,
    start: tuple[float, ...] | None = None,
    extent: tuple[float, ...] | None = None,
) -> Num[np.ndarray, "*resized c"]:
    """A part of an example at another size, linearly interpolated; images are antialiased when they shrink.

    Args:
        start, extent: of the part, in positions of the example; the whole of it without them.
    """
    start, extent = start or (0,) * len(size), extent or example.shape[:-1]
    if size == tuple(extent) and all(float(place).is_integer() for place in start):
        return example[tuple(slice(int(place), int(place) + side) for place, side in zip(start, size, strict=True))]
    if len(size) == 1:
        places = start[0] + (np.arange(size[0]) + 0.5) * extent[0] / size[0] - 0.5
        known = np.arange(len(example))
        return np.stack([np.interp(places, known, channel) for channel in example.T], axis=1).astype(example.dtype)
    box = (start[1], start[0], start[1] + extent[1], start[0] + extent[0])
    resized = to_picture(example).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized).reshape(*size, -1)


def to_picture(image: Num[np.ndarray, "h w c"]) -> Image.Image:
    """A grey or RGB image for Pillow."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def widened_sizes(sizes: Int[np.ndarray, "n r"], min_side: int) -> Int[np.ndarray, "n r"]:
    """True sizes once every short side is widened."""
    return np.maximum(sizes, min_side)


def widen(example: np.ndarray, min_side: int, background: int) -> np.ndarray:
    """`example` in the middle of a canvas whose sides are at least `min_side`."""
    return centred(example, [max(min_side, side) for side in example.shape[:-1]], background)


def centred(example: np.ndarray, canvas: Sequence[int], background: int) -> np.ndarray:
    """`example` in the middle of a canvas: what is beyond is cut off, what is missing is background."""
    gaps = [wanted - side for wanted, side in zip(canvas, example.shape[:-1], strict=True)]
    if any(gap < 0 for gap in gaps):
        start = [max(0, -gap) // 2 for gap in gaps]
        example = example[tuple(slice(first, first + side) for first, side in zip(start, canvas, strict=True))]
    if any(gap > 0 for gap in gaps):
        around = [(max(0, gap) // 2, max(0, gap) - max(0, gap) // 2) for gap in gaps]
        example = np.pad(example, [*around, (0, 0)], constant_values=background)
    return example
