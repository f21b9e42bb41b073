"""The folder of Fashion-MNIST: cropped to its ink, whole or not at all."""

import gzip

import numpy as np
import pytest
from PIL import Image

from experiments import fashion_mnist
from experiments.fashion_mnist import CLASSES, cropped, write_folder
from fcn_jax.config import UserError


def write_files(directory, *, images: int = 6) -> np.ndarray:
    directory.mkdir()
    pictures = np.zeros((images, 28, 28), np.uint8)
    pictures[:, 5:20, 3:12] = 200
    pictures[:, 0, 0] = 3  # Noise, not ink.
    for prefix in ("train", "t10k"):
        (directory / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(bytes(16) + pictures.tobytes()))
        labels = bytes(number % 10 for number in range(images))
        (directory / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8) + labels))
    return pictures


def test_the_box_around_the_ink():
    image = np.zeros((28, 28), np.uint8)
    image[4:9, 20:27] = 100
    image[4, 20] = 0
    assert cropped(image).shape == (5, 7)


def test_every_part_has_its_pictures_by_class(tmp_path, monkeypatch):
    write_files(tmp_path / "files")
    parts = {"train": ("train", 0, 4), "validation": ("train", 4, 6), "test": ("t10k", 0, 6)}
    monkeypatch.setattr(fashion_mnist, "PARTS", parts)
    (tmp_path / "out" / "train" / "old").mkdir(parents=True)
    write_folder(tmp_path / "files", tmp_path / "out")
    found = {part: sorted(path.parent.name for path in (tmp_path / "out" / part).rglob("*.png")) for part in parts}
    assert found == {
        "train": sorted(CLASSES[:4]), "validation": sorted(CLASSES[4:6]), "test": sorted(CLASSES[:6])
    }  # fmt: skip
    assert Image.open(next((tmp_path / "out").rglob("*.png"))).size == (9, 15)
    assert not (tmp_path / "out.new").exists()


def test_a_missing_file_is_said_and_leaves_the_folder(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="install Debian's package dataset-fashion-mnist"):
        write_folder(tmp_path, tmp_path / "out")
    assert (tmp_path / "out").is_dir()
