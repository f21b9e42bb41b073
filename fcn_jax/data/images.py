"""Decoding of images to pixels by fixed rules, and their sizes from the headers alone.

Pillow reads the formats in `FORMATS`, the first frame of each. One function, `_open`, decides size and orientation for
both. The orientation that the metadata give is applied. Whatever is clear, by alpha, palette or a clear colour, lies
over the background. 16-bit values keep their upper 8 bits. CMYK, YCbCr, LAB and HSV become RGB; grey is
0.299 R + 0.587 G + 0.114 B; grey is repeated to make RGB. So equal pictures give equal pixels in all lossless formats
(colours of more than 8 bits in JPEG 2000 and AVIF are rounded by their decoders). Colour profiles and gamma are not
applied. Damaged metadata are left out; they never cost the pixels.

Where a JPEG will be shrunk, `decode_picture` may decode it at a half, a quarter or an eighth: faster, nearly the same.
"""

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from jaxtyping import Bool, Num, UInt8, UInt16
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.image_formats import FORMATS, HEAD_BYTES, NO_IMAGE, is_image
from fcn_jax.data.image_metadata import BinaryFile, orientation_of, without_metadata
from fcn_jax.data.pictures import Picture

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes an image of an EXIF orientation upright."""
SIDEWAYS = frozenset({5, 6, 7, 8})
"""The orientations that swap height and width."""
PNG_BITS = {"L;2": 2, "L;4": 4, "I;16B": 16, "RGB;16B": 16}
"""Bits of a value in those raw modes of PNG that have more or fewer than 8."""
PNG_FACTS = ("transparency", "interlace")
"""Where Pillow keeps facts about a PNG's pixels; a text that happens to have this name replaces them."""
GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B")
"""Pillow's modes of images without colour."""
REDUCIBLE = ("JPEG", "MPO")
PARTS = (8, 4, 2)
ENOUGH = 0.9
"""So a photograph of 500×375 may be decoded to 250×188 for 259×194, which loses hardly any detail."""
TIFF_SAMPLE_FORMAT, TIFF_PHOTOMETRIC, TIFF_WHITE_IS_ZERO = 339, 262, 0

Image.MAX_IMAGE_PIXELS = None  # `_open` has its own limit, and checks it before anything is decoded.
warnings.filterwarnings("ignore", module="PIL")  # About metadata mostly; what costs an image is an error all the same.


def read_image_size(file: BinaryFile, *, max_pixels: int) -> tuple[int, int]:
    """Return the (height, width) that the decoded image will have, from the header of an open file.

    Raises:
        BadExampleError: it is not an image that can be decoded, or it is too large.
    """
    image, orientation = _open(file, max_pixels=max_pixels)
    width, height = image.size
    return (width, height) if orientation in SIDEWAYS else (height, width)


def has_colour(file: BinaryFile, *, max_pixels: int) -> bool:
    """Return whether an image is more than grey, with or without alpha; errors are those of `read_image_size`."""
    image, _ = _open(file, max_pixels=max_pixels)
    return image.mode not in GREY


def decode_image(encoded: bytes, *, channels: int, background: int, max_pixels: int) -> UInt8[np.ndarray, "h w c"]:
    """Return the pixels of an encoded image; arguments and errors are those of `decode_picture`."""
    return decode_picture(encoded, channels=channels, background=background, max_pixels=max_pixels).pixels


def decode_16_bits(encoded: bytes, *, max_pixels: int) -> UInt16[np.ndarray, "h w 1"] | None:
    """Return the upright values of a grey image of more than 8 bits; None if it has no more.

    Raises:
        BadExampleError: it cannot be decoded, or Pillow would keep only 8 bits of its colours.
    """
    image, orientation = _open(io.BytesIO(encoded), max_pixels=max_pixels)
    largest = image.tile[0].args[1] if image.format == "PPM" and isinstance(image.tile[0].args, tuple) else 255
    if _stored_as(image) == "RGB;16B" or (image.mode == "RGB" and largest > 255):
        raise BadExampleError("of its 16-bit colours only 8 bits can be read: save it as TIFF or NPY")
    if not image.mode.startswith("I"):
        return None
    if "transparency" in image.info:
        raise BadExampleError("it has a clear colour, which is read of 8 bits alone")
    with _pillow():
        upright = image.transpose(TURNS[orientation]) if orientation in TURNS else image
        return np.asarray(upright).astype(np.uint16)[..., None]


