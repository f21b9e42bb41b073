"""Equal pictures give equal pixels, whatever the format, mode, bit depth and transparency of their files."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.data.image_formats import HEAD_BYTES, is_image
from fcn_jax.data.images import decode_image, read_image_size
from tests.data import encoders

SIDES = st.integers(1, 6)
SEEDS = st.integers(0, 2**32 - 1)
BACKGROUNDS = st.sampled_from([0, 77, 255])


def as_seen(rgba, background, channels):
    """Lay a picture over the background, and make it grey."""
    rgba = rgba.astype(np.int64)
    alpha = rgba[..., 3:]
    rgb = (rgba[..., :3] * alpha + background * (255 - alpha) + 127) // 255
    if channels == 3:
        return rgb
    return (rgb @ [19595, 38470, 7471] + 2**15 >> 16)[..., None]


def with_alpha(rgb, alpha):
    alpha = np.broadcast_to(alpha, rgb.shape[:2])[..., None]
    return np.concatenate([np.broadcast_to(rgb, (*rgb.shape[:2], 3)), alpha], axis=-1).astype(np.uint8)


def check(files, rgba, background):
    for name, encoded in files.items():
        assert is_image(encoded[:HEAD_BYTES]), name
        size = read_image_size(io.BytesIO(encoded), max_pixels=100)
        for channels in (1, 3):
            pixels = decode_image(encoded, channels=channels, background=background, max_pixels=100)
            assert size == rgba.shape[:2] == pixels.shape[:2], name
            np.testing.assert_array_equal(pixels, as_seen(rgba, background, channels), name)


@given(SEEDS, SIDES, SIDES)
def test_opaque_pictures(seed, height, width):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
    check(encoders.opaque_files(rgb), with_alpha(rgb, 255), 0)
    check(encoders.opaque_grey_files(rgb[..., 0]), with_alpha(rgb[..., :1], 255), 0)


@given(SEEDS, SIDES, SIDES, BACKGROUNDS)
def test_pictures_with_alpha(seed, height, width, background):
    rng = np.random.default_rng(seed)
    rgb, alpha = rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, 256, (height, width), np.uint8)
    check(encoders.alpha_files(with_alpha(rgb, alpha)), with_alpha(rgb, alpha), background)
    check(encoders.grey_alpha_files(rgb[..., 0], alpha), with_alpha(rgb[..., :1], alpha), background)


@given(SEEDS, SIDES, SIDES, BACKGROUNDS)
def test_pictures_with_a_clear_colour(seed, height, width, background):
    rng = np.random.default_rng(seed)
    rgb = rng.integers(0, 2, (height, width, 3), np.uint8) * 200
    clear = tuple((rng.integers(0, 2, 3) * 200).tolist())
    alpha = np.where((rgb == clear).all(-1), 0, 255)
    check(encoders.clear_files(rgb, clear), with_alpha(rgb, alpha), background)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@given(SEEDS, SIDES, SIDES, BACKGROUNDS)
def test_grey_pictures_with_a_clear_value(bits, seed, height, width, background):
    rng = np.random.default_rng(seed)
    grey = rng.integers(0, 2**bits, (height, width), np.uint8)
    clear = int(rng.choice(grey.ravel()))
    alpha = np.where(grey == clear, 0, 255)
    seen = with_alpha((grey * (255 // (2**bits - 1)))[..., None], alpha)
    check(encoders.clear_grey_files(grey, clear, bits), seen, background)
