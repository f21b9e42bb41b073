"""Files written whole or not at all, read strictly, and what a full or failing disk says to the user."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
"""Full, over quota, over the limit of a file, failing, read-only."""
REMEDY = "make room, or mend the disk, and run the same command again"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Whatever is written inside goes to `path`.

    Raises:
        ValueError: the disk does not take it.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror or error}): {REMEDY}") from error


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """The file holds the old text or the new, whatever happens in between."""
    temporary = path.with_name(f".{path.name}.new")
    with writing(path):
        with temporary.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def parse_json(text: str) -> Any:
    """What a text says.

    Raises:
        ValueError: it is no JSON, or nested so deeply that no writer of ours made it.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def save_arrays(target: Path, **arrays: np.ndarray) -> None:
    """Write all or nothing, whoever else writes."""
    temporary = target.with_suffix(f".{os.getpid()}.new.npz")
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez(temporary, allow_pickle=False, **arrays)
        temporary.replace(target)
