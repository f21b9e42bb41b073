"""Random changes of an example that keep its size: each draw is a pure function of (seed, epoch, example)."""

import math
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num
from PIL import Image

from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.random import uniform
from fcn_jax.data.pictures import changed, is_picture, to_pillow

LUMA = np.array([0.299, 0.587, 0.114])
MIDDLE_GREY = 127.5


class _Draws:
    """Uniform draws for some examples, symmetric around 0; each name is an independent stream."""

    def __init__(self, seed: int, epoch: int, index: Int[np.ndarray, " n"]):
        self._key = (seed, epoch, index)

    def __call__(self, stream: str, largest: float) -> Float[np.ndarray, " n"]:
        if not largest:
            return np.zeros(len(self._key[-1]))
        return (2 * uniform(*self._key, stream=stream) - 1) * largest


class Motion:
    """Random rotation, shear, stretch, shift and mirroring of an image on its own canvas.

    Args:
        config: the largest changes.
        background: value of pixels that move in from outside.
    """

    def __init__(self, config: AugmentConfig, *, seed: int, background: int):
        self._config, self._seed, self._background = config, seed, background

    @property
    def is_identity(self) -> bool:
        c = self._config
        return not (c.rotate or c.shear or c.stretch or c.shift or c.flip or c.flip_vertical)

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 6"]:
        """Draw (a, b, c, d, e, f) for every example.

        The pixel at (x, y), measured from the centre, is read at (ax + by + c, dx + ey + f).
        """
        c, draw = self._config, _Draws(self._seed, epoch, index)
        angle, shear = draw("rotate", math.radians(c.rotate)), np.tan(draw("shear", math.radians(c.shear)))
        scale_x, scale_y = 1 + draw("scale_x", c.stretch), 1 + draw("scale_y", c.stretch)
        if c.flip:
            scale_x = scale_x * np.where(draw("flip", 1.0) < 0, -1, 1)
        if c.flip_vertical:
            scale_y = scale_y * np.where(draw("flip_vertical", 1.0) < 0, -1, 1)
        cos, sin = np.cos(angle), np.sin(angle)
        return np.stack(
            [cos / scale_x, (sin + shear * cos) / scale_x, draw("shift_x", c.shift),
             -sin / scale_y, (cos - shear * sin) / scale_y, draw("shift_y", c.shift)],
            axis=1,
        )  # fmt: skip

    def apply(self, image: Num[np.ndarray, "h w c"], matrix: Float[np.ndarray, " 6"]) -> Num[np.ndarray, "h w c"]:
        """Move one image by one matrix, with bilinear interpolation; one that only mirrors it needs none."""
        a, b, shift_x, d, e, shift_y = matrix.tolist()
        if (abs(a), b, shift_x, d, abs(e), shift_y) == (1, 0, 0, 0, 1, 0):
            image = image if e == 1 else image[::-1]
            return image if a == 1 else mirrored(image)
        fill = self._background if image.dtype == np.uint8 else self._background / 255
        colour = (fill,) * 3 if is_picture(image) and image.shape[-1] == 3 else fill
        return changed(image, lambda picture: moved(picture, (a, b, shift_x, d, e, shift_y), colour))


def moved(image: Image.Image, matrix: tuple[Any, ...], fill: Any) -> Image.Image:
    """Read the pixel at (x, y), measured from the centre, at (ax + by + c, dx + ey + f), with bilinear interpolation.

    Args:
        matrix: (a, b, c, d, e, f).
        fill: value of pixels that move in from outside, one for each channel of an RGB image.
    """
    x, y = image.width / 2, image.height / 2
    a, b, c, d, e, f = matrix
    matrix = (a, b, x - a * x - b * y + c, d, e, y - d * x - e * y + f)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill)


class Mirror:
    """Mirroring of every image left to right."""

    is_identity = False

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 0"]:
        """Draw nothing."""
        del epoch
        return np.empty((len(index), 0))

    def apply(self, image: Num[np.ndarray, "h w c"], drawn: Float[np.ndarray, " 0"]) -> Num[np.ndarray, "h w c"]:
        """Mirror one image."""
        del drawn
        return mirrored(image)


def mirrored(image: Num[np.ndarray, "h w c"]) -> Num[np.ndarray, "h w c"]:
    """Mirror an image left to right, channel by channel, which NumPy does five times faster than pixel by pixel."""
    turned = np.empty_like(image)
    for channel in range(image.shape[-1]):
        turned[..., channel] = image[:, ::-1, channel]
    return turned


class Colour:
    """Random brightness, contrast (around middle grey) and saturation.

    Args:
        config: the largest relative changes.
    """

    def __init__(self, config: AugmentConfig, *, seed: int):
        self._config, self._seed = config, seed

    @property
    def is_identity(self) -> bool:
        return not (self._config.brightness or self._config.contrast or self._config.saturation)

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 3 4"]:
        """Draw, for every example, a linear map of (red, green, blue, 1) to colours."""
        c, draw = self._config, _Draws(self._seed, epoch, index)
        brightness, contrast, saturation = (
            (1 + draw(name, largest))[:, None, None]
            for name, largest in (("brightness", c.brightness), ("contrast", c.contrast), ("saturation", c.saturation))
        )
        linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA)
        offset = np.broadcast_to((1 - contrast) * MIDDLE_GREY, (len(index), 3, 1))
        return np.concatenate([linear, offset], axis=2)

    def apply(self, image: Num[np.ndarray, "h w c"], matrix: Float[np.ndarray, "3 4"]) -> Num[np.ndarray, "h w c"]:
        """Change the colours of one image; a grey image, and each of other channels, is as red = green = blue."""
        if not is_picture(image):
            return _changed_values(image, matrix)
        if image.shape[-1] == 1:
            levels = np.arange(256) * matrix[0, :3].sum() + matrix[0, 3]
            return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[image]
        return np.asarray(to_pillow(image).convert("RGB", tuple(matrix.ravel().tolist())))


def _changed_values(image: Num[np.ndarray, "h w c"], matrix: Float[np.ndarray, "3 4"]) -> Num[np.ndarray, "h w c"]:
    """Change the colours of an image that is no picture of 8 bits: floats from 0 to 1, or of other channels."""
    white = 255 if image.dtype == np.uint8 else 1.0
    offset = matrix[:, 3] * white / 255
    values = image @ matrix[:, :3].T + offset if image.shape[-1] == 3 else image * matrix[0, :3].sum() + offset[0]
    return np.clip(np.rint(values) if white == 255 else values, 0, white).astype(image.dtype)
