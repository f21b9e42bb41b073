"""The embedded signals are whole and balanced, what their builder writes, and train like any other data set."""

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.cli import main
from fcn_jax.config import Config
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.embedded_source import DIRECTORY
from fcn_jax.data.signals import unpack_frames
from fcn_jax.data.sources import open_source
from fcn_jax.nets.families import FCN
from tests.commands.test_train import ROOT
from tools.embedded_data import japanese_vowels
from tools.embedded_data.pack import pack_frames

PREPARED = DIRECTORY / "japanese_vowels" / "1.0.0"
CONFIG = f"--config={ROOT / 'configs/japanese_vowels.py'}:tiny"


def config_for(**fields) -> Config:
    config = Config(model=FCN())
    config.data.source, config.data.channels, config.model.num_classes = "japanese_vowels", 12, 9
    for field, value in fields.items():
        setattr(config.data, field, value)
    return config


def test_every_split_has_its_examples():
    sources = {split: open_source(config_for(), split) for split in ("train", "validation", "train+validation", "test")}
    assert {split: len(source) for split, source in sources.items()} == {
        "train": 225, "validation": 45, "train+validation": 270, "test": 370,
    }  # fmt: skip
    assert np.bincount(sources["train"].labels).tolist() == [25] * 9
    assert np.bincount(sources["validation"].labels).tolist() == [5] * 9
    assert np.bincount(sources["test"].labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert np.bincount(open_source(config_for(), "train[:18]").labels).tolist() == [2] * 9
    every = np.concatenate([source.sizes for source in sources.values()])
    assert (every.min(), every.max()) == (7, 29)
    assert sources["train"].label_names == japanese_vowels.SPEAKERS


def test_values_are_the_official_ones():
    train, test = (open_source(config_for(), split) for split in ("train+validation", "test"))
    assert train.read(0).dtype == np.float32
    assert train.read(0).shape == (int(train.sizes[0, 0]), 12)
    # The first frame of the archive's first and last training example.
    assert train.read(0)[0, :3].tolist() == pytest.approx([1.860936, -0.207383, 0.261557])
    count = sum(int(source.sizes.sum()) for source in (train, test))
    assert count == 4274 + 5687
    total = sum(
        float(source.read(index).sum(dtype=np.float64)) for source in (train, test) for index in range(len(source))
    )
    assert total == pytest.approx(-3203.965729, abs=1e-3)


def test_files_are_small_and_name_no_machine():
    assert sum(path.stat().st_size for path in PREPARED.iterdir()) <= 500_000
    for path in PREPARED.glob("*.json"):
        assert '"/' not in path.read_text()
        assert "__main__" not in path.read_text()


@given(st.integers(1, 40), st.integers(1, 13), st.integers(0, 2**32 - 1))
def test_packing_loses_nothing(length, channels, seed):
    millionths = np.random.default_rng(seed).integers(-4_000_000, 4_000_000, (length, channels))
    values = (millionths / 1e6).astype(np.float32)
    np.testing.assert_array_equal(unpack_frames(pack_frames(values), channels=channels), values)


def write_npz(path: Path) -> str:
    """A made-up archive; returns its MD5."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", 36), ("test", 20)):
        lengths = rng.integers(7, 30, count)
        arrays |= {
            f"{split}_values": (rng.integers(-(10**6), 10**6, (lengths.sum(), 12)) / 1e6).astype(np.float32),
            f"{split}_len": lengths,
            f"{split}_label": np.sort(np.arange(count) % 9),
        }
    np.savez(path, allow_pickle=False, **arrays)
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_building_twice_gives_the_same_bytes_with_the_speakers_in_turns(tmp_path):
    md5 = write_npz(tmp_path / "a.npz")
    once, again = (japanese_vowels.build(tmp_path / "a.npz", tmp_path / out, md5=md5) for out in ("once", "again"))
    for path in once.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes()
    examples = list(tfds.builder_from_directory(str(once)).as_data_source("train"))
    assert [int(example["label"]) for example in examples] == [*range(9)] * 4
    with np.load(tmp_path / "a.npz") as arrays:
        first = arrays["train_values"][: arrays["train_len"][0]]
    np.testing.assert_array_equal(unpack_frames(examples[0]["signal"], channels=12), first)


def test_a_damaged_file_is_named_with_both_sums(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=rf"a.npz has MD5 9dd4e461\w+, the official file has {japanese_vowels.OFFICIAL_MD5}"
    ):
        japanese_vowels.build(tmp_path / "a.npz", tmp_path / "out")


@pytest.mark.skipif(
    "JAPANESE_VOWELS_NPZ" not in os.environ, reason="JAPANESE_VOWELS_NPZ does not say where the file is"
)
def test_rebuilding_gives_the_embedded_bytes(tmp_path):
    rebuilt = japanese_vowels.build(Path(os.environ["JAPANESE_VOWELS_NPZ"]), tmp_path)
    assert {p.name: p.read_bytes() for p in rebuilt.iterdir()} == {p.name: p.read_bytes() for p in PREPARED.iterdir()}


def refused(**fields) -> str:
    config = config_for(**{name: value for name, value in fields.items() if "." not in name})
    for name, value in fields.items():
        if "." in name:
            setattr(config.data.augment, name.split(".")[1], value)
    with pytest.raises(ValueError, match=r"config\.data\.") as error:
        open_dataset(config, "train", smallest_input=8, training=True)
    return str(error.value)


def test_what_suits_images_alone_is_refused():
    assert refused(channels=3) == ("config.data.channels is 3, but japanese_vowels has 12: set config.data.channels=12")
    assert refused(**{"augment.rotate": 5.0}).startswith("config.data.augment changes what only images have")


def test_signals_change_their_length_on_purpose():
    config = config_for(resize="longest:16")
    config.data.augment.scale = (0.5, 1.0)
    data = open_dataset(config, "train", smallest_input=8, training=True)
    lengths = data.views.sizes(0)[:, 0]
    assert lengths.min() >= 8
    assert lengths.max() <= 16
    assert (lengths != data.views.sizes(1)[:, 0]).any()
    block = data.block(np.arange(8), (16,), epoch=0)
    assert block.size[:, 0].tolist() == lengths[:8].tolist()
    assert block.image.dtype == np.float32


def test_short_signals_are_widened():
    data = open_dataset(config_for(), "train", smallest_input=8, training=True)
    short = int(np.flatnonzero(data.source.sizes[:, 0] == 7)[0])
    block = data.block(np.array([short, -1]), (8,), epoch=0)
    assert block.image.dtype == np.float32
    assert block.size.tolist() == [[8], [0]]
    np.testing.assert_array_equal(block.image[0, :7], data.source.read(short))
    assert not block.image[0, 7].any()


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "vowels"
    assert main(["fcn_jax", "train", CONFIG, f"--workdir={path}", f"--config.machine.cache_dir={path.parent}"]) == 0
    return path


def test_a_tiny_run_leaves_its_files(workdir):
    summary = json.loads((workdir / "summary.json").read_text())
    assert summary["count"] == 128
    plan = json.loads((workdir / "plan.json").read_text())
    assert all(len(bucket["shape"]) == 1 for bucket in plan["buckets"])
    assert (workdir / "plan.png").stat().st_size > 10_000


def test_evaluate_repeats_the_result(workdir, capsys):
    capsys.readouterr()
    assert main(["fcn_jax", "evaluate", f"--workdir={workdir}"]) == 0
    found, summary = json.loads(capsys.readouterr().out), json.loads((workdir / "summary.json").read_text())
    assert (found["accuracy"], found["count"]) == (summary["accuracy"], 128)


def test_shapes_and_plan_take_lengths(capsys, tmp_path):
    assert main(["fcn_jax", "shapes", CONFIG, "--size=20"]) == 0
    assert "(-1, 12, 20)" in capsys.readouterr().out
    assert main(["fcn_jax", "plan", CONFIG, f"--out={tmp_path}"]) == 0
    assert re.search(r"^2\d +\d+", capsys.readouterr().out, re.MULTILINE)
    assert (tmp_path / "plan.png").exists()
