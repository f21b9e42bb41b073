"""A folder becomes splits and classes by stated rules, and every file in it is an example or has a reason why not."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.folder import count_classes
from fcn_jax.config import DataConfig, UserError
from fcn_jax.data.classes import sorted_classes
from fcn_jax.data.files import HIDDEN, LOOP, NO_FORMAT, describe_left_out, files_below
from fcn_jax.data.folder import NO_CLASS, NO_SPLIT, class_names, list_folder
from tests.data.conftest import picture

PLAIN = DataConfig()


def listed(top: Path, **fields):
    return list_folder(top, DataConfig(**fields), seed=0)


def fill(top: Path, *folders: str, number: int = 1) -> Path:
    for folder in folders:
        for place in range(number):
            picture(top / folder / f"{place}.png")
    return top


def in_split(listing, split: str) -> list[str]:
    return [listing.names[position] for position in listing.positions(split)]


# Splits


@pytest.mark.parametrize("train", ["train", "Train", "TRAINING"])
@pytest.mark.parametrize("validation", ["validation", "val", "Valid", "DEV"])
@pytest.mark.parametrize("test", ["test", "Testing", "eval"])
def test_splits_are_known_by_every_usual_spelling(tmp_path, train, validation, test):
    fill(tmp_path, *(f"{split}/{name}" for split in (train, validation, test) for name in ("cat", "dog")))
    listing = listed(tmp_path)
    assert listing.label_names == ("cat", "dog")
    for split, folder in (("train", train), ("validation", validation), ("test", test)):
        assert in_split(listing, split) == [f"{folder}/cat/0.png", f"{folder}/dog/0.png"]
        assert in_split(listing, folder) == in_split(listing, split)
        assert listing.origin(split) == str(tmp_path / folder)


def test_what_is_missing_is_taken_out_of_train_and_said(tmp_path):
    listing = listed(fill(tmp_path, "Train/cat", "Train/dog", "VAL/cat", number=40))
    assert listing.origin("test").startswith("taken out of train")
    assert listing.origin("validation") == str(tmp_path / "VAL")
    assert len(in_split(listing, "validation")) == 40
    assert set(in_split(listing, "train")) | set(in_split(listing, "test")) == {
        name for name in listing.names if name.startswith("Train")
    }


@pytest.mark.parametrize(
    ("folders", "said", "settled", "splits"),
    [
        (
            ("train", "cat", "test"),
            r"\(test, train\) beside others \(cat\): set --config.data.folders=test,train ",
            "train,test",
            True,
        ),
        (("cat", "dog", "test"), r"\(test\) beside others \(cat, dog\): set .*folders=classes", "classes", False),
        (("test", "val"), r"test, val but no train: .*folders=classes", "classes", False),
    ],
)
def test_a_mixture_is_an_error_until_a_field_settles_it(tmp_path, folders, said, settled, splits):
    fill(tmp_path, *(f"{folder}/{name}" for folder in folders for name in ("a", "b")), number=20)
    with pytest.raises(UserError, match=said):
        listed(tmp_path)
    found = listed(tmp_path, folders=settled)
    assert found.label_names == (("a", "b") if splits else tuple(sorted(folders)))
    assert set(found.left_out.values()) == ({NO_SPLIT} if splits else set())
    assert len(found.paths) + len(found.left_out) == 20 * 2 * len(folders)


def test_two_spellings_of_one_split_are_an_error_until_a_field_settles_it(tmp_path):
    fill(tmp_path, "train/a", "train/b", "val/a", "val/b", "Valid/a", "Valid/b", number=20)
    with pytest.raises(UserError, match=r"validation \(Valid, val\): set .*folders=Valid,train or .*=train,val "):
        listed(tmp_path)
    found = listed(tmp_path, folders="train,val")
    assert found.origin("validation") == str(tmp_path / "val")
    assert set(found.left_out.values()) == {NO_SPLIT}
    assert len(found.left_out) == 40


@pytest.mark.parametrize(
    ("folders", "said"),
    [
        ("train,vall", "'vall' is no folder"),
        ("train,cat", "'cat' is no name of a split"),
        ("train,val,Valid", "val and Valid both mean validation"),
        ("splits", "must be auto, classes, or names of folders"),
        ("val", "but no train"),
    ],
)
def test_folders_that_are_no_splits_cannot_be_chosen(tmp_path, folders, said):
    fill(tmp_path, "train/a", "val/a", "Valid/a", "cat/a")
    with pytest.raises(UserError, match=said):
        listed(tmp_path, folders=folders)


def test_below_a_split_and_below_a_class_every_folder_is_a_class(tmp_path):
    assert listed(fill(tmp_path / "a", "train/test", "train/val"), folders="auto").label_names == ("test", "val")
    assert listed(fill(tmp_path / "b", "cat/train", "dog/test")).label_names == ("cat", "dog")


def test_the_folder_one_level_deeper_is_named(tmp_path):
    with pytest.raises(UserError, match=r"one class, archive, .*\(test, train\): give .*/archive"):
        listed(fill(tmp_path, "archive/train/cat", "archive/test/cat"))


def test_whole_numbers_are_sorted_as_numbers(tmp_path):
    fill(tmp_path / "a", *map(str, range(12)))
    assert listed(tmp_path / "a").label_names == tuple(map(str, range(12)))
    assert listed(fill(tmp_path / "b", "10", "9", "x")).label_names == ("10", "9", "x")


def test_labels_of_any_length_are_sorted():
    assert sorted_classes(["2", "1" * 5000, "10"]) == ("10", "1" * 5000, "2")


def test_the_config_counts_classes_by_the_same_rule(tmp_path):
    fill(tmp_path, "Training/cat", "Training/dog", "Training/.ipynb_checkpoints", "dev/cat", "__MACOSX/train")
    assert count_classes(tmp_path) == len(class_names(tmp_path, PLAIN)) == 2
    assert count_classes(tmp_path / "nowhere") == 0


def test_other_data_may_have_splits_or_a_class_called_test_if_the_run_took_all_folders_as_classes(tmp_path):
    with pytest.raises(UserError, match=r"not clear which .*: give .*, or, if all are classes, move them into .*/test"):
        list_folder(fill(tmp_path / "plain", "cat", "test"), PLAIN, seed=0, is_new=True)
    classes = DataConfig(folders="classes")
    assert list_folder(tmp_path / "plain", classes, seed=0, is_new=True).label_names == ("cat", "test")
    split = list_folder(fill(tmp_path / "split", "train/cat", "test/cat"), classes, seed=0, is_new=True)
    assert split.label_names == ("cat",)
    assert in_split(split, "test") == ["test/cat/0.png"]


# Draws


def test_parts_and_missing_splits_are_the_same_files_in_another_place(tmp_path):
    places = [fill(tmp_path / place, "cat", "dog", number=60) for place in ("here", "there/deeper")]
    one, other = (listed(place) for place in places)
    for split in ("train", "validation", "test", "train[:16]", "test[2:5]"):
        assert in_split(one, split) == in_split(other, split)


# Files


def test_hidden_and_system_files_are_no_data(tmp_path):
    fill(tmp_path, "train/cat", "train/dog", "test/cat", number=20)
    system = ["train/.ipynb_checkpoints/0.png", "train/cat/.ipynb_checkpoints/0.png", "__MACOSX/train/cat/0.png",
              "train/cat/._0.png", "train/@eaDir/cat/0.png", "train/cat/Thumbs.db", ".DS_Store",
              "desktop.ini"]  # fmt: skip
    for name in system:
        picture(tmp_path / "x.png")
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x.png").rename(tmp_path / name)
    (tmp_path / "train/.empty").mkdir()
    listing = listed(tmp_path)
    assert listing.label_names == ("cat", "dog")
    assert listing.left_out == {str(tmp_path / name): HIDDEN for name in system}


def test_a_known_suffix_decides_and_else_the_bytes(tmp_path):
    fill(tmp_path, "cat", "dog", number=3)
    picture(tmp_path / "x.png").rename(tmp_path / "cat/no_suffix")
    picture(tmp_path / "x.png").rename(tmp_path / "cat/odd.v2")
    (tmp_path / "cat/notes").write_text("BMW, P5 and GIF are words")
    (tmp_path / "cat/broken.JFIF").write_bytes(b"broken")
    picture(tmp_path / "loose.png")
    os.mkfifo(tmp_path / "dog/pipe")
    listing = listed(tmp_path)
    assert {Path(name).name for name in listing.names} == {
        "0.png", "1.png", "2.png", "no_suffix", "odd.v2", "broken.JFIF"
    }  # fmt: skip
    assert listing.left_out == {
        str(tmp_path / "cat/notes"): NO_FORMAT,
        str(tmp_path / "dog/pipe"): NO_FORMAT,
        str(tmp_path / "loose.png"): NO_CLASS,
    }
    assert describe_left_out(listing.left_out, tmp_path).startswith(
        "3 left out: 2 of no known format (cat/notes, dog/pipe)"
    )


def test_links_to_folders_are_followed_but_not_round_in_circles(tmp_path):
    fill(tmp_path / "elsewhere", "more")
    fill(tmp_path / "data", "cat", "dog")
    (tmp_path / "data/cat/more").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "data/dog/up").symlink_to(tmp_path / "data")
    listing = listed(tmp_path / "data")
    assert "cat/more/0.png" in listing.names
    assert listing.left_out == {str(tmp_path / "data/dog/up"): LOOP}


def test_links_that_cannot_be_followed_are_files_like_any_other(tmp_path):
    fill(tmp_path, "cat", "dog")
    for name in ("itself", "itself.png"):
        (tmp_path / "cat" / name).symlink_to(name)
    (tmp_path / "loop").symlink_to("loop")
    listing = listed(tmp_path)
    assert "cat/itself.png" in listing.names
    assert listing.left_out == {str(tmp_path / name): NO_FORMAT for name in ("cat/itself", "loop")}


@pytest.mark.parametrize(
    ("split", "remedy"), [("train", "; fill it$"), ("val", "or remove it to have it taken out of train$")]
)
def test_an_empty_split_says_what_helps(tmp_path, split, remedy):
    fill(tmp_path, *({"train/cat", "val/cat"} - {f"{split}/cat"}))
    (tmp_path / split).mkdir()
    with pytest.raises(UserError, match=f"is empty.*{remedy}"):
        listed(tmp_path)


def test_an_empty_class_says_what_lies_there(tmp_path):
    fill(tmp_path, "cat", "dog")
    (tmp_path / "emu").mkdir()
    (tmp_path / "emu/notes.txt").write_text("none yet")
    with pytest.raises(UserError, match=r"class emu is empty: .*1 of no known format .*notes\.txt"):
        listed(tmp_path)


NAMES = ("a.png", "b.JPG", "c", "d.txt", ".e.png", "._f.png", "Thumbs.db", "g.wav", "h.jpe", "\udcff.png", "i j\n.png")
FOLDERS = ("cat", "dog", ".hidden", "__MACOSX", "deep", "@eaDir", "\udce9t\udce9", "train")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_file_is_an_example_or_left_out_with_a_reason(tmp_path_factory, data):
    top = tmp_path_factory.mktemp("tree")
    for split in data.draw(st.sampled_from([[""], ["train"], ["Train", "val"], ["training", "dev", "eval"]])):
        for name in ("cat", "dog"):
            picture(top / split / name / "whole.png")
    folders = st.lists(st.sampled_from(FOLDERS), max_size=3).map(lambda parts: "/".join(parts))
    for folder, name in data.draw(st.lists(st.tuples(folders, st.sampled_from(NAMES)), max_size=12)):
        path = top / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random.Random(name).choice([b"text", b"\x89PNG\r\n\x1a\n" + bytes(60)]))
    lies_there = {os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names}
    try:
        listing = listed(top)
    except UserError:  # A class is empty, or folders beside those of splits.
        return
    assert set(listing.paths).isdisjoint(listing.left_out)
    assert set(listing.paths) | set(listing.left_out) == lies_there
    assert all(listing.left_out.values())
    images, others = files_below(top, 2)
    assert set(images) | set(others) == lies_there
    assert set(listing.paths) <= set(images)
