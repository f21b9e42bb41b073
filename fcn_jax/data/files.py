"""The user's own files, images or signals: a folder of classes, or a table of paths and labels.

`folder:DIR` reads `DIR/{train,validation,test}/<class>/*`, or `DIR/<class>/*`, which is split by seed. `table:FILE.csv`
(or .parquet) has the columns path and label, and may have the column split. A missing split is taken out of train in
whole groups: two paths in which `data.group_pattern` finds the same text always land in the same split.
"""

import csv
import hashlib
import os
import re
import stat
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fcn_jax.config import UserError
from fcn_jax.data import images, signals
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.system.disk import reading, reading_again

SPLITS = ("train", "validation", "test")
SUFFIXES = images.SUFFIXES | signals.SUFFIXES
CARVED_SHARE = 0.1
"""Share of train's groups that becomes validation, or test, if that split is missing."""


@dataclass(frozen=True)
class Listing:
    """The files of all splits, sorted by path."""

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    splits: tuple[str, ...]
    label_names: tuple[str, ...]
    rank: int
    """2 for images, 1 for signals."""


def list_folder(directory: Path, *, seed: int, group_pattern: str) -> Listing:
    """List the images, or the signals, below a folder.

    Raises:
        UserError: the folder is missing, cannot be listed, or has no classes; a class is empty; the classes differ
            between splits; or images and signals are mixed.
    """
    try:
        rows = _folder_rows(directory)
    except OSError as error:
        reason = f"{error.filename} cannot be listed: {error.strerror}"
        raise UserError(f"config.data.source is folder:{directory}, but {reason}") from error
    return _listing(rows, seed=seed, group_pattern=group_pattern, root=directory)


def _folder_rows(directory: Path) -> list[tuple[str, str, str]]:
    """Return (path, class, split) of every file."""
    if not directory.is_dir():
        raise UserError(f"config.data.source is folder:{directory}, but there is no such folder")
    given = [split for split in SPLITS if (directory / split).is_dir()]
    if given and "train" not in given:
        raise UserError(f"{directory} has {', '.join(given)} but no train: name its splits train, validation, test")
    tops = [(split, directory / split) for split in given] or [("train", directory)]
    rows = []
    for split, top in tops:
        with reading(top):
            folders = sorted(path for path in top.iterdir() if path.is_dir())
        if given and not folders:
            raise UserError(f"{split} is empty: no class lies in {top}; fill it, or remove it to have it carved out")
        for folder in folders:
            paths = files_below(folder)
            if not paths:
                raise UserError(f"class {folder.name} of {split} is empty: no image and no .wav lies in {folder}")
            rows += [(path, folder.name, split) for path in paths]
    if not rows:
        raise UserError(f"{directory} has no classes: put images into {directory}/<class>/ or .../train/<class>/")
    return rows


def files_below(folder: Path, suffixes: frozenset[str] = SUFFIXES) -> list[str]:
    """List the images and signals in a folder, at any depth.

    Raises:
        UserError: a folder cannot be listed. (Path.rglob would skip it silently.)
    """

    def stop(error: OSError):
        raise UserError(
            f"{error.filename} cannot be listed ({error.strerror}): change its permissions, or leave it out"
        ) from error

    found = []
    for top, _, names in os.walk(folder, onerror=stop):
        found += [os.path.join(top, name) for name in names if _suffix(name) in suffixes]
    return sorted(found, key=lambda path: path.split(os.sep))


def read_file(path: str) -> bytes:
    """Return the bytes of a file; a read that fails for a reason that may pass is tried again.

    Raises:
        BadExampleError: it cannot be read.
    """

    def read() -> bytes:
        # A pipe or a device may never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadExampleError("it is no regular file")
        with open(path, "rb") as file:
            return file.read()

    try:
        return reading_again(read)
    except OSError as error:
        raise BadExampleError(error.strerror or str(error)) from error


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def list_table(table: Path, *, seed: int, group_pattern: str, absolute_paths: bool = False) -> Listing:
    """List the images, or the signals, of a table; relative paths start at its folder and stay inside it.

    Args:
        absolute_paths: whether paths may be absolute, and links may lead out of the folder.

    Raises:
        UserError: the table cannot be read, lacks a column, or a row breaks a rule.
    """
    rows, root = [], table.parent
    confined = Confined(root, absolute_paths=absolute_paths)
    for number, row in _table_rows(table):
        path, label, split = row["path"].strip(), row["label"].strip(), (row.get("split") or "train").strip()
        if not path or not label:
            raise UserError(f"{table}, row {number}: path and label must not be empty")
        if split not in SPLITS:
            raise UserError(f"{table}, row {number}: split is {split!r}, but it must be one of {', '.join(SPLITS)}")
        if reason := confined.why_not(path):
            raise UserError(
                f"{table}, row {number}: {path!r} {reason}; use paths below {root}, or absolute ones with "
                "config.data.absolute_paths=True"
            )
        rows.append((str(root / path), label, split))
    if not rows:
        raise UserError(f"{table} has no rows below its header")
    return _listing(
        sorted(rows, key=lambda row: row[0].split(os.sep)), seed=seed, group_pattern=group_pattern, root=root
    )


