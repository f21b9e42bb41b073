"""Images of any number of channels and at full depth, from NPY, NPZ, TIFF and PNG: their values, sizes and reasons."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.image_files import ImageFiles
from fcn_jax.data.pixel_range import PixelRange
from fcn_jax.data.random_changes import Colour, Motion
from fcn_jax.data.random_operations import Erasing
from fcn_jax.data.source import values_of
from fcn_jax.data.sources import open_data
from fcn_jax.data.transforms import Resize
from tests.data.made import AugmentConfig, assert_same, config_for, opened

RNG = np.random.default_rng(0)
DEEP = RNG.integers(0, 2**16, (9, 14, 5)).astype(np.uint16)


def npy(values: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        np.save(file, values)
        return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        np.savez_compressed(file, **arrays)
        return file.getvalue()


def tiff(values: np.ndarray, **options) -> bytes:
    with io.BytesIO() as file:
        tifffile.imwrite(file, values, **options)
        return file.getvalue()


def png(values: np.ndarray) -> bytes:
    with io.BytesIO() as file:
        Image.fromarray(values).save(file, format="png")
        return file.getvalue()


def reader(channels: int, pixel_range: str = "dtype") -> ImageFiles:
    return ImageFiles(channels, background=0, max_pixels=10_000, pixel_range=PixelRange.parse(pixel_range))


def read(encoded: bytes, channels: int, pixel_range: str = "dtype") -> np.ndarray:
    """The values; their size must be the header's."""
    decoder = reader(channels, pixel_range)
    values = values_of(decoder(encoded))
    assert decoder.read_size(io.BytesIO(encoded)) == values.shape[:2]
    assert values.dtype == (np.uint8 if pixel_range == "8bit" else np.float32)
    return values


PLANES = np.ascontiguousarray(np.moveaxis(DEEP, -1, 0))
FILES = {
    "npy": npy(DEEP),
    "npy, big-endian, column by column": npy(np.asfortranarray(DEEP.astype(">u2"))),
    "npz": npz(anything=DEEP),
    "tiff, pixel by pixel": tiff(DEEP, photometric="rgb", extrasamples=[0, 0]),
    "tiff, in planes": tiff(PLANES, photometric="minisblack", planarconfig="separate"),
    "tiff, in pages": tiff(PLANES, photometric="minisblack"),
    "tiff, of ImageJ": tiff(PLANES, imagej=True),
    "tiff, compressed": tiff(PLANES, photometric="minisblack", planarconfig="separate", compression="lzw"),
    "tiff, big-endian BigTIFF": tiff(PLANES, photometric="minisblack", bigtiff=True, byteorder=">"),
}


@pytest.mark.parametrize("encoded", FILES.values(), ids=FILES.keys())
def test_every_file_gives_the_same_values(encoded):
    assert np.array_equal(read(encoded, 5), DEEP.astype(np.float32) / 65535)
    assert np.array_equal(read(encoded, 5, "8bit"), DEEP >> 8)


@pytest.mark.parametrize(
    ("values", "pixel_range", "expected"),
    [
        (np.array([[0, 51, 255]], np.uint8), "dtype", [0, 0.2, 1]),
        (np.array([[0, 13107, 65535]], np.uint16), "dtype", [0, 0.2, 1]),
        (np.array([[0, 2**32 - 1]], np.uint32), "dtype", [0, 1]),
        (np.array([[0.25, 1]], np.float32), "dtype", [0.25, 1]),
        (np.array([[-1000, 0, 3000, 5000]], np.int16), "-1000,3000", [0, 0.25, 1, 1]),
        (np.array([[-1.0, 5.0, 10.0]], np.float64), "0,10", [0, 0.5, 1]),
        (np.array([[0, 250, 1000]], np.float16), "percentiles:0,100", [0, 0.25, 1]),
        (np.array([[7, 7, 7]], np.uint16), "percentiles:1,99", [0, 0, 0]),
    ],
)
def test_the_scale_of_values(values, pixel_range, expected):
    for encoded in (npy(values), tiff(values)):
        assert np.allclose(read(encoded, 1, pixel_range)[..., 0], [expected], rtol=1e-6)


def test_percentiles_are_of_each_channel_of_a_file():
    values = RNG.normal(size=(40, 50, 2)).astype(np.float32) * [1, 1000] + [5, -9]
    found = read(npy(values.astype(np.float32)), 2, "percentiles:10,90")
    assert np.allclose([(found == 0).mean((0, 1)), (found == 1).mean((0, 1))], 0.1, atol=0.001)
    assert np.allclose(
        found[..., 0], read(npy(values[..., :1].astype(np.float32) * 3 + 8), 1, "percentiles:10,90")[..., 0], atol=1e-5
    )


