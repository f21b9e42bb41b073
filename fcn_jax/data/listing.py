"""The list of a user's files: where each lies, its label and its split.

A folder, a table, a zip archive and shards all become a `Listing`. It has the examples of all splits, and says of every
other file why it is none.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from fcn_jax.config import UserError
from fcn_jax.data.classes import first_names, sorted_classes
from fcn_jax.data.files import IMAGES, SIGNALS, rank_by_content
from fcn_jax.data.splits import SPLITS, TAKEN_OUT, carved, no_split, parse_part, part_of, splits_named
from fcn_jax.data.storage import DISK, Storage
from fcn_jax.data.table_labels import Shares

Targets = tuple[tuple[int, float], ...]
"""The numbers of an example's classes, each with its target."""
ALL = "all"
"""Name of the split that holds the examples of all splits."""


class Row(NamedTuple):
    """One example of a data set of files."""

    name: str
    """Its path below the root of the data set."""
    path: str
    label: str | Shares
    """Its class, or its classes, each with its target."""
    split: str
    rank: int | None
    """2 for an image, 1 for a signal; None if neither its suffix nor its bytes say."""
    weight: float | None = None
    """Its weight in the loss of training; None: 1."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes that its label names."""
        return (self.label,) if isinstance(self.label, str) else tuple(name for name, _ in self.label)


