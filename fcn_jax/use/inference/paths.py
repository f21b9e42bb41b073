"""PATH... on a command line -> files, in order: files as they are, folders with all that lies below, - for a list."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from fcn_jax.data.files import files_below

LIST = "-"


def check_paths(paths: Sequence[str]) -> None:
    """
    Raises:
        ValueError: there is no path, or one that does not exist.
    """
    if not paths:
        raise ValueError("no PATH is given: give files, folders, or - for a list of them on standard input")
    for path in paths:
        if path != LIST and not os.path.lexists(path):
            raise ValueError(f"there is no file or folder {path!r}: correct the path")


def expand_paths(paths: Sequence[str], *, suffixes: frozenset[str], listed: Iterable[str]) -> list[str]:
    """Every file that is meant.

    Args:
        suffixes: of the files that are looked for in folders, which are gone through in the order of their paths.
        listed: lines, a path each, that stand for `-`; what is not there will be found missing when it is read.

    Raises:
        ValueError: a folder that cannot be listed, or holds no such file.
    """
    found = []
    for path in paths:
        lines = (line.rstrip("\r\n") for line in listed) if path == LIST else [path]
        for line in filter(None, lines):
            found += _files_of(line, suffixes) if os.path.isdir(line) else [line]
    return found


def _files_of(folder: str, suffixes: frozenset[str]) -> list[str]:
    try:
        files = files_below(Path(folder), suffixes)
    except OSError as error:
        raise ValueError(f"{error.filename} cannot be listed: {error.strerror}") from error
    if not files:
        raise ValueError(f"nothing below {folder} ends in one of {' '.join(sorted(suffixes))}: give another folder")
    return files
