"""A run goes on with the data it began with, or says what changed."""

import shutil

import pytest

from fcn_jax.config import Config
from fcn_jax.data.dataset import Dataset, changed_data, fingerprint, open_dataset
from fcn_jax.nets.families import FCN
from tests.inference.made import write_picture


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("ant", "bee")):
        for number in range(4):
            write_picture(tmp_path / f"train/{name}/{number}.png", (10 + label, 12 + number))
    for split in ("validation", "test"):
        write_picture(tmp_path / split / "ant/0.png", (10, 12))
    return tmp_path


def opened(folder) -> Dataset:
    config = Config(model=FCN())
    config.data.source, config.model.num_classes, config.machine.cache_dir = f"folder:{folder}", 2, ""
    return open_dataset(config, "train", smallest_input=8, training=True)


def another_size(folder) -> None:
    write_picture(folder / "train/ant/0.png", (30, 30))


def another_label(folder) -> None:
    (folder / "train/bee/0.png").rename(folder / "train/ant/4.png")


def another_name(folder) -> None:
    (folder / "train/bee/3.png").rename(folder / "train/bee/9.png")


def another_class(folder) -> None:
    shutil.move(folder / "train/bee", folder / "train/cow")


def one_less(folder) -> None:
    (folder / "train/bee/3.png").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda _: None, []),
        (another_size, ["train has other sizes of its 8 examples"]),
        (another_label, ["train has other labels, names of its 8 examples"]),
        (another_name, ["train has other names of its 8 examples"]),
        (another_class, ["train has other names, classes of its 8 examples"]),
        (one_less, ["train had 8 examples, now 7"]),
    ],
)
def test_it_says_what_changed(folder, change, said):
    before = {"train": fingerprint(opened(folder))}
    change(folder)
    assert changed_data(before, {"train": fingerprint(opened(folder))}) == said
