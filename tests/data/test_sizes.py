"""Sizes and digests of files are taken once, and again where a file has changed."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.data.images import read_image_size
from fcn_jax.data.sizes import BLOCK, READ_WHOLE, Measured, measure_files, same_contents
from fcn_jax.system.cache import keep_arrays, load_arrays
from tests.data.conftest import picture

LARGE = 4 * READ_WHOLE


class Measures:
    """Measures files with a cache, and counts how many were read."""

    def __init__(self, cache: Path | None, *, columns: int = 2):
        self.num_read, self._cache, self._columns = 0, cache, columns

    def _read(self, file) -> tuple[int, ...]:
        self.num_read += 1
        return read_image_size(file, max_pixels=10**6)[: self._columns]

    def __call__(self, paths, *, full: bool = False) -> Measured:
        self.num_read = 0
        return measure_files(
            list(map(str, paths)), self._read, columns=self._columns, cache=self._cache, num_threads=2, full=full
        )


def length_of(file) -> tuple[int, ...]:
    return (file.seek(0, io.SEEK_END),)


def lengths_of(paths, cache=None, *, full: bool = False) -> Measured:
    """Measure files of any content."""
    return measure_files(list(map(str, paths)), length_of, columns=1, cache=cache, num_threads=2, full=full)


@pytest.fixture
def pictures(tmp_path):
    return [picture(tmp_path / f"{number}.png", (9 + number, 10)) for number in range(4)]


@pytest.fixture
def measures(tmp_path):
    return Measures(tmp_path / "cache")


def same_as(measured: Measured, other: Measured) -> bool:
    return np.array_equal(measured.sizes, other.sizes) and np.array_equal(measured.digests, other.digests)


def test_only_a_changed_file_is_measured_again(pictures, measures):
    first = measures(pictures)
    assert first.sizes[:, 0].tolist() == [9, 10, 11, 12]
    assert first.lengths.tolist() == [path.stat().st_size for path in pictures]
    assert not first.bad
    assert measures.num_read == 4
    assert same_as(measures(pictures), first)
    assert measures.num_read == 0
    picture(pictures[2], (20, 20))
    changed = measures(pictures)
    assert measures.num_read == 1
    assert changed.sizes[2].tolist() == [20, 20]
    assert (changed.digests != first.digests).any(1).tolist() == [False, False, True, False]


def test_pixels_replaced_at_equal_size_length_and_time_are_noticed(pictures, measures):
    first, times = measures(pictures), pictures[1].stat()
    content = bytearray(pictures[1].read_bytes())
    content[-1] ^= 1
    pictures[1].write_bytes(content)
    os.utime(pictures[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    changed = measures(pictures)
    assert measures.num_read == 1
    assert np.array_equal(changed.sizes, first.sizes)
    assert (changed.digests != first.digests).any(1).tolist() == [False, True, False, False]


def test_a_copy_and_another_time_change_nothing(pictures, measures):
    first = measures(pictures)
    os.utime(pictures[0], ns=(1, 1))
    shutil.copy(pictures[1], pictures[1].with_suffix(".new"))
    pictures[1].with_suffix(".new").replace(pictures[1])
    assert same_as(measures(pictures), first)
    assert measures.num_read == 2


def test_other_files_of_the_folder_use_the_cache_too(pictures, measures):
    first = measures(pictures)
    some = measures([pictures[3], pictures[0]])
    assert measures.num_read == 0
    assert some.sizes.tolist() == first.sizes[[3, 0]].tolist()
    assert np.array_equal(some.digests, first.digests[[3, 0]])


def test_bad_files_are_told_with_their_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    picture(tmp_path / "good.png")
    measured = Measures(None)([tmp_path / f"{name}.png" for name in ("empty", "text", "gone", "good")])
    assert measured.bad.keys() == {0, 1, 2}
    assert "empty" in measured.bad[0]
    assert "No such file" in measured.bad[2]
    assert measured.sizes[3].tolist() == [12, 10]
    assert not measured.digests[:3].any()
    assert measured.digests[3].any()


def test_names_that_are_no_text_and_paths_of_two_kinds_are_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [picture(tmp_path / "caf\udce9\n.png"), Path(picture(tmp_path / "folder/a.png").relative_to(tmp_path))]
    measures = Measures(tmp_path / "cache")
    first = measures(paths)
    assert not first.bad
    assert same_as(measures(paths), first)
    assert measures.num_read == 0


# Digests


def large(path: Path, *, changed: int | None = None) -> Path:
    content = np.random.default_rng(0).integers(0, 256, LARGE, np.uint8)
    if changed is not None:
        content[changed] ^= 1
    path.write_bytes(content.tobytes())
    return path


@pytest.mark.parametrize("place", [0, BLOCK - 1, LARGE - BLOCK, LARGE - 1, (LARGE - BLOCK) * 7 // 15])
def test_a_digest_of_a_large_file_covers_its_blocks(tmp_path, place):
    paths = [large(tmp_path / "a"), large(tmp_path / "b"), large(tmp_path / "c", changed=place)]
    digests = lengths_of(paths).digests
    assert np.array_equal(digests[0], digests[1])
    assert not np.array_equal(digests[0], digests[2])


def test_a_digest_of_a_large_file_covers_its_length(tmp_path):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path, length in zip(paths, (LARGE, LARGE + 1), strict=True):
        path.write_bytes(bytes(length))
    assert len(np.unique(lengths_of(paths).digests, axis=0)) == 2


def test_a_full_digest_covers_all_bytes_and_leaves_the_others_comparable(tmp_path):
    paths, cache = [large(tmp_path / "a"), tmp_path / "small"], tmp_path / "cache"
    paths[1].write_bytes(b"small")
    sampled = lengths_of(paths, cache)
    before = lengths_of(paths, cache, full=True)
    assert sampled.full_digests is None
    assert before.full_digests is not None
    assert np.array_equal(before.digests, sampled.digests)
    assert np.array_equal(before.full_digests[1], sampled.digests[1])
    large(paths[0], changed=BLOCK + 5)
    after = lengths_of(paths, cache, full=True)
    assert np.array_equal(after.digests, sampled.digests)
    assert (after.full_digests != before.full_digests).any(1).tolist() == [True, False]


def test_full_reads_what_kept_its_length_and_times(pictures, measures, tmp_path):
    first = measures(pictures)
    picture(pictures[0], (10, 9))
    status = map(os.stat, pictures)
    unchanged = [(each.st_size, each.st_mtime_ns, each.st_ctime_ns, each.st_ino) for each in status]
    rewritten(next((tmp_path / "cache/sizes").iterdir()), stats=np.array(unchanged))
    assert same_as(measures(pictures), first)
    assert measures(pictures, full=True).sizes[0].tolist() == [10, 9]
    assert measures.num_read == 4
    assert measures(pictures).sizes[0].tolist() == [10, 9]


def test_equal_contents_are_found(tmp_path):
    contents = {"a": b"1", "b": b"2", "c": b"1", "d": b"3", "e": b"2", "f": b"1", "empty": b"", "nothing": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in contents]
    group = same_contents(paths, lengths_of(paths), num_threads=2).tolist()
    assert group[0] == group[2] == group[5] >= 0
    assert group[1] == group[4] >= 0
    assert group[0] != group[1]
    assert group[3] == group[6] == group[7] == -1


@pytest.mark.parametrize("full", [False, True])
def test_large_contents_are_equal_only_if_all_bytes_are(tmp_path, full):
    changes = (None, BLOCK + 5, None, BLOCK + 6)
    paths = [str(large(tmp_path / str(number), changed=place)) for number, place in enumerate(changes)]
    measured = lengths_of(paths, full=full)
    assert len(np.unique(measured.digests, axis=0)) == 1
    group = same_contents(paths, measured, num_threads=2)
    assert (group >= 0).tolist() == [True, False, True, False]


# The cache


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def rewritten(file: Path, **arrays: np.ndarray) -> None:
    kept = load_arrays(file)
    assert kept is not None
    keep_arrays(file, **{**kept, **arrays})


@pytest.mark.parametrize(
    "harm",
    [
        halved,
        lambda file: file.write_bytes(b""),
        lambda file: np.savez(file, paths=np.array(["a"]), rows=np.zeros((1, 4), np.int64)),
        lambda file: keep_arrays(file, rows=np.zeros(3)),
        lambda file: rewritten(file, rules=np.array(0)),
        lambda file: rewritten(file, rules=np.array([1, 1])),
        lambda file: rewritten(file, digests=np.zeros((4, 8), np.uint8)),
        lambda file: rewritten(file, stats=np.zeros(4, np.int64)),
        lambda file: rewritten(file, names=np.zeros(0, np.uint8)),
    ],
)
def test_a_damaged_or_older_cache_is_made_anew(pictures, measures, tmp_path, harm):
    first = measures(pictures)
    (file,) = (tmp_path / "cache/sizes").iterdir()
    harm(file)
    assert same_as(measures(pictures), first)
    assert measures.num_read == 4
    measures(pictures)
    assert measures.num_read == 0


def test_a_cache_of_other_columns_is_made_anew(pictures, measures, tmp_path):
    measures(pictures)
    other = Measures(tmp_path / "cache", columns=1)
    assert other(pictures).sizes[:, 0].tolist() == [9, 10, 11, 12]
    assert other.num_read == 4
