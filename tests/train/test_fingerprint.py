"""A run goes on with the data it began with, or says what changed."""

import shutil

import numpy as np
import pytest
from PIL import Image

from fcn_jax.config import Config
from fcn_jax.data.dataset import Dataset, open_dataset
from fcn_jax.data.fingerprint import changed_data, fingerprint
from fcn_jax.data.sources import open_data
from fcn_jax.nets.families import FCN
from fcn_jax.system.disk import write_json
from fcn_jax.train.workdir import FINGERPRINTS, UNREADABLE, unreadable_when_begun
from tests.inference.made import write_picture


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("ant", "bee")):
        for number in range(4):
            write_picture(tmp_path / f"train/{name}/{number}.png", (10 + label, 12 + number))
    for split in ("validation", "test"):
        write_picture(tmp_path / split / "ant/0.png", (10, 12))
    return tmp_path


def config_of(folder) -> Config:
    config = Config(model=FCN())
    config.data.source, config.model.num_classes, config.machine.cache_dir = f"folder:{folder}", 2, ""
    config.data.max_bad_fraction = 0.2
    return config


def opened(folder) -> Dataset:
    return open_dataset(config_of(folder), "train", smallest_input=8, training=True)


def another_size(folder) -> None:
    write_picture(folder / "train/ant/0.png", (30, 30))


def another_picture(folder) -> None:
    path = folder / "train/ant/0.png"
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


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
        (another_size, ["train has other sizes, contents of its 8 examples"]),
        (another_picture, ["train has other contents of its 8 examples"]),
        (another_label, ["train has other labels, names of its 8 examples"]),
        (another_name, ["train has other names of its 8 examples"]),
        (another_class, ["train has other names, classes of its 8 examples"]),
        (one_less, ["train had 8 examples, now 7"]),
    ],
)
def test_it_says_what_changed(folder, change, said):
    before = {"train": fingerprint(opened(folder).source)}
    change(folder)
    assert changed_data(before, {"train": fingerprint(opened(folder).source)}) == said


def test_data_in_another_place_is_the_same(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "moved"
    before = {"train": fingerprint(opened(folder).source)}
    shutil.move(folder, elsewhere)
    assert changed_data(before, {"train": fingerprint(opened(elsewhere).source)}) == []


def test_what_could_not_be_read_when_the_run_began_stays_left_out(folder, tmp_path_factory):
    config = config_of(folder)
    whole = (folder / "train/ant/1.png").read_bytes()
    (folder / "train/ant/1.png").write_bytes(b"a passing fault")
    begun = open_dataset(config, "train", smallest_input=8, training=True)
    assert begun.source.unreadable == ("train/ant/1.png",)
    workdir = tmp_path_factory.mktemp("run")
    write_json(
        workdir / FINGERPRINTS, {"train": {**fingerprint(begun.source), UNREADABLE: list(begun.source.unreadable)}}
    )
    (folder / "train/ant/1.png").write_bytes(whole)
    assert len(opened(folder)) == 8
    open_split = open_data(config, unreadable=unreadable_when_begun(workdir))
    resumed = open_dataset(config, "train", smallest_input=8, training=True, open_split=open_split)
    assert fingerprint(resumed.source) == fingerprint(begun.source)
    assert list(resumed.source.bad) == [str(folder / "train/ant/1.png")]
