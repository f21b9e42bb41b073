"""The orientation counts wherever a file keeps it, in the size as in the pixels; damaged metadata cost no pixels."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from fcn_jax.data import image_metadata, images
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.images import decode_image, read_image_size
from tests.data.encoders import chunk, png, saved, tiff

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # As in a run: pytest puts its own filters first.

UPRIGHT = {
    1: lambda values: values,
    2: lambda values: values[:, ::-1],
    3: lambda values: values[::-1, ::-1],
    4: lambda values: values[::-1],
    5: lambda values: values.swapaxes(0, 1),
    6: lambda values: np.rot90(values, -1),
    7: lambda values: values[::-1, ::-1].swapaxes(0, 1),
    8: lambda values: np.rot90(values),
}
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 17, 3), np.uint8)


def exif(orientation: int) -> bytes:
    """Exif of one entry."""
    return b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + bytes(4)


def xmp(orientation: int) -> bytes:
    return b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def xmp_text(orientation: int) -> bytes:
    return chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(orientation))


def raw_profile(orientation: int) -> bytes:
    return chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n%s" % (26, exif(orientation).hex().encode()))


def with_jpeg_segment(encoded: bytes, marker: int, content: bytes) -> bytes:
    return encoded[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + encoded[2:]


def with_orientation(kind: str, image: Image.Image, orientation: int) -> bytes:
    """Write a file that stores the image as it is, and an orientation."""
    values, exif_option = np.asarray(image), {"exif": b"Exif\0\0" + exif(orientation)}
    directory = Image.Exif()
    directory[0x0112] = orientation
    match kind:
        case "PNG, eXIf":
            return png(values, before=chunk(b"eXIf", exif(orientation)))
        case "PNG, eXIf behind the pixels":
            return png(values, behind=chunk(b"eXIf", exif(orientation)))
        case "PNG of 16 bits and a clear colour":
            wide = values * np.uint16(257)
            return png(wide, 16, clear=wide[0, 0], before=chunk(b"eXIf", exif(orientation)))
        case "PNG, XMP":
            return png(values, before=xmp_text(orientation))
        case "PNG, XMP behind the pixels":
            return png(values, behind=xmp_text(orientation))
        case "PNG, raw profile behind the pixels":
            return png(values, behind=raw_profile(orientation))
        case "TIFF":
            return saved(image, "TIFF", exif=directory)
        case "TIFF, packed":
            return saved(image, "TIFF", exif=directory, compression="tiff_lzw")
        case "WebP":
            return saved(image, "WEBP", lossless=True, **exif_option)
        case "WebP, XMP":
            return saved(image, "WEBP", lossless=True, xmp=xmp(orientation))
        case "JPEG":
            return saved(image, "JPEG", **exif_option)
        case "JPEG, XMP":
            name = b"http://ns.adobe.com/xap/1.0/\0"
            return with_jpeg_segment(saved(image, "JPEG"), 0xE1, name + xmp(orientation))
        case "MPO":
            return saved(image, "MPO", save_all=True, append_images=[image], **exif_option)
        case "AVIF":
            return saved(image, "AVIF", **exif_option)
    raise AssertionError(kind)


KINDS = (
    "PNG, eXIf", "PNG, eXIf behind the pixels", "PNG of 16 bits and a clear colour", "PNG, XMP",
    "PNG, XMP behind the pixels", "PNG, raw profile behind the pixels", "TIFF", "TIFF, packed", "WebP", "WebP, XMP",
    "JPEG", "JPEG, XMP", "MPO", "AVIF",
)  # fmt: skip


def decoded(encoded: bytes, *, channels: int = 3) -> np.ndarray:
    """Decode a file, and check that its header tells the same size."""
    pixels = decode_image(encoded, channels=channels, background=9, max_pixels=1000)
    assert read_image_size(io.BytesIO(encoded), max_pixels=1000) == pixels.shape[:2]
    return pixels


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", KINDS)
def test_every_orientation_counts_wherever_it_stands(kind, orientation):
    image = Image.fromarray(PICTURE)
    stored = decoded(with_orientation(kind, image, 1))
    turned = decoded(with_orientation(kind, image, orientation))
    np.testing.assert_array_equal(turned, UPRIGHT[orientation](stored))


def test_the_header_of_a_png_is_read_without_decoding_it(monkeypatch):
    turned = [with_orientation(kind, Image.fromarray(PICTURE), 6) for kind in KINDS if kind.startswith("PNG")]
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    assert {read_image_size(io.BytesIO(encoded), max_pixels=1000) for encoded in turned} == {(17, 24)}
    assert read_image_size(io.BytesIO(png(PICTURE)), max_pixels=1000) == (24, 17)


BIG_OFFSET = b"Exif\0\0II+\0\x08\0\0\0" + b"\xff" * 8
TURNED, STORED = UPRIGHT[6](PICTURE), PICTURE
BAD_SUM = chunk(b"tEXt", b"Title\0Cats")[:-1] + b"?"
PNGS = {
    "an eXIf that is cut off": (png(PICTURE, before=chunk(b"eXIf", exif(6)[:14])), STORED),
    "an eXIf of other things": (png(PICTURE, before=chunk(b"eXIf", b"nonsense that is long")), STORED),
    "an eXIf of other things behind": (png(PICTURE, behind=chunk(b"eXIf", b"nonsense that is long")), STORED),
    "an eXIf with a wrong sum": (png(PICTURE, before=chunk(b"eXIf", exif(6))[:-1] + b"?"), STORED),
    "a text with a wrong sum": (png(PICTURE, before=chunk(b"eXIf", exif(6)) + BAD_SUM), TURNED),
    "an unknown packing": (png(PICTURE, behind=chunk(b"zTXt", b"Title\0\1") + chunk(b"eXIf", exif(6))), TURNED),
    "an empty sRGB": (png(PICTURE, before=chunk(b"sRGB", b"")), STORED),
    "a text of Pillow's name": (png(PICTURE, before=chunk(b"tEXt", b"interlace\0no")), STORED),
    "a text of Pillow's name behind": (png(PICTURE, behind=chunk(b"tEXt", b"transparency\0no")), STORED),
    "a file cut off in a text": (png(PICTURE, behind=chunk(b"tEXt", b"Title\0Cats"))[:-20], STORED),
}


@pytest.mark.parametrize("fault", PNGS)
def test_a_png_with_damaged_metadata_is_read(fault):
    encoded, expected = PNGS[fault]
    np.testing.assert_array_equal(decoded(encoded), expected)


def test_a_jpeg_with_damaged_metadata_is_read():
    whole = saved(PICTURE, "JPEG")
    expected = decoded(whole)
    np.testing.assert_array_equal(decoded(with_jpeg_segment(whole, 0xE1, BIG_OFFSET)), expected)
    np.testing.assert_array_equal(decoded(with_jpeg_segment(whole, 0xE1, b"Exif\0\0" + exif(6)[:13])), expected)
    mpo = saved(PICTURE, "MPO", save_all=True, append_images=[Image.fromarray(PICTURE)], exif=b"Exif\0\0" + exif(6))
    index = mpo.index(b"MPF\0") + 4
    count = mpo.index(struct.pack("<HHI", 0xB001, 4, 1), index) + 8
    np.testing.assert_array_equal(decoded(mpo[:count] + b"\xff\0\0\0" + mpo[count + 4 :]), UPRIGHT[6](expected))


def test_a_webp_whose_length_is_wrong_is_read():
    whole = saved(PICTURE, "WEBP", lossless=True, exif=exif(6))
    for change in (-1, 1, 100):
        length = struct.pack("<I", len(whole) - 8 + change)
        np.testing.assert_array_equal(decoded(whole[:4] + length + whole[8:]), TURNED)
    np.testing.assert_array_equal(decoded(whole[:-5]), STORED)


def test_an_avif_with_damaged_exif_is_read():
    directory = Image.Exif()
    directory[0x0131] = "a program"
    whole = saved(PICTURE, "AVIF", exif=directory)
    damaged = whole.replace(b"MM\0*", b"????")
    assert damaged != whole
    np.testing.assert_array_equal(decoded(damaged), decoded(whole))


@pytest.mark.parametrize("tag", [0x8769, 0x8825])
@pytest.mark.parametrize("offset", [0, 8, 2**31, 2**32 - 1])
def test_a_tiff_whose_exif_lies_nowhere_is_read(tag, offset):
    grey = PICTURE[..., 0]
    pixels = decoded(tiff(grey.tobytes(), grey.shape, 8, tags=((0x0112, 3, 6), (tag, 4, offset))), channels=1)
    np.testing.assert_array_equal(pixels[..., 0], UPRIGHT[6](grey))


def test_the_orientation_of_a_tiff_is_that_of_its_tag():
    np.testing.assert_array_equal(decoded(saved(PICTURE, "TIFF", tiffinfo={700: xmp(6)})), STORED)


def test_a_text_leaves_a_clear_colour_clear():
    for text in ({}, {"before": chunk(b"tEXt", b"transparency\0no")}, {"behind": chunk(b"tEXt", b"transparency\0no")}):
        assert (decoded(png(np.full((3, 2, 3), 5), clear=[5, 5, 5], **text)) == 9).all()


@pytest.mark.parametrize(("target", "name"), [(images.Image, "open"), (image_metadata, "_png_chunks")])
def test_a_file_that_cannot_be_read_is_a_bad_example_with_the_reason(monkeypatch, target, name):
    def fails(*_, **__):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(target, name, fails)
    with pytest.raises(BadExampleError, match="Input/output error"):
        read_image_size(io.BytesIO(png(PICTURE)), max_pixels=1000)


FILES = [with_orientation(kind, Image.fromarray(PICTURE), 6) for kind in KINDS]


@given(st.sampled_from(FILES), st.data())
def test_a_damaged_file_is_bad_or_has_the_size_of_its_header(encoded, data):
    damaged = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, min(len(encoded), 400) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.sampled_from([len(encoded), len(encoded) - 9, len(encoded) // 2]))])
    try:
        size = read_image_size(io.BytesIO(cut), max_pixels=10**5)
        pixels = decode_image(cut, channels=3, background=0, max_pixels=10**5)
    except BadExampleError:
        return
    assert pixels.shape == (*size, 3)
