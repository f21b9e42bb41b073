"""Decoding of images to pixels by fixed rules, and their sizes from the headers alone.

Pillow reads them: JPEG, PNG, WebP, BMP, GIF (first frame), TIFF, PPM and PGM. The rules: EXIF orientation is applied,
also to the size; a palette becomes its colours; transparent pixels are blended with the background; 16-bit values keep
their upper 8 bits; CMYK, YCbCr, LAB and HSV become RGB; grey is 0.299 R + 0.587 G + 0.114 B; grey is repeated to make
RGB.
"""

import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
ORIENTATION = 0x0112
TURNED = frozenset({5, 6, 7, 8})
"""Values of the EXIF orientation that swap height and width."""

Image.MAX_IMAGE_PIXELS = None  # `_check_pixels` has its own limit, and checks it before anything is decoded.


def check_image_channels(channels: int) -> None:
    """Check that images can have so many channels.

    Raises:
        UserError: the number is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise UserError(f"config.data.channels is {channels}, but an image has 1 (grey) or 3 (RGB)")


def read_image_size(path: str | Path, *, max_pixels: int) -> tuple[int, int]:
    """Return the (height, width) that the decoded image will have, from the header.

    Raises:
        BadExampleError: the file is missing, is not an image, or is too large.
    """
    return _size_of(path, max_pixels=max_pixels)


def encoded_image_size(encoded: bytes, *, max_pixels: int) -> tuple[int, int]:
    """Do what `read_image_size` does, for an image in memory."""
    return _size_of(io.BytesIO(encoded), max_pixels=max_pixels)


def _size_of(source: str | Path | io.BytesIO, *, max_pixels: int) -> tuple[int, int]:
    try:
        with Image.open(source) as image:
            return _size(image, max_pixels=max_pixels)
    except BadExampleError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file.
        raise BadExampleError(_reason(error)) from error


def decode_image(encoded: bytes, *, channels: int, background: int, max_pixels: int) -> UInt8[np.ndarray, "h w c"]:
    """Return the pixels of an encoded image.

    Args:
        channels: 1 (grey) or 3 (RGB).
        background: value under transparent pixels, 0-255.

    Raises:
        BadExampleError: it is damaged, not an image, or too large.
    """
    try:
        if not encoded:
            raise BadExampleError("the file is empty")
        with Image.open(io.BytesIO(encoded)) as image, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _check_pixels(image, max_pixels)
            image.load()
            upright = ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
            pixels = np.asarray(_in_mode(upright, "L" if channels == 1 else "RGB", background))
    except BadExampleError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file.
        raise BadExampleError(_reason(error)) from error
    return pixels.reshape(*pixels.shape[:2], channels)


def with_channels(pixels: UInt8[np.ndarray, "h w c"], *, channels: int, background: int) -> UInt8[np.ndarray, "h w d"]:
    """Convert decoded pixels to grey or RGB by the rules of `decode_image`."""
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(_in_mode(picture, "L" if channels == 1 else "RGB", background)).reshape(*pixels.shape[:2], -1)


def _size(image: Image.Image, *, max_pixels: int) -> tuple[int, int]:
    _check_pixels(image, max_pixels)
    width, height = image.size
    return (width, height) if image.getexif().get(ORIENTATION, 1) in TURNED else (height, width)


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadExampleError(f"it is {height}×{width}: nothing is there")
    if width * height > max_pixels:
        raise BadExampleError(too_large(height, width, max_pixels=max_pixels))


def too_large(height: int, width: int, *, max_pixels: int) -> str:
    """Return the reason why an image of this size is refused."""
    return f"it is {height}×{width}, more than config.data.max_megapixels={max_pixels / 1e6:g} allows"


def _in_mode(image: Image.Image, mode: str, background: int) -> Image.Image:
    if image.mode == mode:
        return image
    if image.mode == "F":
        raise BadExampleError("its pixels are floating point; whole numbers are needed")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(values, 0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        below = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(below, image).convert("RGB")
    return image if image.mode == mode else image.convert("RGB").convert(mode)


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "it is no image that Pillow can read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
