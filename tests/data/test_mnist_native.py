"""The embedded MNIST is whole, in the official order, cropped tightly, and what its builder writes."""

import gzip
import hashlib
import io
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

import fcn_jax.data
from tools.embedded_data import mnist_native

EMBEDDED = Path(fcn_jax.data.__path__[0]) / "embedded"
DIRECTORY = EMBEDDED / "mnist_native" / "1.0.0"


class Split(NamedTuple):
    encoded: list[bytes]
    images: list[np.ndarray]
    sizes: np.ndarray
    labels: np.ndarray


def read_split(name: str) -> Split:
    builder = tfds.builder_from_directory(str(DIRECTORY))
    raw = tfds.decode.DeserializeMethod.RAW_BYTES
    source = builder.as_data_source(name, deserialize_method=raw)
    examples = [tf_example_pb2.Example.FromString(r).features.feature for r in source.__getitems__(range(len(source)))]
    encoded = [e["image"].bytes_list.value[0] for e in examples]
    height, width, label = (
        np.array([e[key].int64_list.value[0] for e in examples]) for key in ("height", "width", "label")
    )
    images = [np.asarray(Image.open(io.BytesIO(content))) for content in encoded]
    return Split(encoded, images, np.stack([height, width], axis=1), label)


@pytest.fixture(scope="module")
def splits() -> dict[str, Split]:
    return {name: read_split(name) for name in ("train", "test")}


def test_every_example_is_there(splits):
    assert {name: len(split.images) for name, split in splits.items()} == {"train": 60_000, "test": 10_000}


def test_labels_are_in_the_official_order(splits):
    assert splits["train"].labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert splits["test"].labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    # MD5 of the values in the official label files, after their header of 8 bytes.
    official = {"train": "e86ee40d66677c011a9abda399ec8c4d", "test": "073c3904dfbd3e141ff8aa01cfde6b15"}
    for name, split in splits.items():
        assert hashlib.md5(split.labels.astype(np.uint8).tobytes()).hexdigest() == official[name]


def test_stored_size_is_the_images_size(splits):
    for split in splits.values():
        np.testing.assert_array_equal([image.shape for image in split.images], split.sizes)


def test_ink_touches_all_four_sides(splits):
    for split in splits.values():
        for image in split.images:
            assert all(side.any() for side in (image[0], image[-1], image[:, 0], image[:, -1]))


def test_crop_kept_all_the_ink(splits):
    # The sum of all pixels of the official files.
    official = {"train": 1_567_298_545, "test": 264_923_200}
    assert {n: sum(int(i.sum()) for i in split.images) for n, split in splits.items()} == official


def test_sizes_of_train(splits):
    sizes = splits["train"].sizes
    assert len(np.unique(sizes, axis=0)) == 35
    assert sizes[:, 0].max() == 20
    assert (sizes[:, 1].min(), sizes[:, 1].max()) == (2, 20)


def test_stored_bytes_are_what_the_builder_encodes(splits):
    for split in splits.values():
        for image, encoded in zip(split.images[::50], split.encoded[::50], strict=True):
            assert mnist_native.encode_png_stored(image) == encoded


def test_sub_split_and_decoding_through_tfds(splits):
    validation = tfds.builder_from_directory(str(DIRECTORY)).as_data_source("train[55000:]")
    assert len(validation) == 5_000
    example, train = validation[0], splits["train"]
    np.testing.assert_array_equal(example["image"], train.images[55_000][..., None])
    assert [example["height"], example["width"]] == train.sizes[55_000].tolist()
    assert example["label"] == train.labels[55_000]


def test_files_are_small_and_name_no_machine():
    files = sorted(DIRECTORY.iterdir())
    assert sum(path.stat().st_size for path in files) < 12_000_000
    for path in files:
        if path.suffix == ".json":
            text = path.read_text()
            assert '"/' not in text, "an absolute path"
            assert "__main__" not in text


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_png_decodes_to_the_image(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    decoded = Image.open(io.BytesIO(mnist_native.encode_png_stored(image)))
    assert decoded.mode == "L"
    np.testing.assert_array_equal(np.asarray(decoded), image)


def test_crop_keeps_blank_rows_inside_and_refuses_a_blank_image():
    image = np.zeros((6, 7), np.uint8)
    image[1, 2] = image[4, 3] = 1
    np.testing.assert_array_equal(mnist_native.crop_to_ink(image), image[1:5, 2:4])
    with pytest.raises(ValueError, match="no pixel > 0"):
        mnist_native.crop_to_ink(np.zeros((6, 7), np.uint8))


def write_idx(path: Path, array: np.ndarray) -> str:
    """Writes a gzipped IDX file and returns its MD5."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), mtime=0))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def synthetic(tmp_path) -> tuple[Path, dict[str, str], np.ndarray]:
    """A directory of four small IDX files, their MD5 sums, and the training images."""
    rng = np.random.default_rng(0)
    directory = tmp_path / "idx"
    directory.mkdir()
    checksums, images = {}, {}
    for prefix, count in (("train", 300), ("t10k", 40)):
        images[prefix] = rng.integers(0, 2, (count, 8, 8), dtype=np.uint8) * rng.integers(
            1, 256, (count, 1, 1), np.uint8
        )
        labels = rng.integers(0, 10, count, dtype=np.uint8)
        for name, array in (
            (f"{prefix}-images-idx3-ubyte.gz", images[prefix]),
            (f"{prefix}-labels-idx1-ubyte.gz", labels),
        ):
            checksums[name] = write_idx(directory / name, array)
    return directory, checksums, images["train"]


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_building_twice_gives_the_same_bytes_in_the_given_order(synthetic, tmp_path):
    idx_dir, checksums, images = synthetic
    once, again = (mnist_native.build(idx_dir, tmp_path / out, checksums=checksums) for out in ("once", "again"))
    assert once == tmp_path / "once" / "mnist_native" / "1.0.0"
    assert contents(once) == contents(again)
    assert contents(once).keys() == contents(DIRECTORY).keys()
    source = tfds.builder_from_directory(str(once)).as_data_source("train")
    assert len(source) == len(images)
    for example, image in zip(source, images, strict=True):
        np.testing.assert_array_equal(example["image"][..., 0], mnist_native.crop_to_ink(image))


def test_damaged_file_is_named_with_both_sums(synthetic, tmp_path):
    idx_dir, checksums, _ = synthetic
    path = idx_dir / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes() + b"x")
    found = hashlib.md5(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=rf"{path.name} has MD5 {found}.*{checksums[path.name]}"):
        mnist_native.build(idx_dir, tmp_path / "out", checksums=checksums)
    assert not (tmp_path / "out").exists()


def test_command_names_the_missing_file_and_exits_with_2(tmp_path):
    command = [sys.executable, "-m", mnist_native.__name__, f"--idx_dir={tmp_path}", f"--out={tmp_path}"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=EMBEDDED.parents[2])
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    name, md5 = next(iter(mnist_native.OFFICIAL_MD5.items()))
    assert str(tmp_path / name) in line
    assert "missing" in line
    assert md5 in line


@pytest.mark.skipif("MNIST_IDX_DIR" not in os.environ, reason="MNIST_IDX_DIR does not say where the IDX files are")
def test_rebuilding_gives_the_embedded_bytes(tmp_path):
    rebuilt = mnist_native.build(Path(os.environ["MNIST_IDX_DIR"]), tmp_path)
    assert contents(rebuilt) == contents(DIRECTORY)
