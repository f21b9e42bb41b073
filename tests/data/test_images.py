"""Images: the header's size is that of the pixels, every mode and orientation; what is broken is a bad example."""

import numpy as np
import pytest
from PIL import Image

from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.images import decode_image, read_image_size
from tests.data.conftest import picture


def header_size(path, *, max_pixels=10**6):
    with open(path, "rb") as file:
        return read_image_size(file, max_pixels=max_pixels)


def decoded(path, *, channels=3, background=0, max_pixels=10**6):
    return decode_image(path.read_bytes(), channels=channels, background=background, max_pixels=max_pixels)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_the_header_and_the_pixels_agree(tmp_path, suffix):
    path = picture(tmp_path / f"a.{suffix}", (12, 10))
    assert header_size(path) == (12, 10) == decoded(path).shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_counts_in_the_size(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = picture(tmp_path / "a.jpg", (12, 10), exif=exif)
    expected = (10, 12) if orientation >= 5 else (12, 10)
    assert header_size(path) == expected == decoded(path).shape[:2]


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
