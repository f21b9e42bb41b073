"""A table of paths and labels as a data set; it may have the columns split and weight.

Relative paths start at the table's folder. Its files lie below that folder, unless `data.absolute_paths` lets them lie
anywhere.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from fcn_jax.config import DataConfig, UserError
from fcn_jax.data.files import rank_of
from fcn_jax.data.listing import Listing, Row, make_listing
from fcn_jax.data.splits import SPLITS, spelled_twice, split_named
from fcn_jax.data.table_labels import Shares, parse_labels, parse_weight
from fcn_jax.data.table_rows import read_table, where


def list_table(table: Path, data: DataConfig, *, seed: int, is_new: bool = False) -> Listing:
    """List the images, or the signals, of a table; relative paths start at its folder and stay inside it.

    Args:
        data: `absolute_paths`, `group_pattern` and `labels` are used.
        is_new: True if a trained net is to be tried on the table: see `make_listing`.

    Raises:
        UserError: the table cannot be read, lacks a column, or a row breaks a rule.
    """
    root, confined = table.parent, Confined(table.parent, absolute_paths=data.absolute_paths)
    found, rows, spellings = read_table(table, empty_labels=data.labels != "one"), [], {}
    labels: Sequence[str | Shares] = [row.label for row in found]
    if data.labels != "one":
        cells = [row.label for row in found]
        labels = parse_labels(cells, data.labels, where=lambda number: where(table, found[number].line))
    for row, label in zip(found, labels, strict=True):
        split = "train" if row.split is None else split_named(row.split.strip())
        if split is None:
            raise UserError(
                f"{where(table, row.line)}: split is {row.split!r}, but it must be one of {', '.join(SPLITS)}"
            )
        if reason := confined.why_not(row.path):
            raise UserError(
                f"{where(table, row.line)}: {row.path!r} {reason}; use paths below {root}, or absolute ones with "
                "--config.data.absolute_paths=True"
            )
        if row.split is not None:
            spellings.setdefault(row.split.strip().lower(), row.split.strip())
        path = str(root / row.path)
        weight = None if row.weight is None else parse_weight(row.weight, where(table, row.line))
        rows.append(Row(os.path.normpath(row.path), path, label, split, rank_of(path), weight))
    if not rows:
        raise UserError(f"{table} has no rows below its header")
    if twice := spelled_twice(spellings.values()):
        split, names = twice
        raise UserError(
            f"{table}: its column split has {len(names)} words for {split} ({', '.join(names)}): write one of them in "
            "all its rows"
        )
    origins = {str(split_named(name)): f"{table}, split {name}" for name in spellings.values()}
    return make_listing(
        rows,
        root=str(table),
        origins=origins or {"train": str(table)},
        seed=seed,
        group_pattern=data.group_pattern,
        label_kind=data.labels,
        is_new=is_new,
    )


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
