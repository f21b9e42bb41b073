"""Images in Pillow's hands: one of its images for grey or RGB of 8 bits, else one for each channel."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image


@dataclass(frozen=True)
class Picture:
    """A decoded image as Pillow holds it, in grey or RGB: to resize it, no array has to be made of it before."""

    image: Image.Image
    size: tuple[int, ...]
    """Its true (height, width); `image` is smaller if it was decoded at a fraction of it."""

    @property
    def pixels(self) -> UInt8[np.ndarray, "h w c"]:
        """The pixels at the true size."""
        if (self.image.height, self.image.width) == self.size:
            return pixels_of(self.image)
        return self.resized(self.size, start=(0, 0), extent=self.size)

    def resized(
        self, size: tuple[int, ...], *, start: tuple[int | float, ...], extent: tuple[int | float, ...]
    ) -> UInt8[np.ndarray, "h w c"]:
        """Resize the part that begins at `start` and has size `extent`, in pixels of the true size, antialiased."""
        down, across = self.image.height / self.size[0], self.image.width / self.size[1]
        start, extent = (start[0] * down, start[1] * across), (extent[0] * down, extent[1] * across)
        return pixels_of(resized(self.image, size, start=start, extent=extent))


def resized(
    image: Image.Image, size: tuple[int, ...], *, start: tuple[int | float, ...], extent: tuple[int | float, ...]
) -> Image.Image:
    """Resize the part of an image that begins at `start` and has size `extent`, in its own pixels, antialiased."""
    (top, left), (height, width) = start, extent
    box = (left, top, left + width, top + height)
    return image.resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box)


def pixels_of(image: Image.Image) -> Num[np.ndarray, "h w c"]:
    """Return the pixels of an image, uint8 in grey or RGB, or one channel of floats."""
    return np.asarray(image).reshape(image.height, image.width, -1)


def to_pillow(image: UInt8[np.ndarray, "h w c"]) -> Image.Image:
    """Make a Pillow image of a grey or RGB array."""
    return Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)


def is_picture(values: Num[np.ndarray, "h w c"]) -> bool:
    """Return whether Pillow can hold an array in one image: 8 bits, in grey or RGB."""
    return values.dtype == np.uint8 and values.shape[-1] in (1, 3)


def changed(values: Num[np.ndarray, "h w c"], change: Callable[[Image.Image], Image.Image]) -> Num[np.ndarray, "m n c"]:
    """Change an array by a function of Pillow's images: whole if Pillow can hold it, else channel by channel."""
    if is_picture(values):
        return pixels_of(change(to_pillow(values)))
    channels = [np.ascontiguousarray(values[..., channel]) for channel in range(values.shape[-1])]
    return np.concatenate([pixels_of(change(Image.fromarray(channel))) for channel in channels], axis=-1)


def shown_pixels(values: Num[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w d"]:
    """Return 8-bit pixels by which a person sees an image: of channels that are no colours, their mean in grey."""
    if is_picture(values):
        return values
    white = 1 if values.dtype == np.uint8 else 255
    values = values if values.shape[-1] in (1, 3) else values.mean(-1, keepdims=True)
    return np.rint(values * white).clip(0, 255).astype(np.uint8)
