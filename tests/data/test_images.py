"""Images: the header's size is that of the pixels, in every mode; what is broken is a bad example."""

import io

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data import images
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.image_formats import ARRAYS, HEAD_BYTES, SUFFIXES, is_image
from fcn_jax.data.images import decode_image, read_image_size, with_channels
from tests.data import encoders
from tests.data.conftest import picture


def header_size(path, *, max_pixels=10**6):
    with open(path, "rb") as file:
        return read_image_size(file, max_pixels=max_pixels)


def decoded(path, *, channels=3, background=0, max_pixels=10**6):
    return decode_image(path.read_bytes(), channels=channels, background=background, max_pixels=max_pixels)


@pytest.mark.parametrize("suffix", sorted(SUFFIXES - {*ARRAYS}))
def test_the_header_and_the_pixels_agree(tmp_path, suffix):
    path = picture(tmp_path / f"a{suffix}", (12, 10), mode={".pgm": "L", ".pbm": "1"}.get(suffix, "RGB"))
    assert is_image(path.read_bytes()[:HEAD_BYTES])
    assert header_size(path) == (12, 10) == decoded(path).shape[:2]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_brought_to_the_channels(tmp_path, mode, channels):
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    pixels = decoded(picture(tmp_path / f"a.{suffix}", mode=mode), channels=channels)
    assert pixels.shape == (12, 10, channels)
    assert pixels.dtype == np.uint8


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert decoded(tmp_path / "a.png", channels=1)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_transparency_shows_the_background(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (decoded(tmp_path / "a.png", background=77) == 77).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "the file is empty"), (b"not an image", "no image"), (b"\x89PNG\r\n\x1a\n", "its header is damaged")],
)
def test_what_is_no_image_is_a_bad_example(content, said):
    with pytest.raises(BadExampleError, match=said):
        decode_image(content, channels=3, background=0, max_pixels=100)


def test_a_truncated_image_is_a_bad_example(tmp_path):
    path = picture(tmp_path / "a.jpg", (64, 64))
    with pytest.raises(BadExampleError):
        decode_image(path.read_bytes()[:400], channels=3, background=0, max_pixels=10**6)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 16_000)).save(tmp_path / "bomb.png")
    for read in (lambda p: header_size(p, max_pixels=10**8), lambda p: decoded(p, max_pixels=10**8)):
        with pytest.raises(BadExampleError, match=r"16000×20000, more than config\.data\.max_megapixels=100 allows"):
            read(tmp_path / "bomb.png")


@pytest.mark.parametrize(
    ("encoded", "said"),
    [
        (encoders.saved(np.ones((2, 2), np.int32), "TIFF"), "32-bit"),
        (encoders.tiff(bytes(16), (2, 2), 32), "32-bit"),
        (encoders.tiff(bytes(8), (2, 2), 16, numbers=2), "signed"),
        (encoders.tiff(bytes(4), (2, 2), 8, numbers=2), "signed"),
        (encoders.saved(np.ones((2, 2), np.float32), "TIFF"), "floating point"),
        (b"Pf 2 2 -1.0\n" + bytes(16), "floating point"),
        (encoders.saved(np.ones((2, 2), np.uint8), "ICO"), "no image of a format that is read"),
        (encoders.saved(np.ones((2, 2), np.uint8), "EPS"), "no image of a format that is read"),
    ],
)
def test_what_has_no_black_and_white_or_another_format_is_refused(encoded, said):
    with pytest.raises(BadExampleError, match=said):
        read_image_size(io.BytesIO(encoded), max_pixels=100)
    with pytest.raises(BadExampleError, match=said):
        decode_image(encoded, channels=1, background=0, max_pixels=100)


@pytest.mark.parametrize(
    "text",
    [
        "P5 is a grey image\nand P6 one in colour", "P1\nFirst part", "BM25 is a ranking function of documents",
        "GIF89a is an image format, and so is", "RIFF is a file format, WEBP another.", "II* and MM are byte orders",
        "", "P", "BM", "JFIF", "%!PS-Adobe-3.0 EPSF-3.0\n", "path,label\na.png,cat\nb.png,dog\n",
    ],
)  # fmt: skip
def test_a_text_is_no_image(text):
    assert not is_image(text.encode())


def test_what_the_first_frame_of_a_gif_leaves_uncovered_is_clear():
    whole = encoders.saved(np.full((2, 3), 200, np.uint8), "GIF")
    wider = whole[:6] + bytes([5, 0, 4, 0]) + whole[10:]
    pixels = decode_image(wider, channels=1, background=77, max_pixels=100)[..., 0]
    assert (pixels[:2, :3] == 200).all()
    assert (pixels == 77).sum() == 4 * 5 - 2 * 3


@pytest.mark.parametrize("mode", ["La", "LA", "RGBa", "RGBA"])
def test_alpha_of_every_mode_shows_the_background(mode):
    image = Image.new("RGBA", (2, 1), (200, 200, 200, 0)).convert("LA" if mode == "La" else mode).convert(mode)
    assert np.asarray(images._in_mode(image, "L", 77)).tolist() == [[77, 77]]


def test_decoded_pixels_of_sixteen_bits_keep_the_upper_eight():
    values = np.array([[[255], [256], [65535]]], np.uint16)
    assert with_channels(values, channels=3, background=0)[0].tolist() == [[0] * 3, [1] * 3, [255] * 3]
    with pytest.raises(BadExampleError, match="float32"):
        with_channels(values.astype(np.float32), channels=3, background=0)


@pytest.mark.parametrize("function", ["_in_mode", "_load", "_check_kind", "_converted", "orientation_of"])
def test_a_bug_of_ours_is_no_bad_example(monkeypatch, function):
    monkeypatch.setattr(images, function, lambda *_: undefined)
    with pytest.raises(NameError):
        decode_image(encoders.png(np.zeros((2, 2, 3), np.uint8)), channels=1, background=0, max_pixels=100)
