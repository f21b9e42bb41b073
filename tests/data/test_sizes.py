"""Sizes of files are measured once, and again where a file has changed."""

import os
from pathlib import Path

from fcn_jax.data.images import read_image_size
from fcn_jax.data.sizes import measure_files
from tests.data.conftest import picture


def image_size(path):
    with open(path, "rb") as file:
        return read_image_size(file, max_pixels=10**6)


def test_only_a_changed_file_is_measured_again(tmp_path):
    paths = [str(picture(tmp_path / f"{number}.png", (9 + number, 10))) for number in range(4)]
    read = []

    def measured():
        read.clear()
        return measure_files(
            paths,
            lambda path: read.append(path) or image_size(path),
            columns=2, cache=tmp_path / "cache", num_threads=2,
        )  # fmt: skip

    sizes, bad = measured()
    assert sizes[:, 0].tolist() == [9, 10, 11, 12]
    assert not bad
    assert len(read) == 4
    measured()
    assert not read
    picture(Path(paths[2]), (20, 20))
    os.utime(paths[2], ns=(1, 1))
    assert measured()[0][2].tolist() == [20, 20]
    assert read == [paths[2]]


def test_bad_files_are_told_with_their_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("hello")
    picture(tmp_path / "good.png")
    paths = [str(tmp_path / f"{name}.png") for name in ("empty", "text", "gone", "good")]
    sizes, bad = measure_files(paths, image_size, columns=2, cache=None, num_threads=1)
    assert bad.keys() == {0, 1, 2}
    assert "empty" in bad[0]
    assert "No such file" in bad[2]
    assert sizes[3].tolist() == [12, 10]
