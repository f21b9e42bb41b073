"""`data.decode=fast`: a JPEG is decoded at a fraction of its size; every size and the picture stay the same."""

import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcn_jax.config import Config
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.images import read_image_size
from fcn_jax.data.source import size_of, values_of
from fcn_jax.data.transforms import Resize, make_decoder
from fcn_jax.inference.inputs import recipe_of
from fcn_jax.nets.families import FCN
from tests.data.encoders import saved

RULES = st.sampled_from(["longest:40", "shortest:16", "area:30", "square:24", "none", "canvas:32x32"])


def slope(height: int, width: int, channels: int = 3) -> np.ndarray:
    """A picture without detail, so that any way to shrink it gives nearly the same."""
    down, across = np.linspace(0, 200, height)[:, None, None], np.linspace(0, 50, width)[None, :, None]
    return (down + across + 2 * np.arange(channels)).round().astype(np.uint8)


def jpeg(picture: np.ndarray, orientation: int = 1, **options) -> bytes:
    exif = Image.Exif()
    exif[0x112] = orientation
    return saved(picture[..., 0] if picture.shape[-1] == 1 else picture, "JPEG", exif=exif, quality=98, **options)


def decoders(rule: str, channels: int = 3):
    return [
        make_decoder(rank=2, channels=channels, background=0, max_megapixels=1.0, decode=how, resize=rule)
        for how in ("exact", "fast")
    ]


@given(
    st.integers(1, 300), st.integers(1, 300), st.integers(1, 8), st.sampled_from([1, 3]), st.sampled_from([1, 3]), RULES
)
@settings(max_examples=200)
def test_sizes_stay_and_pixels_hardly_change(height, width, orientation, stored, channels, rule):
    encoded = jpeg(slope(height, width, stored), orientation)
    exact, fast = (decode(encoded) for decode in decoders(rule, channels))
    assert size_of(fast) == size_of(exact) == read_image_size(io.BytesIO(encoded), max_pixels=10**6)
    resize = Resize.parse(rule)
    one, other = (resize.apply(decoded, background=0) for decoded in (exact, fast))
    assert one.shape == other.shape
    # A fraction may show the last row or column half a pixel further out, where the slope is steep.
    assert np.abs(one.astype(int) - other).mean() <= 4 + 400 / min(one.shape[:2])
    assert values_of(fast).shape == values_of(exact).shape


def test_a_photograph_is_decoded_at_half_its_size():
    fast = decoders("area:224")[1](jpeg(slope(500, 375)))
    assert (fast.image.size, fast.size) == ((188, 250), (500, 375))


@pytest.mark.parametrize(("rule", "side"), [("longest:40", 400), ("longest:49", 400), ("longest:60", 200)])
def test_a_fraction_never_falls_much_below_what_is_wanted(rule, side):
    fast = decoders(rule)[1](jpeg(slope(400, 400)))
    assert min(fast.image.size) >= 0.9 * Resize.parse(rule).n
    assert min(fast.image.size) <= side


def test_what_is_no_jpeg_or_does_not_shrink_is_read_exactly():
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8)
    for encoded, rule in ((saved(noise, "PNG"), "longest:8"), (jpeg(noise), "none"), (jpeg(noise), "longest:64")):
        exact, fast = (decode(encoded) for decode in decoders(rule))
        assert (values_of(exact) == values_of(fast)).all()


def test_a_colour_jpeg_that_is_stored_as_rgb_becomes_grey_by_the_same_formula():
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    exact, fast = (decode(jpeg(noise, keep_rgb=True)) for decode in decoders("longest:32", 1))
    assert np.abs(values_of(exact).astype(int) - values_of(fast)).max() <= 1


def test_training_and_prediction_see_the_same_pixels(tmp_path):
    for name, height in (("a", 300), ("b", 200)):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.jpg").write_bytes(jpeg(slope(height, 250)))
    config = Config(model=FCN(num_classes=2))
    config.data.source, config.data.channels, config.machine.cache_dir = f"folder:{tmp_path}", 3, ""
    config.data.resize, config.data.decode = "longest:64", "fast"
    dataset = open_dataset(config, "train", smallest_input=8, training=False)
    recipe = recipe_of(config, rank=2, smallest_side=8, largest_side=None)
    for index in range(2):
        assert (recipe.read(dataset.source.name(index)).views[0] == dataset.example(index)).all()
    exact = dataclasses.replace(recipe, decode="exact").read(dataset.source.name(0)).views[0]
    assert (exact != dataset.example(0)).any()
