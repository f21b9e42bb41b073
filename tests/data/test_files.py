"""Folders and tables of one's own: what is found, how it is split, what is refused, what is left out."""

import csv
from pathlib import Path

import numpy as np
import pytest

from fcn_jax.config import DataConfig, UserError
from fcn_jax.data.bad_examples import BadExamples
from fcn_jax.data.folder import list_folder
from fcn_jax.data.sources import open_data
from fcn_jax.data.splits import trained_on_too
from fcn_jax.data.table import list_table
from tests.data.conftest import picture
from tests.data.made import config_for, opened

PLAIN, ANYWHERE = DataConfig(), DataConfig(absolute_paths=True)


# Folders


def test_a_folder_is_read_with_its_splits(folder):
    listing = list_folder(folder, PLAIN, seed=0)
    assert listing.label_names == ("cat", "dog")
    assert [len(listing.positions(split)) for split in ("train", "validation", "test")] == [12, 4, 4]
    data = opened(config_for(f"folder:{folder}"))
    assert sorted(set(data.views.sizes(0)[:, 0].tolist())) == [9, 10, 11, 12, 13, 14]
    assert data.block(np.array([0, -1, 11]), (16, 16), epoch=0).weight.tolist() == [1, 0, 1]


def test_several_splits_are_one(folder):
    listing = list_folder(folder, PLAIN, seed=0)
    both = listing.positions("validation+train").tolist()
    assert both == sorted([*listing.positions("train"), *listing.positions("val")])
    assert listing.origin("train+val") == f"{listing.origin('train')}; {listing.origin('validation')}"
    assert set(listing.positions("train+validation[:5]")) < set(both)
    assert listing.positions("train+train").tolist() == listing.positions("train").tolist()
    for wrong in ("train+", "+", "train+dogs", "train[:2]+validation"):
        with pytest.raises(UserError, match="is none of train, validation, test, several of them such as"):
            listing.positions(wrong)


@pytest.mark.parametrize(
    ("splits", "shared"),
    [
        (("train", "validation", "test"), []),
        (("train+validation", "validation", "test"), ["validation"]),
        (("train + val", "validation+test", "test"), ["validation"]),
        (("train", "train", "test"), ["validation"]),
        (("train[:90%]", "train[90%:]", "test"), []),
    ],
)
def test_what_is_trained_on_too_is_said(splits, shared):
    train, validation, test = splits
    data = DataConfig(train_split=train, validation_split=validation, test_split=test)
    assert list(trained_on_too(data)) == shared


def test_groups_are_never_apart(tmp_path):
    for name in ("cat", "dog"):
        for track in range(40):
            for frame in range(3):
                picture(tmp_path / name / f"{track:02}_{frame}.png")
    listing = list_folder(tmp_path, DataConfig(group_pattern=r"(\w+/\d+)_\d"), seed=1)
    of_group: dict[str, set[str]] = {}
    for path, split in zip(map(Path, listing.paths), listing.splits, strict=True):
        of_group.setdefault(f"{path.parent.name}/{path.name[:2]}", set()).add(split)
    assert all(len(splits) == 1 for splits in of_group.values())
    assert set(listing.splits) == {"train", "validation", "test"}
    assert listing.splits != list_folder(tmp_path, DataConfig(group_pattern=r"(\w+/\d+)_\d"), seed=2).splits


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda top: [path.unlink() for path in (top / "train/cat").iterdir()], "class cat of train is empty"),
        (lambda top: picture(top / "test/emu/0.png"), "class emu of test is not in train"),
        (lambda top: (top / "train").rename(top / "learn"), r"beside others \(learn\)"),
    ],
)
def test_a_folder_that_breaks_a_rule_is_refused(folder, change, said):
    change(folder)
    with pytest.raises(ValueError, match=said):
        list_folder(folder, PLAIN, seed=0)


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
        ([["path", "label"], ["a.png", ""]], "line 2: label is empty"),
        ([["path", "label", "split"], ["a.png", "cat", "late"]], "line 2: split is 'late'"),
        ([["path", "label"]], "no rows"),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(tmp_path, rows, said):
    with pytest.raises(ValueError, match=said):
        list_table(write_table(tmp_path / "table.csv", rows), PLAIN, seed=0)


@pytest.mark.parametrize(("link", "path"), [("out.png", "out.png"), ("out", "out/secret.png")])
def test_a_table_stays_in_its_folder_unless_it_may_leave(tmp_path, link, path):
    secret = picture(tmp_path / "elsewhere/secret.png")
    for number in range(40):
        picture(tmp_path / f"data/{number}.png")
    (tmp_path / "data" / link).symlink_to(secret if link == path else secret.parent)
    rows = [["path", "label"], *([f"{number}.png", "cat"] for number in range(40)), [path, "cat"]]
    table = write_table(tmp_path / "data/table.csv", rows)
    with pytest.raises(ValueError, match=f"line 42: '{path}' leads out of the table's folder by a link"):
        list_table(table, PLAIN, seed=0)
    assert str(tmp_path / "data" / path) in list_table(table, ANYWHERE, seed=0).paths
    rows[-1][0] = str(secret)
    assert str(secret) in list_table(write_table(table, rows), ANYWHERE, seed=0).paths


def test_a_link_that_stays_in_the_folder_is_read(tmp_path):
    for number in range(40):
        picture(tmp_path / f"{number}.png")
    (tmp_path / "again.png").symlink_to("0.png")
    rows = [["path", "label"], ["again.png", "cat"], *([f"{number}.png", "cat"] for number in range(40))]
    assert len(list_table(write_table(tmp_path / "table.csv", rows), PLAIN, seed=0).paths) == 41


def test_a_file_in_two_splits_is_refused_even_if_a_copy_of_it_is_listed_first(folder):
    (folder / "test/cat/copy.png").write_bytes((folder / "train/cat/0.png").read_bytes())
    (folder / "validation/cat/link.png").symlink_to(folder / "train/cat/0.png")
    with pytest.raises(UserError, match=r"0\.png and .*link\.png are the same file"):
        open_data(config_for(f"folder:{folder}"))


def test_copies_and_files_listed_again_are_counted(folder, capfd):
    cat = folder / "train/cat/0.png"
    (folder / "train/cat/link.png").symlink_to(cat)
    (folder / "test/cat/copy.png").write_bytes(cat.read_bytes())
    open_data(config_for(f"folder:{folder}"))
    said = capfd.readouterr().err
    assert "1 of 22 examples lie in files that are listed before" in said
    assert "in another split" in said


# Bad examples


def test_bad_when_indexed_is_left_out(folder):
    (folder / "train/cat/0.png").write_bytes(b"broken")
    data = opened(config_for(f"folder:{folder}", max_bad_fraction=0.5))
    assert len(data) == 11
    assert list(data.bad.reasons) == [str(folder / "train/cat/0.png")]


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
