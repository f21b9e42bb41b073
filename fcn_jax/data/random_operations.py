"""Random operations of a policy (TrivialAugment, RandAugment or 3-Augment) and random erasing; all keep the size.

The operations are Pillow's. Each draw is a pure function of (seed, epoch, example).
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, UInt8
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from scipy.special import ndtri

from fcn_jax.config_data import AugmentConfig
from fcn_jax.core.random import random_bits, uniform
from fcn_jax.data.pictures import pixels_of, to_pillow
from fcn_jax.data.random_changes import moved

Operation = Callable[[Image.Image, float, Any], Image.Image]
"""(image, strength, colour of pixels that move in) -> image of the same size."""


def _rotate(image: Image.Image, degrees: float, fill: Any) -> Image.Image:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return moved(image, (cos, sin, 0, -sin, cos, 0), fill)


def _enhanced(kind: Any) -> Operation:
    return lambda image, change, fill: kind(image).enhance(1 + change)


OPERATIONS: dict[str, tuple[Operation, float, float, bool]] = {
    "identity": (lambda image, strength, fill: image, 0, 0, False),
    "shear_x": (lambda image, share, fill: moved(image, (1, share, 0, 0, 1, 0), fill), 0.99, 0.3, True),
    "shear_y": (lambda image, share, fill: moved(image, (1, 0, 0, share, 1, 0), fill), 0.99, 0.3, True),
    "shift_x": (lambda image, part, fill: moved(image, (1, 0, part * image.width, 0, 1, 0), fill), 0.45, 0.45, True),
    "shift_y": (lambda image, part, fill: moved(image, (1, 0, 0, 0, 1, part * image.height), fill), 0.45, 0.45, True),
    "rotate": (_rotate, 135, 30, True),
    "brightness": (_enhanced(ImageEnhance.Brightness), 0.99, 0.9, True),
    "saturation": (_enhanced(ImageEnhance.Color), 0.99, 0.9, True),
    "contrast": (_enhanced(ImageEnhance.Contrast), 0.99, 0.9, True),
    "sharpness": (_enhanced(ImageEnhance.Sharpness), 0.99, 0.9, True),
    "posterize": (lambda image, bits, fill: ImageOps.posterize(image, 8 - round(bits)), 6, 4, False),
    "solarize": (lambda image, levels, fill: ImageOps.solarize(image, 256 - round(levels)), 256, 256, False),
    "autocontrast": (lambda image, strength, fill: ImageOps.autocontrast(image), 0, 0, False),
    "equalize": (lambda image, strength, fill: ImageOps.equalize(image), 0, 0, False),
}
"""{name: (operation, largest strength of TrivialAugment (Wide) and of RandAugment, whether it has a sign)}. Shifts are
shares of a side, since sides differ here; the papers' are 32 pixels and 0.45."""
THREE: dict[str, tuple[Operation, float, float]] = {
    "grey": (lambda image, strength, fill: ImageOps.grayscale(image).convert(image.mode), 0, 0),
    "solarize at half": (lambda image, level, fill: ImageOps.solarize(image, round(level)), 128, 128),
    "blur": (lambda image, radius, fill: image.filter(ImageFilter.GaussianBlur(radius)), 0.1, 2.0),
}
"""{name: (operation, smallest and largest strength)} of 3-Augment (arXiv:2204.07118)."""
NAMES = (*OPERATIONS, *THREE)
LARGEST_MAGNITUDE = 10


