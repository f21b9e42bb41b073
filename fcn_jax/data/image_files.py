"""Files of images, whatever their format: their sizes from the headers, and their pixels by one rule.

Pictures of 8 bits in grey or RGB are Pillow's (`images.py`). Arrays, and TIFF files of more channels or at full depth,
keep what they have (`array_images.py`). A grey image serves as RGB and the other way round; any other number of
channels must be that of the config.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Num, Shaped

from fcn_jax.data import array_images, images
from fcn_jax.data.array_images import Header
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.image_formats import HEAD_BYTES
from fcn_jax.data.image_metadata import BinaryFile
from fcn_jax.data.pixel_range import PixelRange, upper_8_bits
from fcn_jax.data.source import Decoded

COLOURS = (1, 3)
"""Numbers of channels that become each other: grey and RGB."""
LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class ImageFiles:
    """The rules by which files become images.

    Args:
        channels: number of channels that an image has.
        background: value under transparent pixels, 0-255.
        max_pixels: a larger image is refused before it is decoded.
        pixel_range: the scale of pixels.
        resized: see `images.decode_picture`; for pictures alone.
    """

    channels: int
    background: int
    max_pixels: int
    pixel_range: PixelRange
    resized: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None

    @property
    def are_pictures(self) -> bool:
        """Whether images are pictures of 8 bits, in grey or RGB."""
        return self.pixel_range.is_8bit and self.channels in COLOURS

    def read_size(self, file: BinaryFile) -> tuple[int, int]:
        """Return the (height, width) of an image from the header of an open file.

        Raises:
            BadExampleError: it cannot be decoded, is too large, or has other channels or another type.
        """
        head = file.read(HEAD_BYTES)
        file.seek(0)
        header = self._array_header(head, file)
        if header is not None:
            return header.size
        file.seek(0)
        if not self.are_pictures:
            self._check_channels(3 if images.has_colour(file, max_pixels=self.max_pixels) else 1)
            file.seek(0)
        return images.read_image_size(file, max_pixels=self.max_pixels)

    def __call__(self, encoded: bytes) -> Decoded:
        """Decode an image; errors are those of `read_size`."""
        file = io.BytesIO(encoded)
        if self._array_header(encoded[:HEAD_BYTES], file) is not None:
            read = array_images.read_numpy if array_images.is_numpy(encoded) else array_images.read_tiff
            return self._scaled(read(file))
        if self.are_pictures:
            return images.decode_picture(
                encoded,
                channels=self.channels,
                background=self.background,
                max_pixels=self.max_pixels,
                resized=self.resized,
            )
        if not self.pixel_range.is_8bit:
            deep = images.decode_16_bits(encoded, max_pixels=self.max_pixels)
            if deep is not None:
                self._check_channels(1)
                return self._scaled(deep)
        file.seek(0)
        self._check_channels(3 if images.has_colour(file, max_pixels=self.max_pixels) else 1)
        channels = self.channels if self.channels in COLOURS else 3
        return self._scaled(
            images.decode_image(encoded, channels=channels, background=self.background, max_pixels=self.max_pixels)
        )

    def _array_header(self, head: bytes, file: BinaryFile) -> Header | None:
        """Return the header of a file that is read as an array, checked; None if it is read as a picture."""
        if array_images.is_numpy(head):
            header = array_images.read_numpy_header(file)
        elif array_images.is_tiff(head) and not self.are_pictures:
            header = array_images.read_tiff_header(file)
        else:
            return None
        if header is None:
            return None
        height, width = header.size
        if height * width > self.max_pixels:
            raise BadExampleError(images.too_large(height, width, max_pixels=self.max_pixels))
        self._check_channels(header.channels)
        self.pixel_range.check_type(header.dtype)
        return header

    def _check_channels(self, channels: int) -> None:
        if channels != self.channels and not {channels, self.channels} <= {*COLOURS}:
            raise BadExampleError(f"its number of channels is {channels}, but config.data.channels is {self.channels}")

    def _scaled(self, values: Shaped[np.ndarray, "h w c"]) -> Num[np.ndarray, "h w d"]:
        """Return values on the config's scale, with its channels."""
        dtype, found = values.dtype, values.shape[-1]
        if self.pixel_range.is_8bit:
            values = upper_8_bits(values)
            if self.channels in COLOURS:
                return images.with_channels(values, channels=self.channels, background=self.background)
            return values
        if found == self.channels:
            return self.pixel_range.apply(values, dtype=dtype)
        if self.channels == 1:
            return self.pixel_range.apply((values @ LUMA)[..., None], dtype=dtype)
        return self.pixel_range.apply(values, dtype=dtype).repeat(3, axis=-1)
