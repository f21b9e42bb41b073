"""Folders and tables of one's own: what is found, how it is split, what is refused, what is left out."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_jax.config import Config
from fcn_jax.data.bad_examples import BadExampleError, BadExamples
from fcn_jax.data.dataset import open_dataset
from fcn_jax.data.files import list_folder, list_table, positions_of
from fcn_jax.data.images import decode_image, read_image_size
from fcn_jax.data.sizes import measure_files
from tests.data.conftest import picture

PLAIN = {"seed": 0, "group_pattern": ""}


def decoded(path, *, channels=3, background=0, max_pixels=10**6):
    return decode_image(path.read_bytes(), channels=channels, background=background, max_pixels=max_pixels)


def config_for(source, **fields) -> Config:
    config = Config()
    config.data.source, config.data.channels, config.model.num_classes = source, 3, 2
    config.machine.cache_dir = ""
    for name, value in fields.items():
        setattr(config.data, name, value)
    return config


def opened(config, split="train"):
    return open_dataset(config, split, smallest_input=8, training=False)


# Images


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tiff"])
def test_the_header_and_the_pixels_agree(tmp_path, suffix):
    path = picture(tmp_path / f"a.{suffix}", (12, 10))
    assert read_image_size(path, max_pixels=10**6) == (12, 10) == decoded(path).shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_counts_in_the_size(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = picture(tmp_path / "a.jpg", (12, 10), exif=exif)
    expected = (10, 12) if orientation >= 5 else (12, 10)
    assert read_image_size(path, max_pixels=10**6) == expected == decoded(path).shape[:2]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_brought_to_the_channels(tmp_path, mode, channels):
    suffix = "jpg" if mode in ("CMYK", "YCbCr") else "png"
    pixels = decoded(picture(tmp_path / f"a.{suffix}", mode=mode), channels=channels)
    assert pixels.shape == (12, 10, channels)
    assert pixels.dtype == np.uint8


def test_sixteen_bits_keep_the_upper_eight(tmp_path):
    values = np.array([[0, 255, 256, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    assert decoded(tmp_path / "a.png", channels=1)[0, :, 0].tolist() == [0, 0, 1, 255]


def test_transparency_shows_the_background(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert (decoded(tmp_path / "a.png", background=77) == 77).all()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "the file is empty"), (b"not an image", "no image"), (b"\x89PNG\r\n\x1a\n", "no image")],
)
def test_what_is_no_image_is_a_bad_example(content, said):
    with pytest.raises(BadExampleError, match=said):
        decode_image(content, channels=3, background=0, max_pixels=100)


def test_a_truncated_image_is_a_bad_example(tmp_path):
    path = picture(tmp_path / "a.jpg", (64, 64))
    with pytest.raises(BadExampleError):
        decode_image(path.read_bytes()[:400], channels=3, background=0, max_pixels=10**6)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (20_000, 16_000)).save(tmp_path / "bomb.png")
    for read in (lambda p: read_image_size(p, max_pixels=10**8), lambda p: decoded(p, max_pixels=10**8)):
        with pytest.raises(BadExampleError, match=r"16000×20000, more than config\.data\.max_megapixels=100 allows"):
            read(tmp_path / "bomb.png")


# Sizes


def test_only_a_changed_file_is_measured_again(tmp_path):
    paths = [str(picture(tmp_path / f"{number}.png", (9 + number, 10))) for number in range(4)]
    read = []

    def measured():
        read.clear()
        return measure_files(
            paths,
            lambda path: read.append(path) or read_image_size(path, max_pixels=10**6),
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
    sizes, bad = measure_files(
        paths, lambda path: read_image_size(path, max_pixels=10**6), columns=2, cache=None, num_threads=1
    )
    assert bad.keys() == {0, 1, 2}
    assert "empty" in bad[0]
    assert "No such file" in bad[2]
    assert sizes[3].tolist() == [12, 10]


# Folders


def test_a_folder_is_read_with_its_splits(folder):
    listing = list_folder(folder, **PLAIN)
    assert listing.label_names == ("cat", "dog")
    assert [len(positions_of(listing, split)) for split in ("train", "validation", "test")] == [12, 4, 4]
    data = opened(config_for(f"folder:{folder}"))
    assert sorted(set(data.views.sizes(0)[:, 0].tolist())) == [9, 10, 11, 12, 13, 14]
    assert data.block(np.array([0, -1, 11]), (16, 16), epoch=0).weight.tolist() == [1, 0, 1]


def test_groups_are_never_apart(tmp_path):
    for name in ("cat", "dog"):
        for track in range(40):
            for frame in range(3):
                picture(tmp_path / name / f"{track:02}_{frame}.png")
    listing = list_folder(tmp_path, seed=1, group_pattern=r"(\w+/\d+)_\d")
    of_group: dict[str, set[str]] = {}
    for path, split in zip(map(Path, listing.paths), listing.splits, strict=True):
        of_group.setdefault(f"{path.parent.name}/{path.name[:2]}", set()).add(split)
    assert all(len(splits) == 1 for splits in of_group.values())
    assert set(listing.splits) == {"train", "validation", "test"}
    assert listing.splits != list_folder(tmp_path, seed=2, group_pattern=r"(\w+/\d+)_\d").splits


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda top: [path.unlink() for path in (top / "train/cat").iterdir()], "class cat of train is empty"),
        (lambda top: picture(top / "test/emu/0.png"), "class emu of test is not in train"),
        (lambda top: (top / "train").rename(top / "learn"), "no train"),
    ],
)
def test_a_folder_that_breaks_a_rule_is_refused(folder, change, said):
    change(folder)
    with pytest.raises(ValueError, match=said):
        list_folder(folder, **PLAIN)


# Tables


def write_table(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def test_a_table_is_read_with_its_splits(folder):
    rows = [["path", "label", "split"]]
    for split in ("train", "validation", "test"):
        rows += [[str(path.relative_to(folder)), path.parent.name, split] for path in folder.glob(f"{split}/*/*")]
    table = write_table(folder / "table.csv", rows)
    data = opened(config_for(f"table:{table}"), "validation")
    assert len(data) == 4
    assert data.source.label_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([["file", "label"], ["a.png", "cat"]], "it needs path,label"),
        ([["path", "label"], ["../a.png", "cat"]], "goes up with .."),
        ([["path", "label"], ["/etc/a.png", "cat"]], "is absolute; use paths below"),
        ([["path", "label"], ["a\0.png", "cat"]], "holds a NUL"),
        ([["path", "label"], ["a.png", ""]], "row 2: path and label must not be empty"),
        ([["path", "label", "split"], ["a.png", "cat", "dev"]], "row 2: split is 'dev'"),
        ([["path", "label"]], "no rows"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        list_table(write_table(tmp_path / "table.csv", rows), **PLAIN)


@pytest.mark.parametrize(("link", "path"), [("out.png", "out.png"), ("out", "out/secret.png")])
def test_a_table_stays_in_its_folder_unless_it_may_leave(tmp_path, link, path):
    secret = picture(tmp_path / "elsewhere/secret.png")
    for number in range(40):
        picture(tmp_path / f"data/{number}.png")
    (tmp_path / "data" / link).symlink_to(secret if link == path else secret.parent)
    rows = [["path", "label"], *([f"{number}.png", "cat"] for number in range(40)), [path, "cat"]]
    table = write_table(tmp_path / "data/table.csv", rows)
    with pytest.raises(ValueError, match=f"row 42: '{path}' leads out of the table's folder by a link"):
        list_table(table, **PLAIN)
    assert str(tmp_path / "data" / path) in list_table(table, **PLAIN, absolute_paths=True).paths
    rows[-1][0] = str(secret)
    assert str(secret) in list_table(write_table(table, rows), **PLAIN, absolute_paths=True).paths


def test_a_link_that_stays_in_the_folder_is_read(tmp_path):
    for number in range(40):
        picture(tmp_path / f"{number}.png")
    (tmp_path / "again.png").symlink_to("0.png")
    rows = [["path", "label"], ["again.png", "cat"], *([f"{number}.png", "cat"] for number in range(40))]
    assert len(list_table(write_table(tmp_path / "table.csv", rows), **PLAIN).paths) == 41


# Bad examples


def test_bad_when_indexed_is_left_out(folder):
    (folder / "train/cat/0.png").write_bytes(b"broken")
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.5))
    assert len(data) == 11
    assert list(data.bad._reasons) == [str(folder / "train/cat/0.png")]


def test_bad_when_read_is_a_filler_row(folder, tmp_path):
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.5))
    name = data.source.name(3)
    picture(folder / "train/cat/3.png", (40, 40))
    block = data.block(np.arange(12), (40, 40), epoch=0)
    assert block.weight.tolist() == [1, 1, 1, 0, *[1] * 8]
    assert block.size[3].tolist() == [0, 0]
    data.bad.write_new(tmp_path / "bad.jsonl")
    data.bad.write_new(tmp_path / "bad.jsonl")
    (line,) = (tmp_path / "bad.jsonl").read_text().splitlines()
    assert name in line
    assert "40×40, but was 12×12" in line


def test_too_many_bad_examples_stop_and_name_the_first(folder):
    (folder / "train/cat/0.png").write_bytes(b"broken")
    with pytest.raises(ValueError, match=r"1 of the 12 examples of train are bad, more than .*0\.01 allows: .*0\.png"):
        opened(config_for(f"folder:{folder}"))
    bad = BadExamples("train", 100, max_fraction=0.01)
    bad.add("a", "no image")
    bad.add("a", "no image")
    bad.check()
    bad.add("b", "no image")
    with pytest.raises(ValueError, match="2 of the 100"):
        bad.check()


# Resizing


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("none", (14, 12)),
        ("longest:10", (10, 9)),
        ("shortest:9", (10, 9)),
        ("area:10", (11, 9)),
        ("square:16", (16, 16)),
        ("longest:100", (14, 12)),
    ],
)
def test_resizing_keeps_its_rule(folder, rule, expected):
    data = opened(config_for(f"folder:{folder}", resize=rule))
    position = int(np.flatnonzero(data.source.sizes[:, 0] == 14)[0])
    assert tuple(data.views.sizes(0)[position].tolist()) == expected
    assert data.example(position).shape[:2] == expected
