"""A folder of classes as a data set: `DIR/{train,validation,test}/<class>/*`, or `DIR/<class>/*`.

DIR may be a zip archive, or a folder in one, such as `pets.zip/pets`.

The folders directly in DIR are splits if all of them have names of splits, in any usual spelling, and one is a training
split. Otherwise they are classes. If only some have names of splits, or two mean the same split, `data.folders` says
what they are. Below a split, a folder is a class, whatever its name.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fcn_jax.config import DataConfig, UserError
from fcn_jax.data.classes import first_names, sorted_classes
from fcn_jax.data.files import NO_FORMAT, FoundFile, describe_left_out, rank_of
from fcn_jax.data.listing import Listing, Row, make_listing
from fcn_jax.data.splits import SPLITS, spelled_twice, split_named
from fcn_jax.data.storage import DISK, Folders
from fcn_jax.data.zip_files import open_zip

NO_CLASS = "in no class folder"
NO_SPLIT = "in no split"


@dataclass(frozen=True)
class Layout:
    """The meaning of the folders directly in the top folder."""

    splits: Mapping[str, str]
    """{folder: split}; empty if the folders are classes."""
    ignored: frozenset[str] = frozenset()
    """Folders that are neither splits nor classes."""


def list_folder(directory: Path, data: DataConfig, *, seed: int, is_new: bool = False) -> Listing:
    """List the images, or the signals, below a folder.

    Args:
        data: `folders` and `group_pattern` are used.
        is_new: True if a trained net is to be tried on the folder: see `make_listing`.

    Raises:
        UserError: the folder is missing, cannot be listed, or has no classes; a class is empty; the classes differ
            between splits; images and signals are mixed; or it is not clear which folders are splits.
    """
    storage = storage_of(directory)
    rows, left_out, layout = _rows(directory, data, storage, is_new=is_new)
    origins = {split: f"{directory / folder}" for folder, split in layout.splits.items()}
    return make_listing(
        rows,
        root=str(directory),
        origins=origins or {"train": str(directory)},
        seed=seed,
        group_pattern=data.group_pattern,
        left_out=left_out,
        is_new=is_new,
        storage=storage,
    )


def storage_of(directory: Path) -> Folders:
    """Return where a folder lies: on the disk, or in the zip archive that its path leads through.

    Raises:
        UserError: that archive cannot be read.
    """
    file = next((path for path in (directory, *directory.parents) if path.is_file()), None)
    return DISK if file is None else open_zip(file)


def class_names(directory: Path, data: DataConfig) -> tuple[str, ...]:
    """Return the classes of a folder, in order.

    Raises:
        UserError: `list_folder` would raise it.
    """
    rows, *_ = _rows(directory, data, storage_of(directory), is_new=False)
    return sorted_classes(name for row in rows if row.split == "train" for name in row.classes)


def _rows(
    directory: Path, data: DataConfig, storage: Folders, *, is_new: bool
) -> tuple[list[Row], dict[str, str], Layout]:
    """Return the examples, {path: reason} of all other files, and the meaning of the folders."""
    storage.check_folder(directory)
    layout = _layout(directory, data, storage.folders(directory), is_new=is_new)
    rows, left_out = [], {}
    for file in storage.walk(directory):
        path = os.path.join(directory, *file.parts)
        row, reason = _row(file, path, layout, storage)
        if row is None:
            left_out[path] = reason
        else:
            rows.append(row)
    _check_classes(directory, layout, rows, left_out, storage)
    if not layout.splits:
        _check_depth(directory, rows, storage)
    return rows, left_out, layout


def _row(file: FoundFile, path: str, layout: Layout, storage: Folders) -> tuple[Row | None, str]:
    """Return the example that a file is, or None and the reason why it is none."""
    if file.reason:
        return None, file.reason
    rank = rank_of(path, storage.read_head)
    if rank is None:
        return None, NO_FORMAT
    parts, split = file.parts, "train"
    if layout.splits or layout.ignored:
        if parts[0] not in layout.splits:
            return None, NO_SPLIT
        split, parts = layout.splits[parts[0]], parts[1:]
    if len(parts) < 2:
        return None, NO_CLASS
    return Row(os.path.join(*file.parts), path, parts[0], split, rank), ""


def _layout(directory: Path, data: DataConfig, folders: list[str], *, is_new: bool) -> Layout:
    """Decide which of the folders directly in `directory` are splits.

    Raises:
        UserError: that is not clear; the message names the config field that settles it.
    """
    named = [folder for folder in folders if split_named(folder)]
    others = [folder for folder in folders if folder not in named]
    chooses = data.folders not in ("auto", "classes")
    # Other data may have splits, though the run's own data had none.
    if (data.folders == "classes" and (others or not is_new)) or not (named or chooses):
        return Layout({})
    if chooses:
        named = _chosen(directory, data.folders, folders)
    elif is_new and (others or spelled_twice(named)):
        raise UserError(
            f"{directory} has folders with names of splits ({', '.join(named)}), but it is not clear which folders are "
            f"splits and which are classes: give the folder of one split, such as folder:{directory / named[0]}, or, "
            f"if all are classes, move them into {directory / 'test'}"
        )
    elif twice := spelled_twice(named):
        split, spellings = twice
        rest = [folder for folder in named if folder not in spellings]
        ways = [f"--config.data.folders={','.join(sorted([*rest, folder]))}" for folder in spellings]
        raise UserError(
            f"{directory} has {len(spellings)} folders that mean {split} ({', '.join(spellings)}): set "
            f"{' or '.join(ways)} to choose one, or --config.data.folders=classes if all are classes"
        )
    elif others:
        has_train = "train" in map(split_named, named)
        leave_out = f"--config.data.folders={','.join(named)} to leave the others out, or " if has_train else ""
        raise UserError(
            f"{directory} has folders with names of splits ({', '.join(named)}) beside others ({first_names(others)}): "
            f"set {leave_out}--config.data.folders=classes if all are classes"
        )
    splits = {folder: str(split_named(folder)) for folder in named}
    if "train" not in splits.values() and not is_new:
        raise UserError(
            f"{directory} has {', '.join(named)} but no train: name its splits {', '.join(SPLITS)}, or set "
            "--config.data.folders=classes if all are classes"
        )
    return Layout(splits, frozenset(folder for folder in folders if folder not in splits))


def _chosen(directory: Path, text: str, folders: list[str]) -> list[str]:
    """Return the folders that `data.folders` names as splits.

    Raises:
        UserError: one is not there, is no name of a split, or two mean the same split.
    """
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in folders or not split_named(name):
            why = f"is no folder in {directory}" if name not in folders else "is no name of a split"
            raise UserError(
                f"config.data.folders is {text!r}, but {name!r} {why}: it must be auto, classes, or names of folders "
                "such as train,val,test"
            )
    if twice := spelled_twice(named):
        raise UserError(
            f"config.data.folders is {text!r}, but {' and '.join(twice[1])} both mean {twice[0]}: choose one"
        )
    return named


def _check_classes(
    directory: Path, layout: Layout, rows: list[Row], left_out: Mapping[str, str], storage: Folders
) -> None:
    """Check that every split has classes and that no class is empty."""
    tops = [(directory / folder, f" of {split}") for folder, split in layout.splits.items()] or [(directory, "")]
    filled = {(row.label, row.split) for row in rows}
    for top, of_split in tops:
        classes = storage.folders(top)
        split = of_split.removeprefix(" of ") or "train"
        if not classes:
            inside = f"; {told}" if (told := describe_left_out(_below(top, left_out), directory)) else ""
            if of_split:
                remedy = "fill it" if split == "train" else "fill it, or remove it to have it taken out of train"
                raise UserError(f"{split} is empty: no class lies in {top}; {remedy}{inside}")
            raise UserError(
                f"{directory} has no classes: put images into {directory}/<class>/ or .../train/<class>/{inside}"
            )
        for name in classes:
            if (name, split) not in filled:
                told = describe_left_out(_below(top / name, left_out), directory)
                raise UserError(
                    f"class {name}{of_split} is empty: no image and no signal lies in {top / name}"
                    f"{f' ({told})' if told else ''}; fill the folder or remove it"
                )


def _check_depth(directory: Path, rows: list[Row], storage: Folders) -> None:
    """Check that the only class is not a folder that holds the whole data set."""
    labels = {name for row in rows for name in row.classes}
    if len(labels) > 1:
        return
    (only,) = labels
    inside = storage.folders(directory / only)
    if inside and all(len(row.name.split(os.sep)) > 2 for row in rows):
        raise UserError(
            f"{directory} has one class, {only}, whose files all lie in folders of their own ({first_names(inside)}): "
            f"give {directory / only} if that is the data set"
        )


def _below(folder: Path, left_out: Mapping[str, str]) -> dict[str, str]:
    top = os.path.join(folder, "")
    return {path: reason for path, reason in left_out.items() if path.startswith(top)}
