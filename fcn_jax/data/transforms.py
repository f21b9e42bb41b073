"""What happens to a decoded image before it stands in a block: resizing, widening, random changes that keep its size.

Every draw is keyed by (seed, epoch, example), so an example looks the same on any host and after any resume.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from PIL import Image

from fcn_jax.config import AugmentConfig, DataConfig
from fcn_jax.data.draws import uniform


@dataclass(frozen=True)
class Resize:
    """A rule for the size of an image: `none`, `longest`, `shortest`, `area` (of n² pixels), or `square`.

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
                scale = self.n / np.sqrt(sizes.prod(1, dtype=np.int64))
        scaled = np.rint(sizes * np.minimum(scale, 1)[:, None])
        return np.maximum(scaled, 1).astype(sizes.dtype)

    def apply(self, image: Num[np.ndarray, "*spatial c"]) -> Num[np.ndarray, "*resized c"]:
        """One image, bilinear, antialiased when it shrinks. A signal stays as it is."""
        if self.kind == "none":
            return image
        height, width = (int(side) for side in self.sizes(np.array([image.shape[:2]]))[0])
        if (height, width) == image.shape[:2]:
            return image
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)


def check_signal_transforms(data: DataConfig) -> None:
    """
    Raises:
        ValueError: the first transform of a config that signals don't know.
    """
    fields = {"resize": (data.resize, "none")}
    fields |= {f"augment.{name}": (value, type(value)(0)) for name, value in vars(data.augment).items()}
    for name, (value, off) in fields.items():
        if value != off:
            raise ValueError(
                f"config.data.{name} is {value!r}, but signals are never resized or moved: set it to {off}"
            )


def widened_sizes(sizes: Int[np.ndarray, "n r"], min_side: int) -> Int[np.ndarray, "n r"]:
    """True sizes once every short side is widened."""
    return np.maximum(sizes, min_side)


def widen(image: np.ndarray, min_side: int, background: int) -> np.ndarray:
    """`image` in the middle of a canvas whose sides are at least `min_side`."""
    missing = [max(0, min_side - side) for side in image.shape[:-1]]
    if not any(missing):
        return image
    around = [(gap // 2, gap - gap // 2) for gap in missing]
    return np.pad(image, [*around, (0, 0)], constant_values=background)


class Augment:
    """Random rotation, shear, scale, shift and mirroring of an image on its own canvas.

    Args:
        config: the largest changes.
        background: value that comes in from outside.
    """

    def __init__(self, config: AugmentConfig, *, seed: int, background: int):
        self._config, self._seed, self._background = config, seed, background

    @property
    def is_identity(self) -> bool:
        c = self._config
        return not (c.rotate or c.shear or c.scale or c.shift or c.flip)

    def matrices(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 6"]:
        """(a, b, c, d, e, f) of every example.

        The pixel at (x, y) off the centre comes from (ax + by + c, dx + ey + f).
        """
        c = self._config

        def draw(stream: str, largest: float) -> np.ndarray:
            return (2 * uniform(self._seed, epoch, index, stream=stream) - 1) * largest

        angle, shear = draw("rotate", math.radians(c.rotate)), np.tan(draw("shear", math.radians(c.shear)))
        scale_x, scale_y = 1 + draw("scale_x", c.scale), 1 + draw("scale_y", c.scale)
        if c.flip:
            scale_x = scale_x * np.where(uniform(self._seed, epoch, index, stream="flip") < 0.5, -1, 1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack(
            [cos / scale_x, (sin + shear * cos) / scale_x, draw("shift_x", c.shift),
             -sin / scale_y, (cos - shear * sin) / scale_y, draw("shift_y", c.shift)],
            axis=1,
        )  # fmt: skip

    def apply(self, image: UInt8[np.ndarray, "h w c"], matrix: Float[np.ndarray, " 6"]) -> UInt8[np.ndarray, "h w c"]:
        """One image moved by one matrix, bilinear."""
        height, width, channels = image.shape
        a, b, shift_x, d, e, shift_y = matrix.tolist()
        x, y = width / 2, height / 2
        coefficients = (a, b, x - a * x - b * y + shift_x, d, e, y - d * x - e * y + shift_y)
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        moved = picture.transform(
            picture.size,
            Image.Transform.AFFINE,
            coefficients,
            Image.Resampling.BILINEAR,
            fillcolor=(self._background,) * channels if channels > 1 else self._background,
        )
        return np.asarray(moved).reshape(height, width, channels)