@dataclass(frozen=True)
class Listing:
    """The files of all splits, sorted by name."""

    root: str
    """The folder or table that was listed."""
    names: tuple[str, ...]
    """Paths below the root of the data set; random draws depend on these alone."""
    paths: tuple[str, ...]
    labels: tuple[int | Targets, ...]
    """The class of every file, or its classes, each with its target."""
    splits: tuple[str, ...]
    label_names: tuple[str, ...]
    rank: int
    """2 for images, 1 for signals."""
    origins: Mapping[str, str]
    """{split: where its examples come from}."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """{path: reason} of the files that are no examples."""
    storage: Storage = DISK
    """Where the files lie."""
    label_kind: str = "one"
    """What a label is: see `DataConfig.labels`."""
    weights: tuple[float, ...] | None = None
    """The weight of every file in the loss of training; None: 1."""

    def labels_of(self, positions: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"] | Float[np.ndarray, "n k"]:
        """Return the classes of some files, or the targets of every class."""
        chosen = [self.labels[position] for position in positions.tolist()]
        if self.label_kind == "one":
            return np.array(chosen, np.int32)
        targets = np.zeros((len(chosen), len(self.label_names)), np.float32)
        for row, label in enumerate(chosen):
            for number, target in label if isinstance(label, tuple) else ((label, 1.0),):
                targets[row, number] = target
        return targets

    def label_in_words(self, position: int) -> str:
        """Return the label of a file as a person writes it."""
        label = self.labels[position]
        if not isinstance(label, tuple):
            return self.label_names[label]
        parts = (f"{self.label_names[number]}{f':{target:g}' * (target != 1)}" for number, target in label)
        return ";".join(parts) or "none"

    def origin(self, split: str) -> str:
        """Say where the examples of a split, or of a part of one, come from."""
        name, part = parse_part(split)
        origin = self.root if name == ALL else "; ".join(self.origins[one] for one in splits_named(name) or ())
        return origin if part == slice(0, None) else f"the part {split} of {origin}"

    def positions(self, split: str) -> Int[np.ndarray, " n"]:
        """Return the positions of the files of a split, of several, or of a part such as `train[:512]`, ascending.

        Raises:
            UserError: there is no such split, or the part is empty.
        """
        name, part = parse_part(split)
        chosen = SPLITS if name == ALL else splits_named(name)
        if chosen is None:
            raise UserError(no_split(split))
        positions = np.flatnonzero(np.isin(np.array(self.splits), chosen))
        if not len(positions):
            raise UserError(f"{self.root}: no example was left for {name}; give it a folder, or a column, of its own")
        if part != slice(0, None):
            positions = positions[part_of([os.fsencode(self.names[position]) for position in positions], part)]
        if not len(positions):
            raise UserError(f"split {split!r} is empty")
        return positions


def make_listing(
    rows: Sequence[Row],
    *,
    root: str,
    origins: Mapping[str, str],
    seed: int,
    group_pattern: str,
    left_out: Mapping[str, str] | None = None,
    label_kind: str = "one",
    is_new: bool = False,
    storage: Storage = DISK,
) -> Listing:
    """Make a listing of all rows; take the splits that are missing out of train.

    Args:
        root: the folder or table, for messages.
        origins: {split: where its examples come from} of the splits that are given.
        label_kind: what a label is: see `DataConfig.labels`.
        is_new: True if a trained net is to be tried on the data: then it needs no train split, and any split may have
            classes of its own.
        storage: where the files lie.

    Raises:
        UserError: train is missing, a class is not in train, or images and signals are mixed.
    """
    rows = sorted(rows, key=lambda row: row.name.split(os.sep))
    if "train" not in {row.split for row in rows} and not is_new:
        raise UserError(f"{root} has no examples in train")
    names = sorted_classes(name for row in rows if is_new or row.split == "train" for name in row.classes)
    if not names:
        raise UserError(f"{root} names no class in train: every label is empty")
    number = {name: index for index, name in enumerate(names)}
    for row in rows:
        for name in row.classes:
            if name not in number:
                raise UserError(f"class {name} of {row.split} is not in train, whose classes are: {first_names(names)}")
    splits, origins = _with_all_splits(rows, dict(origins), seed=seed, group_pattern=group_pattern)
    return Listing(
        root=root,
        names=tuple(row.name for row in rows),
        paths=tuple(row.path for row in rows),
        labels=tuple(_numbered(row.label, number) for row in rows),
        splits=tuple(splits),
        label_names=names,
        rank=_rank(rows, root, storage),
        origins=origins,
        left_out=left_out or {},
        label_kind=label_kind,
        weights=None if any(row.weight is None for row in rows) else tuple(row.weight or 0.0 for row in rows),
        storage=storage,
    )


def _numbered(label: str | Shares, number: Mapping[str, int]) -> int | Targets:
    """Return a label with the numbers of its classes, in the order of the numbers."""
    return number[label] if isinstance(label, str) else tuple(sorted((number[name], target) for name, target in label))


def _with_all_splits(
    rows: Sequence[Row], origins: dict[str, str], *, seed: int, group_pattern: str
) -> tuple[list[str], dict[str, str]]:
    """Return the split of every row, and the origins of all splits; what is missing is taken out of train."""
    splits = [row.split for row in rows]
    missing = [split for split in SPLITS if split not in set(splits)]
    if not missing:
        return splits, origins
    train = [position for position, split in enumerate(splits) if split == "train"]
    names = [rows[position].name for position in train]
    for position, split in zip(train, carved(names, missing, seed=seed, group_pattern=group_pattern), strict=True):
        splits[position] = split
    groups = "groups" if group_pattern else "files"
    share = f"about a tenth of its {groups} each" if len(missing) > 1 else f"about a tenth of its {groups}"
    for split in missing:
        origins[split] = f"{TAKEN_OUT} ({share}, by config.seed={seed})"
    return splits, origins


def _rank(rows: Sequence[Row], root: str, storage: Storage) -> int:
    """Return whether all files are images or signals, by their suffixes; those in the minority also by their bytes."""
    ranks = [row.rank for row in rows]
    few, many = sorted((SIGNALS, IMAGES), key=ranks.count)
    for row in rows:
        if row.rank == few and rank_by_content(storage.read_head(row.path)) != many:
            one = next(other.path for other in rows if other.rank == many)
            signal, image = (row.path, one) if few == SIGNALS else (one, row.path)
            raise UserError(f"{root} mixes signals ({signal}) with images ({image}): make two data sets of them")
    return many
