"""What gives an example another size: the rule of `data.resize`, resampling, widening."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num
from PIL import Image


@dataclass(frozen=True)
class Resize:
    """A rule for the size of an example: `none`, `longest`, `shortest`, `area` (of n² pixels), or `square`.

    All but `square` keep the aspect and never enlarge.
    """

    kind: str
    n: int = 0

    @classmethod
    def parse(cls, text: str) -> "Resize":
        """
        Raises:
            ValueError: no such rule.
        """
        kind, _, number = text.partition(":")
        if text == "none":
            return cls("none")
        if kind in ("longest", "shortest", "area", "square") and number.isdecimal() and 0 < int(number) <= 65536:
            return cls(kind, int(number))
        raise ValueError(
            f"config.data.resize is {text!r}, but it must be none, longest:N, shortest:N, area:N or square:N"
        )

    def sizes(self, sizes: Int[np.ndarray, "n r"]) -> Int[np.ndarray, "n r"]:
        """Sizes after the rule."""
        match self.kind:
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
    missing = [max(0, min_side - side) for side in example.shape[:-1]]
    if not any(missing):
        return example
    around = [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(example, [*around, (0, 0)], constant_values=background)