def decode_picture(
    encoded: bytes,
    *,
    channels: int,
    background: int,
    max_pixels: int,
    resized: Callable[[tuple[int, ...]], tuple[int, ...]] | None = None,
) -> Picture:
    """Decode an image.

    Args:
        channels: 1 (grey) or 3 (RGB).
        background: value under transparent pixels, 0-255.
        resized: returns the (height, width) that an image of a true size will be resized to. A JPEG is then decoded
            at a fraction of its size if that leaves a share `ENOUGH` of it; None: at its size.

    Raises:
        BadExampleError: it is damaged, not an image, or too large.
    """
    if not encoded:
        raise BadExampleError("the file is empty")
    image, orientation = _open(io.BytesIO(encoded), max_pixels=max_pixels)
    size = (image.width, image.height) if orientation in SIDEWAYS else (image.height, image.width)
    mode = "L" if channels == 1 else "RGB"
    if resized is not None and image.format in REDUCIBLE:
        part = _part(size, resized(size))
        with _pillow():
            image.draft(mode, (max(1, image.width // part), max(1, image.height // part)))
    upright = _in_mode(_load(image, encoded), mode, background)
    return Picture(upright.transpose(TURNS[orientation]) if orientation in TURNS else upright, size)


def _part(size: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    """Return the largest divisor of a size, of those that JPEG decoders have, that leaves enough of a wanted size."""
    left = min(side / least for side, least in zip(size, wanted, strict=True))
    return next((part for part in PARTS if left / part >= ENOUGH), 1)


def with_channels(pixels: Num[np.ndarray, "h w c"], *, channels: int, background: int) -> UInt8[np.ndarray, "h w d"]:
    """Convert decoded pixels to grey or RGB by the rules of `decode_image`.

    Raises:
        BadExampleError: they are not whole numbers of 8 or 16 bits.
    """
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise BadExampleError(f"its pixels are {pixels.dtype}; uint8 or uint16 are needed")
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    return np.asarray(_in_mode(picture, "L" if channels == 1 else "RGB", background)).reshape(*pixels.shape[:2], -1)


def too_large(height: int, width: int, *, max_pixels: int) -> str:
    """Return the reason why an image of this size is refused."""
    return f"it is {height}×{width}, more than config.data.max_megapixels={max_pixels / 1e6:g} allows"


def _open(file: BinaryFile, *, max_pixels: int) -> tuple[ImageFile, int]:
    """Open an image and check all that its header tells; return it, not yet decoded, and the turn that it needs."""
    image = _identified(file)
    width, height = image.size
    if width * height > max_pixels:
        raise BadExampleError(too_large(height, width, max_pixels=max_pixels))
    _check_kind(image)
    try:
        return image, orientation_of(image, file)
    except OSError as error:  # The file cannot be read.
        raise BadExampleError(_reason(error)) from error


def _identified(file: BinaryFile) -> ImageFile:
    """Open an image with Pillow, and without its metadata if Pillow cannot open it as it is."""
    try:
        image = Image.open(file, formats=list(FORMATS))
    except Exception as error:  # Pillow's readers raise many kinds for a damaged file.
        if isinstance(error, OSError) and error.errno is not None:  # Not the bytes are at fault, but their reading.
            raise BadExampleError(_reason(error)) from error
        found = error
    else:
        if not any(isinstance(image.info.get(name), str) for name in PNG_FACTS):
            return image
        found = ValueError("texts in it replace what Pillow must know of the pixels")
    with _pillow():
        file.seek(0)
        encoded = file.read()
    if isinstance(found, UnidentifiedImageError) and not is_image(encoded[:HEAD_BYTES]):
        raise BadExampleError(NO_IMAGE) from found
    bare = without_metadata(encoded)
    try:
        return Image.open(io.BytesIO(bare), formats=list(FORMATS))
    except Exception:
        raise BadExampleError(_reason(found)) from found


def _check_kind(image: ImageFile) -> None:
    """Check that the pixels are unsigned whole numbers of at most 16 bits, or places in a palette.

    Raises:
        BadExampleError: they are not, so nobody can tell which of them is black and which is white.
    """
    if image.mode == "P" and image.palette is None:
        raise BadExampleError("its pixels are places in a palette, but it has none")
    if image.mode == "F":
        raise BadExampleError("its pixels are floating point; whole numbers are needed")
    if isinstance(image, TiffImageFile) and (
        image.mode == "I" or set(image.tag_v2.get(TIFF_SAMPLE_FORMAT, (1,))) != {1}
    ):
        raise BadExampleError("its pixels are signed or 32-bit numbers; unsigned ones of at most 16 bits are needed")


def _load(image: ImageFile, encoded: bytes) -> Image.Image:
    """Decode an opened image to 8 bits a value; what is clear stands in its alpha, its palette or its info."""
    if image.format == "PNG":
        return _load_png(image, encoded)
    if image.format == "GIF":
        return _load_gif(image)
    if image.format == "PPM" and image.mode == "RGB":
        return _load_colour_ppm(image, encoded)
    stored_as = _stored_as(image)
    with _pillow():
        image.load()
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.uint16)
    if isinstance(image, TiffImageFile) and image.tag_v2.get(TIFF_PHOTOMETRIC) == TIFF_WHITE_IS_ZERO:
        values = 65535 - values
    return Image.fromarray((values >> (4 if stored_as == "I;12" else 8)).astype(np.uint8))


def _stored_as(image: ImageFile) -> str:
    """Return Pillow's name for how the pixels are stored, which it forgets when it decodes them."""
    args = image.tile[0].args if image.tile else None
    return args if isinstance(args, str) else str(args[0]) if args else ""


def _load_png(image: ImageFile, encoded: bytes) -> Image.Image:
    """Decode a PNG; a colour that is clear becomes alpha."""
    stored_as = _stored_as(image)
    clear = image.info.get("transparency")  # Text of this name, behind the pixels, would replace it.
    try:
        image.load()
    except Exception as error:  # As in `_identified`. Perhaps only the metadata behind the pixels are damaged.
        encoded = without_metadata(encoded)
        image = _loaded_again(encoded, error)
    image.info.pop("transparency", None)
    if clear is not None and image.mode in ("L", "RGB", "I;16"):
        return _with_clear_colour(image, clear, stored_as, encoded)
    if clear is not None:
        image.info["transparency"] = clear
    return image if image.mode != "I;16" else Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _loaded_again(encoded: bytes, error: Exception) -> ImageFile:
    try:
        image = Image.open(io.BytesIO(encoded), formats=["PNG"])
        image.load()
        return image
    except Exception:
        raise BadExampleError(_reason(error)) from error


def _with_clear_colour(
    image: ImageFile, clear: int | tuple[int, int, int], stored_as: str, encoded: bytes
) -> Image.Image:
    """Give a PNG alpha: 0 where a pixel has the clear colour, in as many bits a value as the file has."""
    bits = PNG_BITS.get(stored_as, 8)
    pixels = np.asarray(image).reshape(image.height, image.width, -1).astype(np.uint16)
    if stored_as == "RGB;16B":
        # Pillow keeps the upper byte of each value. In the other byte order, it keeps the lower one.
        lower = _identified(io.BytesIO(encoded))
        lower.tile = [lower.tile[0]._replace(args="RGB;16L")]
        with _pillow():
            lower.load()
        pixels = pixels << 8 | np.asarray(lower)
    values = pixels if bits == 16 else pixels * (2**bits - 1) // 255
    is_clear = (values == np.array(clear) % 2**bits).all(-1)
    return Image.fromarray(_with_alpha((pixels >> 8 if bits == 16 else pixels).astype(np.uint8), is_clear))


def _load_gif(image: ImageFile) -> Image.Image:
    """Decode the first frame of a GIF; what it leaves uncovered is clear."""
    left, top, right, bottom = covered = image.tile[0].extents or (0, 0, *image.size)
    with _pillow():
        image.load()
    if covered == (0, 0, *image.size) or "transparency" in image.info:
        return image
    is_clear = np.ones((image.height, image.width), bool)
    is_clear[top:bottom, left:right] = False
    return Image.fromarray(_with_alpha(np.asarray(_converted(image, "RGB")), is_clear))


def _load_colour_ppm(image: ImageFile, encoded: bytes) -> Image.Image:
    """Decode a colour PPM; of more than 8 bits keep the upper 8: read as grey, since Pillow rounds colours."""
    tile, (width, height) = image.tile[0], image.size
    largest = tile.args[1] if isinstance(tile.args, tuple) else 255
    if largest <= 255:
        with _pillow():
            image.load()
        return image
    header = b"%s %d %d %d\n" % (b"P2" if encoded[:2] == b"P3" else b"P5", 3 * width, height, largest)
    with _pillow():
        grey = Image.open(io.BytesIO(header + encoded[tile.offset :]), formats=["PPM"])
        grey.load()
    return Image.fromarray((np.asarray(grey).reshape(height, width, 3) >> 8).astype(np.uint8))


def _with_alpha(
    values: UInt8[np.ndarray, "h w c"], is_clear: Bool[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w c_and_1"]:
    return np.concatenate([values, np.where(is_clear, 0, 255).astype(np.uint8)[..., None]], axis=-1)


def _in_mode(image: Image.Image, mode: str, background: int) -> Image.Image:
    """Lay an image with 8 bits a value over the background, and convert it to L or RGB."""
    if image.has_transparency_data:
        upper = _converted(image, "LA") if image.mode == "La" else image  # No way leads from La to RGBA directly.
        below = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(below, _converted(upper, "RGBA")).convert("RGB")
    return image if image.mode == mode else _converted(_converted(image, "RGB"), mode)


def _converted(image: Image.Image, mode: str) -> Image.Image:
    with _pillow():
        return image.convert(mode)


@contextmanager
def _pillow() -> Iterator[None]:
    """Make a bad example of whatever Pillow raises: its readers raise many kinds for a damaged file."""
    try:
        yield
    except Exception as error:
        raise BadExampleError(_reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):
        return "its header is damaged, or says that the pixels are of a kind that is not read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
