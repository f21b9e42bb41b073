"""The places where a user's files lie: on the disk, as members of archives, or in arrays.

A listing names the files of one place.

What always holds: a place says the state of a file without reading it, so what was measured before is known again; it
can be sent to another process, and any number of threads may read from it at once.
"""

import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.files import FoundFile, is_folder, is_hidden, read_file, read_head, walk
from fcn_jax.data.image_metadata import BinaryFile
from fcn_jax.system.disk import reading

INT64_MASK = 2**63 - 1
"""What is kept of times and inodes, so that any of them fits an int64."""
FileState = tuple[int, int, int, int]
"""Length in bytes, modification time, change time and inode of a file: the same ones mean the same contents."""


def state_of(status: os.stat_result) -> FileState:
    """Return the state of a file."""
    length, changed, noted, inode = (
        number & INT64_MASK for number in (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    )
    return length, changed, noted, inode


@runtime_checkable
class Storage(Protocol):
    """A place where files lie. A path is text that is known to the place."""

    def read_head(self, path: str) -> bytes:
        """Return the first bytes of a file, which tell its format; empty if it cannot be read."""
        ...

    def state(self, path: str) -> FileState:
        """Return the state of a file.

        Raises:
            OSError or BadExampleError: it is not there, or is no regular file.
        """
        ...

    def real_path(self, path: str) -> str:
        """Return a path with its links resolved."""
        ...

    def open(self, path: str) -> BinaryFile:
        """Open a file.

        Raises:
            OSError or BadExampleError: it cannot be read.
        """
        ...

    def read(self, path: str) -> bytes:
        """Return the bytes of a file; a read that fails for a reason that may pass is tried again.

        Raises:
            BadExampleError: it cannot be read.
        """
        ...


@runtime_checkable
class Folders(Storage, Protocol):
    """A place that has folders."""

    def check_folder(self, top: Path) -> None:
        """Check that a folder is there.

        Raises:
            UserError: it is not.
        """
        ...

    def walk(self, top: Path) -> Iterator[FoundFile]:
        """Yield every file below a folder.

        Raises:
            UserError: a folder cannot be listed.
        """
        ...

    def folders(self, top: Path) -> list[str]:
        """Return the names of the folders directly in a folder, sorted, except hidden and system folders."""
        ...


class Disk(Folders):
    """The files that have a path of their own."""

    def check_folder(self, top: Path) -> None:
        if not top.is_dir():
            raise UserError(f"folder:{top}: there is no such folder")

    def walk(self, top: Path) -> Iterator[FoundFile]:
        return walk(top)

    def folders(self, top: Path) -> list[str]:
        if not top.is_dir():
            return []
        with reading(top), os.scandir(top) as entries:
            return sorted(entry.name for entry in entries if is_folder(entry) and not is_hidden(entry.name))

    def read_head(self, path: str) -> bytes:
        return read_head(path)

    def state(self, path: str) -> FileState:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BadExampleError("it is no regular file")
        return state_of(status)

    def real_path(self, path: str) -> str:
        return os.path.realpath(path)

    def open(self, path: str) -> io.BufferedReader:
        return open(path, "rb")

    def read(self, path: str) -> bytes:
        return read_file(path)


DISK = Disk()
