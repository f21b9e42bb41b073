"""The formats of images that are read, and how their files begin."""

import re
from itertools import chain

from fcn_jax.config import UserError

FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx"),
    "DIB": (".dib",),
}
"""The formats that are read, by Pillow's names, and their suffixes. Pillow has more; some of them start programs."""
ARRAYS = (".npy", ".npz")
"""Suffixes of arrays that NumPy has saved."""
SUFFIXES = frozenset(chain(ARRAYS, *FORMATS.values()))
NO_IMAGE = f"it is no image of a format that is read: {', '.join(FORMATS)}, NPY, NPZ"
HEAD_BYTES = 32
"""How many bytes `is_image` needs."""
SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\x93NUMPY",
)  # fmt: skip
"""How JPEG, PNG, TIFF, BigTIFF, JPEG 2000 and NPY begin."""
PPM_HEAD = re.compile(rb"P[1-6]\s+(#|\d+\s+\d+\s)")
BITMAP_HEADER_BYTES = frozenset({12, 40, 52, 56, 64, 108, 124})
BITMAP_DEPTHS = frozenset({1, 4, 8, 16, 24, 32})


def check_image_channels(channels: int) -> None:
    """Check that images can have so many channels.

    Raises:
        UserError: the number is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise UserError(f"config.data.channels is {channels}, but an image has 1 (grey) or 3 (RGB)")


def is_image(head: bytes) -> bool:
    """Say whether a file is an image of `FORMATS`, going by its first `HEAD_BYTES` bytes."""
    if head.startswith(SIGNATURES) or PPM_HEAD.match(head):
        return True
    if head.startswith((b"GIF87a", b"GIF89a")):
        return b"\0" in head  # A text may begin with these words.
    if head.startswith(b"BM"):
        return head[6:10] == bytes(4) and _is_bitmap(head[14:])
    if head[4:8] == b"ftyp":
        return any(brand in (b"avif", b"avis") for brand in (head[8:12], head[16:20], head[20:24], head[24:28]))
    return (head[:4], head[8:12]) == (b"RIFF", b"WEBP") or _is_bitmap(head)


def _is_bitmap(head: bytes) -> bool:
    """Say whether these bytes begin the header of a BMP or DIB: its length, the size, one plane, the bits a pixel."""
    length = int.from_bytes(head[:4], "little")
    planes = 8 if length == 12 else 12
    one, depth = (int.from_bytes(head[place : place + 2], "little") for place in (planes, planes + 2))
    return length in BITMAP_HEADER_BYTES and one == 1 and depth in BITMAP_DEPTHS
