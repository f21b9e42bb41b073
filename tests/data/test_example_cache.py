"""Examples on disk are those that decoding gives, whatever happens to the files, and take no more room than allowed."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcn_jax.config import DataConfig
from fcn_jax.data import example_cache
from fcn_jax.data.example_cache import ExampleCache, rule_of
from tests.data.conftest import picture
from tests.data.made import config_for, opened


@pytest.fixture
def config(folder, tmp_path):
    config = config_for(f"folder:{folder}", resize="longest:9")
    config.machine.cache_dir, config.machine.disk_cache_mib = str(tmp_path / "cache"), 100
    return config


def values(dataset) -> list[np.ndarray]:
    return [np.array(dataset.example(index)) for index in range(len(dataset))]


def filled(config) -> list[np.ndarray]:
    """Read all examples, and leave them on disk."""
    dataset = opened(config)
    dataset._decoded, dataset._room = {}, 0
    found = values(dataset)
    assert [np.array_equal(one, other) for one, other in zip(found, values(dataset), strict=True)] == [True] * 12
    return found


def records(config) -> list[Path]:
    return sorted(Path(config.machine.cache_dir).glob("examples/*/*.array_record"))


def forbid_decoding(monkeypatch, dataset) -> None:
    def decoded(index: int):
        raise AssertionError(f"example {index} is decoded")

    monkeypatch.setattr(dataset.source, "decoded", decoded)


def assert_equal(found, expected) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)


def test_a_later_run_decodes_nothing(config, monkeypatch, capsys):
    expected = filled(config)
    assert "train: 0 of 12 examples are on disk" in capsys.readouterr().err
    later = opened(config)
    assert "train: 12 of 12 examples are on disk" in capsys.readouterr().err
    forbid_decoding(monkeypatch, later)
    assert_equal(values(later), expected)
    block = later.block(np.arange(12), (16, 16), epoch=0)
    config.machine.disk_cache_mib = 0
    assert np.array_equal(block.image, opened(config).block(np.arange(12), (16, 16), epoch=0).image)


def test_a_file_may_be_renamed_but_not_changed(config, folder, monkeypatch):
    expected = filled(config)
    (folder / "train/cat/0.png").rename(folder / "train/cat/00.png")
    renamed = opened(config)
    with monkeypatch.context() as patch:
        forbid_decoding(patch, renamed)
        assert_equal(values(renamed), expected)
    picture(folder / "train/cat/00.png", (9, 12), mode="L")
    changed = opened(config)
    assert not np.array_equal(changed.example(0), expected[0])
    assert_equal(values(changed)[1:], expected[1:])


def test_what_changed_since_it_was_measured_is_not_kept(config, folder):
    path, at_first = folder / "train/cat/0.png", (folder / "train/cat/0.png").read_bytes()
    dataset = opened(config)
    picture(path, (9, 12), mode="L")
    other = np.array(dataset.example(0))
    del dataset
    path.write_bytes(at_first)
    assert not np.array_equal(opened(config).example(0), other)


@pytest.mark.parametrize("field", ["resize", "decode", "channels", "background"])
def test_another_rule_has_examples_of_its_own(config, field, capsys):
    filled(config)
    other = {"resize": "longest:8", "decode": "fast", "channels": 1, "background": 9}[field]
    setattr(config.data, field, other)
    assert rule_of(config.data, None) != rule_of(DataConfig(), None)
    opened(config)
    assert "0 of 12 examples are on disk" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("place", ["records", "index"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone"])
def test_damage_costs_only_time(config, place, damage):
    expected = filled(config)
    for path in records(config):
        path = path if place == "records" else path.with_suffix(".npz")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        match damage:
            case "flipped":
                path.write_bytes(content)
            case "cut":
                path.write_bytes(content[: len(content) // 2])
            case "empty":
                path.write_bytes(b"")
            case "gone":
                path.unlink()
    assert_equal(values(opened(config)), expected)
    assert_equal(values(opened(config)), expected)


def test_a_disk_that_fails_at_the_end_of_a_file_costs_only_time(config, monkeypatch, capsys):
    def finish(self):
        raise RuntimeError("no space left")

    monkeypatch.setattr(example_cache._Writer, "finish", finish)
    dataset = opened(config)
    dataset._room = 0
    expected = values(dataset)
    assert_equal(values(dataset), expected)
    assert "no space left; 12 examples are decoded anew each time" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_costs_only_time(config, capsys):
    expected = filled(config)
    shutil.rmtree(Path(config.machine.cache_dir) / "examples")
    (Path(config.machine.cache_dir) / "examples").write_text("a file")
    assert_equal(values(opened(config)), expected)
    assert "12 examples are decoded anew each time" in capsys.readouterr().err


MAX_BYTES = 2**22


def cache_of(folder: Path, *, count: int = 40, side: int = 50, rule: str = "rule") -> ExampleCache:
    digests = np.random.default_rng(count).integers(0, 256, (count, 16), np.uint8)
    sizes = np.full((count, 2), side)
    return ExampleCache(folder, rule, digests, sizes, sizes, channels=1, max_bytes=MAX_BYTES)


def example(index: int, side: int = 50) -> np.ndarray:
    return np.random.default_rng(index).integers(0, 256, (side, side, 1), np.uint8)


def fill(cache: ExampleCache, side: int = 50) -> None:
    for index in range(len(cache._keys)):
        cache.write(index, example(index, side))


def room(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_it_takes_no_more_room_than_it_may(tmp_path, capsys):
    cache = cache_of(tmp_path, count=600, side=100)
    fill(cache, 100)
    assert room(tmp_path) <= MAX_BYTES
    assert "its 4 MiB are full" in capsys.readouterr().err
    found = [cache.read(index) for index in range(600)]
    assert 250 < sum(one is not None for one in found) < 420
    assert all(one is None or np.array_equal(one, example(index, 100)) for index, one in enumerate(found))


def test_examples_of_long_ago_make_room(tmp_path):
    old, used = cache_of(tmp_path, rule="old", count=250, side=100), cache_of(tmp_path, rule="used", side=50)
    fill(old, 100)
    fill(used)
    assert old.read(249) is not None  # So the last file of each is finished.
    assert used.read(39) is not None
    example_cache._used.clear()
    before = len(list(tmp_path.glob("old/*")))
    for path in tmp_path.glob("*/*"):
        os.utime(path, (1, 1))
    used = cache_of(tmp_path, rule="used", side=50)
    assert len(used) == 40
    new = cache_of(tmp_path, rule="new", count=200, side=100)
    fill(new, 100)
    assert len(list(tmp_path.glob("old/*"))) < before
    assert all(np.array_equal(used.read(index), example(index)) for index in range(40))
    assert all(np.array_equal(new.read(index), example(index, 100)) for index in range(200))
    assert room(tmp_path) <= MAX_BYTES


def test_a_file_that_was_never_finished_is_removed_after_a_day(tmp_path):
    cache = cache_of(tmp_path)
    for name, age in (("young", 3600), ("old", 2 * 24 * 3600)):
        (tmp_path / "rule").mkdir(exist_ok=True)
        (tmp_path / f"rule/{name}.array_record").write_bytes(b"x")
        then = example_cache._now(tmp_path) - age
        os.utime(tmp_path / f"rule/{name}.array_record", (then, then))
    fill(cache)
    assert (tmp_path / "rule/young.array_record").exists()
    assert not (tmp_path / "rule/old.array_record").exists()


def test_one_process_finds_what_another_has_added(tmp_path, monkeypatch):
    monkeypatch.setattr(example_cache, "SECONDS_TO_LOOK", 0.0)
    one, other = cache_of(tmp_path), cache_of(tmp_path)
    fill(one)
    assert np.array_equal(one.read(3), example(3))  # So its file is finished.
    assert np.array_equal(other.read(3), example(3))


def test_raw_values_of_another_size_are_others(tmp_path):
    digests, tall, wide = np.full((1, 16), 7, np.uint8), np.array([[2, 8]]), np.array([[8, 2]])
    one = ExampleCache(tmp_path, "rule", digests, tall, np.array([[4, 4]]), channels=1, max_bytes=2**20)
    one.write(0, np.zeros((4, 4, 1), np.uint8))
    assert one.read(0) is not None
    other = ExampleCache(tmp_path, "rule", digests, wide, np.array([[4, 4]]), channels=1, max_bytes=2**20)
    assert other.read(0) is None


def test_what_has_no_digest_is_not_kept(tmp_path):
    sizes = np.full((1, 2), 4)
    cache = ExampleCache(tmp_path, "rule", np.zeros((1, 16), np.uint8), sizes, sizes, channels=1, max_bytes=2**20)
    cache.write(0, np.zeros((4, 4, 1), np.uint8))
    assert cache.read(0) is None


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_matches_are_equal_keys(some, others):
    """Keys that begin alike, or occur more than once, are told apart."""
    both = [np.array([[value // 3] * 8 + [value] * 12 for value in each], np.uint8) for each in (some, others)]
    examples, places = example_cache._matches(*both)
    assert all(some[one] == others[place] for one, place in zip(examples.tolist(), places.tolist(), strict=True))
    distinct = [value for value in set(others) if (both[1][:, 0] == value // 3).sum() == others.count(value)]
    assert {some[one] for one in examples.tolist()} >= set(distinct) & set(some)


def test_the_rule_names_every_field_that_changes_an_example():
    """Fields of DataConfig that say where examples are, or what becomes of them later, are listed here by hand."""
    elsewhere = {
        *("folders", "absolute_paths", "train_split", "validation_split", "test_split", "mean", "std"),
        *("group_pattern", "max_megapixels", "min_side", "max_bad_fraction", "augment", "sampling_rate"),
        *("labels", "balance"),
    }
    for item in dataclasses.fields(DataConfig):
        if item.name not in elsewhere:
            changed = DataConfig(**{item.name: {str: "other", int: 3}[type(getattr(DataConfig(), item.name))]})
            assert rule_of(changed, None) != rule_of(DataConfig(), None), item.name
    assert rule_of(DataConfig(), 8000) != rule_of(DataConfig(), None)
