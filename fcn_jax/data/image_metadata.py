"""What stands in an image's file beside its pixels: the orientation, and whatever may be damaged without harm.

Metadata never cost the pixels: where they are damaged, the orientation is 1, and `without_metadata` gives the file
without them. Both are found without decoding the picture, so headers are read fast.
"""

import io
import re
import zlib
from collections.abc import Iterator

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

BinaryFile = io.BufferedReader | io.BytesIO
ORIENTATION = 0x0112
SUB_DIRECTORIES = frozenset({0x8769, 0x8825, 0xA005})
"""The TIFF tags that point to Exif, GPS and interoperability."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_HEADER_END = 33
PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"})
PNG_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
PNG_ORIENTATION_TEXTS = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
JPEG_START_OF_SCAN = 0xDA
JPEG_METADATA = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
"""The markers of APP1 to APP13, APP15 and comments. APP0 and APP14 (JFIF, Adobe) say how colours are stored."""


def orientation_of(image: Image.Image, file: BinaryFile) -> int:
    """Return the EXIF orientation by which the pixels of an opened image are still to be turned.

    It is 1 (upright) if there is none, or if it cannot be read.

    Args:
        image: just opened from the file; it loses the metadata that could disturb its decoding.
    """
    if image.format in ("TIFF", "AVIF"):
        image.info.pop("xmp", None)  # A TIFF's own tag counts alone, and so do an AVIF's boxes irot and imir.
    if image.format == "PNG" and "exif" not in image.info:
        image.info.update(_info_behind_pixels(file) | image.info)
    try:
        exif = Image.Image.getexif(image)  # PNG's own `getexif` decodes the picture.
        orientation = exif.get(ORIENTATION, 1)
    except Exception:  # Pillow's readers raise many kinds for damaged metadata.
        orientation = 1
    if isinstance(image, TiffImageFile):
        exif = image.getexif()
        for tag in exif.keys() & SUB_DIRECTORIES:  # `load` would read them.
            del exif[tag]
        return 1  # Pillow has turned the size, and will turn the pixels.
    return orientation if isinstance(orientation, int) else 1


def without_metadata(encoded: bytes) -> bytes:
    """Return an image's file without metadata, or without those that are damaged; unchanged if it is of other kinds."""
    if encoded.startswith(PNG_SIGNATURE):
        return _png_without_metadata(encoded)
    if encoded.startswith(b"\xff\xd8"):
        return _jpeg_without_metadata(encoded)
    if encoded[:4] == b"RIFF":
        return _webp_without_metadata(encoded)
    if encoded[4:8] == b"ftyp":
        return re.sub(rb"(infe.{8})Exif", rb"\1free", encoded, flags=re.DOTALL)  # Its item gets an unknown type.
    return encoded


def _png_chunks(file: BinaryFile) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, where it begins, where it ends) of every chunk, as far as their lengths make sense."""
    start = len(PNG_SIGNATURE)
    while True:
        file.seek(start)
        head = file.read(8)
        if len(head) < 8:
            return
        end = start + 12 + int.from_bytes(head[:4])
        yield head[4:], start, end
        start = end


def _info_behind_pixels(file: BinaryFile) -> dict:
    """Return Pillow's `info` of the chunks behind a PNG's pixels that may hold an orientation."""
    found, is_behind = [], False
    for name, start, end in _png_chunks(file):
        is_behind |= name == b"IDAT"
        if is_behind and (name == b"eXIf" or name in PNG_TEXTS):
            file.seek(start)
            chunk = file.read(end - start)
            if name == b"eXIf" or chunk[8:].startswith(PNG_ORIENTATION_TEXTS):
                found.append(chunk)
    if not found:
        return {}
    file.seek(0)
    # Pillow reads what stands before the pixels when it opens a file. So it is given a file with that alone.
    small = file.read(PNG_HEADER_END) + b"".join(found) + b"\0\0\0\0IDAT"
    try:
        return Image.open(io.BytesIO(small), formats=["PNG"]).info
    except Exception:
        return {}


def _png_without_metadata(encoded: bytes) -> bytes:
    """Keep the chunks that tell the pixels, and a whole eXIf."""
    kept = [PNG_SIGNATURE]
    for name, start, end in _png_chunks(io.BytesIO(encoded)):
        chunk = encoded[start:end]
        is_whole = zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:])
        if name in PNG_PIXELS or (name == b"eXIf" and is_whole):
            kept.append(chunk)
    return b"".join(kept)


def _jpeg_without_metadata(encoded: bytes) -> bytes:
    """Keep all segments but metadata; keep Exif if it can be read."""
    kept, start = [encoded[:2]], 2
    while encoded[start : start + 1] == b"\xff" and len(encoded) >= start + 4:
        marker = encoded[start + 1]
        if marker == 0xFF:  # A byte that fills.
            start += 1
            continue
        if marker == JPEG_START_OF_SCAN:
            break
        end = start + 2 + int.from_bytes(encoded[start + 2 : start + 4])
        segment = encoded[start:end]
        if marker not in JPEG_METADATA or _is_exif(segment[4:]):
            kept.append(segment)
        start = end
    return b"".join([*kept, encoded[start:]])


def _is_exif(metadata: bytes) -> bool:
    try:
        Image.Exif().load(metadata)
    except Exception:
        return False
    return metadata.startswith(b"Exif\0\0")


def _webp_without_metadata(encoded: bytes) -> bytes:
    """Keep the chunks that are whole, whatever the header says of the file's length."""
    kept, start = [], 12
    while start + 8 <= len(encoded):
        length = int.from_bytes(encoded[start + 4 : start + 8], "little")
        end = start + 8 + length
        if end <= len(encoded):
            kept.append(encoded[start:end] + b"\0" * (length % 2))
        start = end + length % 2
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body