def test_grey_and_colour_become_each_other():
    grey = DEEP[..., 0]
    assert np.array_equal(read(npy(grey), 3), np.repeat(grey[..., None].astype(np.float32) / 65535, 3, -1))
    colour = DEEP[..., :3]
    assert np.allclose(read(npy(colour), 1)[..., 0], colour @ [0.299, 0.587, 0.114] / 65535, atol=1e-6)
    pixels = (colour >> 8).astype(np.uint8)
    for channels in (1, 3):
        assert np.array_equal(read(npy(colour), channels, "8bit"), read(png(pixels), channels, "8bit"))


def test_pictures_at_full_depth():
    assert np.array_equal(read(png(DEEP[..., 0]), 1)[..., 0], DEEP[..., 0].astype(np.float32) / 65535)
    pixels = (DEEP[..., :3] >> 8).astype(np.uint8)
    assert np.array_equal(read(png(pixels), 3), pixels.astype(np.float32) / 255)
    palette = Image.fromarray(pixels).quantize(16)
    with io.BytesIO() as file:
        palette.save(file, format="tiff")
        found = read(file.getvalue(), 3)
    assert np.array_equal(found, np.asarray(palette.convert("RGB"), np.float32) / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_tiff_is_applied(orientation):
    encoded = tiff(DEEP[..., 0], extratags=[(274, "H", 1, orientation, True)])
    upper = read(encoded, 1, "8bit")
    assert np.array_equal(np.rint(read(encoded, 1, "0,65535") * 65535).astype(np.uint16) >> 8, upper)


def test_white_may_be_zero():
    assert np.array_equal(
        read(tiff(DEEP[..., 0], photometric="miniswhite"), 1)[..., 0], (65535 - DEEP[..., 0]).astype(np.float32) / 65535
    )


def with_nan(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    values[0, 0] = np.nan
    return values


BAD = {
    "of 4": (npy(DEEP[..., :4]), "its number of channels is 4, but config.data.channels is 5"),
    "picture": (png((DEEP[..., :3] >> 8).astype(np.uint8)), "its number of channels is 3, but"),
    "NaN": (npy(with_nan(DEEP)), "it has values that are not finite"),
    "floats": (npy(DEEP.astype(np.float32)), r"its values go from \d+ to \d+, but with .*=dtype floats must lie in 0"),
    "signed": (npy(DEEP.astype(np.int32)), "its pixels are int32, of which .*=dtype cannot say what is black"),
    "complex": (npy(DEEP.astype(np.complex64)), "its pixels are complex64; whole numbers or floats are needed"),
    "a line": (npy(DEEP[0, 0]), r"its array has the shape \(5,\), but an image is \(height"),
    "empty": (npy(DEEP[:0]), r"its array has the shape \(0, 14, 5\)"),
    "objects": (npy(np.array([[{}]])), "its array holds Python objects, which are not unpickled"),
    "cut off": (npy(DEEP)[:-1], r"it is cut off: 1,259 of 1,260 bytes are there"),
    "no header": (npy(DEEP)[:40], "it is no array that can be read"),
    "npz, cut off": (npz(a=DEEP)[:-30], "it is no array that can be read"),
    "npz of two": (npz(a=DEEP, b=DEEP), "it holds 2 arrays, but an image is one"),
    "too large": (npy(np.zeros((101, 100, 5), np.uint8)), "it is 101×100, more than config.data.max_megapixels"),
    "tiff, cut off": (tiff(DEEP, photometric="rgb", extrasamples=[0, 0])[:-300], "it is no TIFF that can be read"),
    "tiff, no header": (tiff(DEEP)[:9], "it is no TIFF that can be read"),
    "volume": (tiff(RNG.random((3, 2, 9, 14)).astype(np.float32), imagej=True), "its axes are ZCYX of 3×2×9×14, but"),
}  # fmt: skip


@pytest.mark.parametrize(("encoded", "said"), BAD.values(), ids=BAD.keys())
def test_bad_files_say_why(encoded, said):
    with pytest.raises(BadExampleError, match=said) as error:
        reader(5)(encoded)
    assert "\n" not in str(error.value)


def test_a_header_says_what_is_wrong_without_decoding():
    for name in ("of 4", "picture", "signed", "cut off", "npz of two", "too large", "volume"):
        encoded, said = BAD[name]
        with pytest.raises(BadExampleError, match=said):
            reader(5).read_size(io.BytesIO(encoded))


def test_8_bits_take_no_floats():
    with pytest.raises(BadExampleError, match=r"its pixels are float32, but config.data.pixel_range is 8bit"):
        reader(1, "8bit")(npy(np.zeros((4, 4), np.float32)))


def test_colours_of_16_bits_that_pillow_cannot_read_are_refused():
    ppm = b"P6 2 2 65535\n" + bytes(24)
    with pytest.raises(BadExampleError, match="only 8 bits can be read: save it as TIFF or NPY"):
        reader(3)(ppm)
    assert read(ppm, 3, "8bit").shape == (2, 2, 3)


@pytest.mark.parametrize(
    "text", ["", "16bit", "5,5", "9,1", "1", "nan,1", "percentiles:1", "percentiles:-1,99", "x:1,2"]
)
def test_wrong_rules_are_one_line(text):
    with pytest.raises(UserError, match=r"pixel_range is .* but it must be 8bit, dtype, LOW,HIGH such as 0,4095"):
        PixelRange.parse(text)


@pytest.mark.parametrize(
    "change", [("rotate", 30.0), ("shift", 3.0), ("flip", True), ("erase", 1.0), ("contrast", 0.5)]
)
def test_changes_of_8_bits_and_of_floats_agree(change):
    """Within a level: five channels of 8 bits, the same as floats, and each channel as a picture."""
    pixels = (DEEP >> 8).astype(np.uint8)
    config, seed = AugmentConfig(**dict([change])), 0
    for made in (Motion(config, seed=seed, background=99), Colour(config, seed=seed), Erasing(config, seed=seed)):
        if made.is_identity:
            continue
        drawn = made.draw(0, np.arange(3))
        for each in drawn:
            whole = made.apply(pixels, each)
            floats = made.apply(pixels.astype(np.float32) / 255, each)
            assert floats.dtype == np.float32
            assert np.abs(floats * 255 - whole).max() <= 1.01
            if change[0] != "erase":
                alone = np.concatenate([made.apply(pixels[..., [c]], each) for c in range(5)], -1)
                assert np.abs(alone.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("rule", ["area:8", "square:20", "canvas:12x12", "longest:7"])
def test_resizing_of_8_bits_and_of_floats_agree(rule):
    pixels, resize = (DEEP >> 8).astype(np.uint8), Resize.parse(rule)
    whole = resize.apply(pixels, background=51)
    floats = resize.apply(pixels.astype(np.float32) / 255, background=0.2)
    assert floats.dtype == np.float32
    assert np.abs(floats * 255 - whole).max() <= 1.01
    alone = np.concatenate([resize.apply(pixels[..., [c]], background=51) for c in range(5)], -1)
    assert np.array_equal(alone, whole)


@pytest.fixture
def cubes(tmp_path) -> Path:
    """A folder of images of five channels."""
    for split in ("train", "validation", "test"):
        for number in range(4):
            path = tmp_path / "cubes" / split / "ab"[number % 2] / f"{number}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(npy(DEEP[: 8 + number % 2]))
    return tmp_path / "cubes"


def test_a_folder_of_arrays_makes_blocks(cubes):
    (cubes / "train/a/wrong.npy").write_bytes(npy(DEEP[..., :2]))
    config = config_for(f"folder:{cubes}", pixel_range="dtype", channels=5, max_bad_fraction=0.5, background=51)
    dataset = opened(config)
    block = dataset.block(np.array([0, 1, -1]), (12, 16), epoch=0)
    assert block.image.dtype == np.float32
    assert block.size.tolist() == [[8, 14], [8, 14], [0, 0]]
    assert np.array_equal(block.image[0, :8, :14], DEEP[:8].astype(np.float32) / 65535)
    assert dataset.source.value_range == (0.0, 1.0)
    assert list(dataset.source.bad.values()) == ["its number of channels is 2, but config.data.channels is 5"]
    config.data.resize = "square:4"
    assert_same(
        opened(config).block(np.array([1]), (8, 8), epoch=3), opened(config).block(np.array([1]), (8, 8), epoch=3)
    )
    short = opened(config).block(np.array([0]), (8, 8), epoch=0)
    assert short.image[0, 0, 0].tolist() == [np.float32(0.2)] * 5


def test_another_rule_measures_again(cubes, tmp_path):
    (tmp_path / "cache").mkdir()
    for channels, bad in ((5, 0), (4, 4), (5, 0)):
        config = config_for(f"folder:{cubes}", channels=channels, max_bad_fraction=1.0)
        config.machine.cache_dir = str(tmp_path / "cache")
        if bad:
            with pytest.raises(UserError, match="no file that can be read"):
                open_data(config)("train")
        else:
            assert len(open_data(config)("train")) == 4


def test_only_files_are_read_at_full_depth():
    with pytest.raises(UserError, match="only files are read at full depth, not mnist_native"):
        open_data(config_for("mnist_native", pixel_range="dtype"))


def test_a_zip_of_arrays_is_no_array(tmp_path, cubes):
    with zipfile.ZipFile(tmp_path / "cubes.zip", "w") as out:
        for path in cubes.rglob("*.npy"):
            out.write(path, path.relative_to(cubes))
    config = config_for(f"folder:{tmp_path / 'cubes.zip'}", pixel_range="dtype", channels=5)
    plain = config_for(f"folder:{cubes}", pixel_range="dtype", channels=5)
    assert_same(
        opened(config).block(np.array([0, 3]), (12, 16), epoch=0),
        opened(plain).block(np.array([0, 3]), (12, 16), epoch=0),
    )