class Policy:
    """Operations drawn for each example.

    TrivialAugment (arXiv:2103.10158) draws one of any strength, RandAugment (arXiv:1909.13719) some of one strength, to
    which normal noise may be added, and 3-Augment (arXiv:2204.07118) one of three others.

    Args:
        config: its fields policy, operations, magnitude and magnitude_noise.
        background: value of pixels that move in from outside.
    """

    def __init__(self, config: AugmentConfig, *, seed: int, background: int):
        self._config, self._seed, self._background = config, seed, background

    @property
    def is_identity(self) -> bool:
        return self._config.policy == "none"

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n operations 2"]:
        """Draw (number in NAMES, strength with its sign) of every operation of every example."""
        c = self._config
        drawn = []
        for turn in range(c.operations if c.policy == "rand" else 1):
            which, strength, sign = (
                uniform(self._seed, epoch, index, stream=f"policy {turn} {name}")
                for name in ("operation", "strength", "sign")
            )
            if c.policy == "three":
                number = (which * len(THREE)).astype(int)
                low, high = (np.array([values[end] for values in THREE.values()])[number] for end in (1, 2))
                drawn.append(np.stack([len(OPERATIONS) + number, low + (high - low) * strength], axis=1))
                continue
            number = (which * len(OPERATIONS)).astype(int)
            largest = np.array([values[1 if c.policy == "trivial" else 2] for values in OPERATIONS.values()])[number]
            has_sign = np.array([values[3] for values in OPERATIONS.values()])[number]
            share = strength if c.policy == "trivial" else self._magnitude(strength) / LARGEST_MAGNITUDE
            drawn.append(np.stack([number, largest * share * np.where(has_sign & (sign < 0.5), -1, 1)], axis=1))
        return np.stack(drawn, axis=1)

    def _magnitude(self, drawn: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Return the magnitude of RandAugment for each of some draws from [0, 1)."""
        noise = self._config.magnitude_noise
        normal = ndtri(np.clip(drawn, 1e-12, None)) if noise else np.zeros(len(drawn))
        return np.clip(self._config.magnitude + noise * normal, 0, LARGEST_MAGNITUDE)

    def apply(
        self, image: UInt8[np.ndarray, "h w c"], drawn: Float[np.ndarray, "operations 2"]
    ) -> UInt8[np.ndarray, "h w c"]:
        """Change one image by what was drawn for it."""
        changed = to_pillow(image)
        fill = (self._background,) * 3 if image.shape[-1] == 3 else self._background
        for number, strength in drawn.tolist():
            name = NAMES[int(number)]
            changed = {**OPERATIONS, **THREE}[name][0](changed, strength, fill)
        return pixels_of(changed)


class Erasing:
    """A box of noise over a part of an image (Zhong et al., arXiv:1708.04896).

    The box has 2 % to a third of the image's area, and 0.3 to 3.3 times its ratio of height to width.
    """

    def __init__(self, config: AugmentConfig, *, seed: int):
        self._rate, self._seed = config.erase, seed

    @property
    def is_identity(self) -> bool:
        return not self._rate

    def draw(self, epoch: int, index: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 5"]:
        """Draw (height, width, place of the top, place of the left, seed of the noise) of the box of every example.

        Sides are shares of the image's, 0 without a box; a place is a share of the room that the box leaves.
        """
        area, ratio, top, left, happens = (
            uniform(self._seed, epoch, index, stream=f"erase {name}")
            for name in ("area", "ratio", "top", "left", "happens")
        )
        area, ratio = 0.02 + (1 / 3 - 0.02) * area, np.exp(np.log(0.3) + np.log(3.3 / 0.3) * ratio)
        sides = np.minimum(1, np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=1))
        noise = (random_bits(self._seed, epoch, index, stream="erase noise") >> np.uint64(32)).astype(float)
        return np.column_stack([sides * (happens < self._rate)[:, None], top, left, noise])

    def apply(self, image: Num[np.ndarray, "h w c"], box: Float[np.ndarray, " 5"]) -> Num[np.ndarray, "h w c"]:
        """Fill one box of an image."""
        sides = np.rint(box[:2] * image.shape[:2]).astype(int)
        if not sides.all():
            return image
        (height, width), (top, left) = sides, np.rint(box[2:4] * (image.shape[:2] - sides)).astype(int)
        number = height * width * image.shape[-1]
        noise = random_bits(int(box[4]), 0, np.arange(number), stream="noise") & np.uint64(255)
        erased = image.copy()
        values = noise.astype(np.uint8) if image.dtype == np.uint8 else noise.astype(np.float32) / 255
        erased[top : top + height, left : left + width] = values.reshape(height, width, -1)
        return erased
