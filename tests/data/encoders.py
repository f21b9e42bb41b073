"""Files of one picture in every lossless format, mode and bit depth; Pillow cannot write some of them."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def saved(image: Image.Image | np.ndarray, file_format: str, **options) -> bytes:
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, file_format, **options)
    return stream.getvalue()


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(values: np.ndarray, bits: int = 8, *, clear=None, before: bytes = b"", behind: bytes = b"") -> bytes:
    """Write a PNG of grey, grey and alpha, RGB or RGBA values; `clear` is the colour of its tRNS chunk."""
    height, width, channels = values.shape
    big_endian = values.astype(">u2").view(np.uint8).reshape(height, -1, 2)
    if bits < 8:
        rows = np.packbits(np.unpackbits(big_endian[..., 1:], axis=2)[..., 8 - bits :].reshape(height, -1), axis=1)
    else:
        rows = big_endian[..., 2 - bits // 8 :].reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    transparency = b"" if clear is None else chunk(b"tRNS", np.array(clear, ">u2").tobytes())
    pixels = chunk(b"IDAT", zlib.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))
    return SIGNATURE + chunk(b"IHDR", header) + transparency + before + pixels + behind + chunk(b"IEND", b"")


def tiff(
    values: bytes, size: tuple[int, int], bits: int, *, white_is_zero: bool = False, numbers: int = 1, tags=()
) -> bytes:
    """Write a grey TIFF of one strip; `numbers` is its sample format: 1 unsigned, 2 signed, 3 floating point."""
    entries = [
        (256, 4, size[1]), (257, 4, size[0]), (258, 3, bits), (259, 3, 1), (262, 3, 0 if white_is_zero else 1),
        (273, 4, 0), (277, 3, 1), (278, 4, size[0]), (279, 4, len(values)), (339, 3, numbers), *tags,
    ]  # fmt: skip
    start = 8 + 2 + 12 * len(entries) + 4
    rows = [struct.pack("<HHII", tag, kind, 1, start if tag == 273 else value) for tag, kind, value in sorted(entries)]
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4) + values


def palette_image(rgba: np.ndarray) -> tuple[Image.Image, bytes]:
    """Return a picture of at most 256 colours with a palette, and the alpha of each."""
    colours, indices = np.unique(rgba.reshape(-1, 4), axis=0, return_inverse=True)
    image = Image.fromarray(indices.reshape(rgba.shape[:2]).astype(np.uint8))
    image.putpalette(colours[:, :3].astype(np.uint8).tobytes())
    return image, colours[:, 3].astype(np.uint8).tobytes()


def deep(values: np.ndarray) -> np.ndarray:
    """Return values of 16 bits with these upper 8 and other lower ones, the same for the same value."""
    return values.astype(np.uint16) * 256 + values.astype(np.uint16) * 37 % 256


def text_of(values: np.ndarray) -> bytes:
    return " ".join(map(str, values.ravel().tolist())).encode()


def opaque_files(rgb: np.ndarray) -> dict[str, bytes]:
    """Return files of an opaque picture in colour."""
    height, width, _ = rgb.shape
    alpha = np.full((height, width, 1), 255, np.uint8)
    palette, _ = palette_image(np.concatenate([rgb, alpha], axis=-1))
    size = b"%d %d" % (width, height)
    return {
        "PNG": saved(rgb, "PNG"),
        "PNG of 16 bits": png(deep(rgb), 16),
        "PNG, palette": saved(palette, "PNG"),
        "BMP": saved(rgb, "BMP"),
        "BMP, palette": saved(palette, "BMP"),
        "DIB": saved(rgb, "DIB"),
        "GIF": saved(palette, "GIF"),
        "TIFF": saved(rgb, "TIFF"),
        "TIFF, packed": saved(rgb, "TIFF", compression="tiff_lzw"),
        "TIFF, palette": saved(palette, "TIFF"),
        "WebP": saved(rgb, "WEBP", lossless=True),
        "JPEG 2000": saved(rgb, "JPEG2000", num_resolutions=1),
        "JPEG 2000, bare": saved(rgb, "JPEG2000", num_resolutions=1, no_jp2=True),
        "PPM": saved(rgb, "PPM"),
        "PPM in words": b"P3 " + size + b" 255\n" + text_of(rgb),
        "PPM of 16 bits": b"P6\n" + size + b"\n65535\n" + deep(rgb).astype(">u2").tobytes(),
        "PPM of 16 bits in words": b"P3\n# a remark\n" + size + b" 65535\n" + text_of(deep(rgb)),
    }


def opaque_grey_files(grey: np.ndarray) -> dict[str, bytes]:
    """Return files of an opaque grey picture."""
    height, width = grey.shape
    size, wide = b"%d %d" % (width, height), deep(grey)
    halves = np.pad(wide // 16, ((0, 0), (0, width % 2))).reshape(height, -1, 2).astype(np.uint32)
    twelve = (halves[..., 0] << 12 | halves[..., 1]).astype(">u4").view(np.uint8).reshape(height, -1, 4)[..., 1:]
    twelve = twelve.reshape(height, -1)[:, : (width * 12 + 7) // 8]
    return {
        "PNG": saved(grey, "PNG"),
        "PNG of 16 bits": png(wide[..., None], 16),
        "PGM": saved(grey, "PPM"),
        "PGM of 16 bits": saved(wide, "PPM"),
        "PGM of 16 bits in words": b"P2\n" + size + b"\n65535\n" + text_of(wide),
        "BMP": saved(grey, "BMP"),
        "GIF": saved(grey, "GIF"),
        "TIFF": saved(grey, "TIFF"),
        "TIFF of 12 bits": tiff(twelve.tobytes(), grey.shape, 12),
        "TIFF of 16 bits": saved(wide, "TIFF"),
        "TIFF of 16 bits, packed": saved(wide, "TIFF", compression="tiff_lzw"),
        "TIFF of 16 bits, big-endian": saved(wide.astype(">u2"), "TIFF"),
        "TIFF, white is 0": tiff((255 - grey).tobytes(), grey.shape, 8, white_is_zero=True),
        "TIFF of 16 bits, white is 0": tiff((65535 - wide).tobytes(), grey.shape, 16, white_is_zero=True),
        "JPEG 2000 of 16 bits": saved(wide, "JPEG2000", num_resolutions=1),
    }


def alpha_files(rgba: np.ndarray) -> dict[str, bytes]:
    """Return files of a picture with any alpha."""
    palette, alphas = palette_image(rgba)
    return {
        "PNG": saved(rgba, "PNG"),
        "PNG of 16 bits": png(np.concatenate([deep(rgba[..., :3]), rgba[..., 3:] * np.uint16(257)], axis=-1), 16),
        "PNG, palette": saved(palette, "PNG", transparency=alphas),
        "TIFF": saved(rgba, "TIFF"),
        "WebP": saved(rgba, "WEBP", lossless=True, exact=True),
        "JPEG 2000": saved(rgba, "JPEG2000", num_resolutions=1),
    }


def grey_alpha_files(grey: np.ndarray, alpha: np.ndarray) -> dict[str, bytes]:
    """Return files of a grey picture with any alpha."""
    both = np.stack([grey, alpha], axis=-1)
    indexed = Image.merge("PA", [Image.fromarray(grey), Image.fromarray(alpha)])
    indexed.putpalette(np.repeat(np.arange(256, dtype=np.uint8), 3).tobytes())
    return {
        "PNG": saved(both, "PNG"),
        "PNG of 16 bits": png(np.stack([deep(grey), alpha * np.uint16(257)], axis=-1), 16),
        "TIFF": saved(both, "TIFF"),
        "TIFF, palette and alpha": saved(indexed, "TIFF"),
        "JPEG 2000": saved(both, "JPEG2000", num_resolutions=1),
    }


def clear_files(rgb: np.ndarray, clear: tuple[int, int, int]) -> dict[str, bytes]:
    """Return files of a picture in which one colour is clear."""
    is_clear = (rgb == clear).all(-1)
    palette, alphas = palette_image(np.concatenate([rgb, np.where(is_clear, 0, 255)[..., None]], axis=-1))
    wide = deep(rgb)
    nearly = wide ^ np.where(is_clear, 0, 1).astype(np.uint16)[..., None]
    return {
        "PNG": saved(rgb, "PNG", transparency=clear),
        "PNG of 16 bits": png(nearly, 16, clear=deep(np.array(clear))),
        "PNG, palette": saved(palette, "PNG", transparency=alphas),
        "GIF": saved(palette, "GIF", transparency=alphas.index(0)) if is_clear.any() else saved(palette, "GIF"),
    }


def clear_grey_files(grey: np.ndarray, clear: int, bits: int) -> dict[str, bytes]:
    """Return files of a grey picture of values of few bits, in which one value is clear."""
    scale = 255 // (2**bits - 1)
    files = {
        "PNG": png(grey[..., None], bits, clear=[clear]),
        "PNG of 8 bits": saved(grey * scale, "PNG", transparency=clear * scale),
        "PNG of 16 bits": png(deep(grey * scale)[..., None], 16, clear=deep(np.array([clear * scale]))),
        "GIF": saved(grey * scale, "GIF", transparency=clear * scale),
    }
    if bits == 1:
        files["PNG of Pillow's mode 1"] = saved(Image.fromarray(grey * scale).convert("1"), "PNG", transparency=clear)
    return files