def _table_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, cells by column) of every row."""
    try:
        if table.suffix == ".parquet":
            import pyarrow.parquet

            rows = [{k: str(v or "") for k, v in row.items()} for row in pyarrow.parquet.read_table(table).to_pylist()]
        else:
            with table.open(newline="", encoding="utf-8-sig") as file:
                rows = [{k: v or "" for k, v in row.items() if k} for row in csv.DictReader(file)]
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"config.data.source is table:{table}, which cannot be read ({error})") from error
    if rows and not {"path", "label"} <= rows[0].keys():
        raise UserError(f"{table} has the columns {', '.join(rows[0])}, but it needs path,label and may have split")
    return list(enumerate(rows, start=2))


def _listing(rows: list[tuple[str, str, str]], *, seed: int, group_pattern: str, root: Path) -> Listing:
    present = {split for _, _, split in rows}
    if "train" not in present:
        raise UserError(f"{root} has no examples in train")
    names = sorted({label for _, label, split in rows if split == "train"})
    for _, label, split in rows:
        if label not in names:
            raise UserError(f"class {label} of {split} is not in train, whose classes are: {', '.join(names[:10])} …")
    number = {name: index for index, name in enumerate(names)}
    listing = Listing(
        paths=tuple(path for path, _, _ in rows),
        labels=tuple(number[label] for _, label, _ in rows),
        splits=tuple(split for _, _, split in rows),
        label_names=tuple(names),
        rank=_rank([path for path, _, _ in rows], root),
    )
    missing = [split for split in SPLITS if split not in present]
    return _carve(listing, missing, seed=seed, group_pattern=group_pattern, root=root) if missing else listing


def _rank(paths: list[str], root: Path) -> int:
    are_signals = [_suffix(path) in signals.SUFFIXES for path in paths]
    if any(are_signals) and not all(are_signals):
        signal, other = paths[are_signals.index(True)], paths[are_signals.index(False)]
        raise UserError(f"{root} mixes signals ({signal}) with images ({other}): make two data sets of them")
    return 1 if any(are_signals) else 2


def _carve(listing: Listing, missing: list[str], *, seed: int, group_pattern: str, root: Path) -> Listing:
    """Move a share of train's groups to each missing split; a hash of seed and group chooses them."""
    try:
        pattern = re.compile(group_pattern) if group_pattern else None
    except re.error as error:
        raise UserError(
            f"config.data.group_pattern is {group_pattern!r}, which is no regular expression: {error}"
        ) from error
    splits = list(listing.splits)
    start = len(os.path.join(root, ""))
    for position, path in enumerate(listing.paths):
        if splits[position] != "train":
            continue
        name = path[start:].replace(os.sep, "/")
        found = pattern.search(name) if pattern else None
        if pattern and not found:
            raise UserError(
                f"config.data.group_pattern={group_pattern} finds nothing in {name}: every path needs a group"
            )
        group = (found.group(1) if found.groups() else found.group()) if found else name
        digest = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64 / CARVED_SHARE
        if place < len(missing):
            splits[position] = missing[int(place)]
    carved = replace(listing, splits=tuple(splits))
    for split in SPLITS:
        if split not in splits:
            raise UserError(f"{root}: no example was left for {split}; give it a folder, or a column, of its own")
    return carved


def positions_of(listing: Listing, split: str) -> np.ndarray:
    """Return the positions of a split's files in a listing, or of a part such as train[:512].

    Raises:
        UserError: there is no such split, or the part is empty.
    """
    match = re.fullmatch(r"(\w+)(?:\[(\d*):(\d*)\])?", split)
    if not match or match[1] not in SPLITS:
        raise UserError(f"split {split!r} is none of {', '.join(SPLITS)}, or a part of one such as train[:512]")
    positions = np.flatnonzero(np.array(listing.splits) == match[1])
    if match[2] is None:
        return positions
    # Files are sorted by class; ordered by a hash instead, a part holds examples of all classes.
    digests = [hashlib.blake2b(listing.paths[position].encode(), digest_size=8).digest() for position in positions]
    positions = positions[np.argsort(digests, kind="stable")][int(match[2] or 0) : int(match[3]) if match[3] else None]
    if not len(positions):
        raise UserError(f"split {split!r} is empty")
    return np.sort(positions)


class Confined:
    """A check of which paths of a table may be read.

    Args:
        root: the table's folder, where relative paths begin.
        absolute_paths: whether paths may be absolute, and links may lead anywhere.
    """

    def __init__(self, root: Path, *, absolute_paths: bool):
        self._root, self._absolute_paths = root, absolute_paths
        self._real_root = os.path.join(os.path.realpath(root), "")
        self._real_folders: dict[str, str] = {}

    def why_not(self, path: str) -> str:
        """Return the reason why a path may not be read; empty if it may."""
        if "\0" in path:
            return "holds a NUL"
        if ".." in Path(path).parts:
            return "goes up with .."
        if self._absolute_paths:
            return ""
        if os.path.isabs(path):
            return "is absolute"
        return "" if self._real(path).startswith(self._real_root) else "leads out of the table's folder by a link"

    def _real(self, path: str) -> str:
        """Return a path with its links resolved; a folder is resolved once, as it may hold millions of files."""
        whole = os.path.join(self._root, path)
        if os.path.islink(whole):
            return os.path.realpath(whole)
        folder, name = os.path.split(whole)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        return os.path.join(self._real_folders[folder], name)
