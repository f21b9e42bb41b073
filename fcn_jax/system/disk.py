"""Files written whole or not at all, read strictly, and what a full or failing disk says to the user."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fcn_jax.config import UserError

MAKE_ROOM = "make room, or mend the disk, and run the same command again"
REMEDIES = {
    errno.EISDIR: "a folder has this name: rename it, or choose another path",
    errno.ENOTEMPTY: "a folder has this name: rename it, or choose another path",
    errno.ENOTDIR: "a part of its path is a file: choose another path",
    errno.EEXIST: "something else has this name: rename it, or choose another path",
    errno.ENOENT: "its folder is not there: make the folder, or choose another path",
    errno.EACCES: "you may not write there: change its permissions, or choose another path",
    errno.EPERM: "you may not write there: change its permissions, or choose another path",
    errno.EROFS: "the disk is read-only: choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
}
"""Remedies for errors of the disk; any other error (full, over quota, failing) has `MAKE_ROOM`."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path`, and to nothing else, inside.

    Raises:
        UserError: the disk does not take it.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, MAKE_ROOM)
        raise UserError(f"{path} cannot be written ({error.strerror or error}): {remedy}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Read `path`, and nothing else, inside.

    Raises:
        UserError: the disk does not give it.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): change its permissions, or give another path"
        ) from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        UserError: it cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        UserError: the disk does not take it.
    """
    with writing(path):
        path.write_bytes(data)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """The file holds the old text or the new, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.new")
    with writing(path):
        try:
            with temporary.open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise


def parse_json(text: str) -> Any:
    """Parse a JSON text.

    Raises:
        UserError: it is no JSON, or nested so deeply that no writer of ours made it.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError("it is nested too deeply") from None


def save_arrays(target: Path, **arrays: np.ndarray) -> None:
    """Write all or nothing, even if other processes write the same file."""
    temporary = target.with_suffix(f".{os.getpid()}.new.npz")
    make_folder(target.parent)
    with writing(target):
        np.savez(temporary, allow_pickle=False, **arrays)
        temporary.replace(target)
