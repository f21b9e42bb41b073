"""Archives: files that hold the user's files as members, which are read in place, by their offsets.

Nothing is unpacked onto the disk, so a name of a member leads nowhere. A member's path is the path of its archive and
its name below it, such as `pets.zip/train/cat/0.png`. Each read opens the archive anew and reads at one place, so any
number of threads and processes may read at once.
"""

import io
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fcn_jax.config import UserError
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.data.files import HEAD_BYTES, HIDDEN, FoundFile, is_hidden
from fcn_jax.data.storage import FileState, Folders, state_of
from fcn_jax.system.disk import reading, reading_again

MOST_BYTES = 2**32
"""Most bytes of a member: it is held in memory."""


DEFLATE_HEADER = 1024
"""More bytes than stand before the first value of what is deflated."""


class Member(NamedTuple):
    """The bytes of a file in an archive."""

    archive: str
    """Path of the archive."""
    start: int
    """Where its bytes begin in the archive; -1: nobody knows, because the archive is damaged there."""
    stored: int
    """Number of its bytes in the archive."""
    length: int
    """Number of its bytes."""
    is_deflated: bool = False
    checksum: int | None = None
    """CRC-32 of its bytes; None: unknown."""


class Archive(Folders):
    """The members of some archives.

    Args:
        members: {path: member}.
        left_out: {path: reason} of the members that are no data.
        folders: paths of all folders in the archives.
    """

    def __init__(
        self,
        members: Mapping[str, Member],
        *,
        left_out: Mapping[str, str] | None = None,
        folders: Iterable[str] = (),
    ):
        self._members, self._left_out, self._folders = members, left_out or {}, frozenset(folders)
        self._states = {archive: _state(archive) for archive in {member.archive for member in members.values()}}

    def member(self, path: str) -> Member | None:
        """Return a member; None if there is none."""
        return self._members.get(path)

    def check_folder(self, top: Path) -> None:
        if str(top) not in self._folders:
            raise UserError(f"folder:{top}: there is no such folder in the archive")

    def walk(self, top: Path) -> Iterator[FoundFile]:
        start = os.path.join(top, "")
        for path in (*self._members, *self._left_out):
            if path.startswith(start):
                parts = tuple(path.removeprefix(start).split(os.sep))
                yield FoundFile(parts, self._left_out.get(path) or (HIDDEN if any(map(is_hidden, parts)) else ""))

    def folders(self, top: Path) -> list[str]:
        names = (os.path.split(folder) for folder in self._folders)
        return sorted(name for above, name in names if above == str(top) and not is_hidden(name))

    def read_head(self, path: str) -> bytes:
        try:
            return self._read(path, HEAD_BYTES)
        except (OSError, BadExampleError):
            return b""

    def state(self, path: str) -> FileState:
        """Return the state of the archive, but with the length of the member."""
        member = self._members[path]
        return member.length, *state_of(os.stat(member.archive))[1:]

    def real_path(self, path: str) -> str:
        return path

    def open(self, path: str) -> io.BytesIO:
        return io.BytesIO(self._read(path))

    def read(self, path: str) -> bytes:
        try:
            return reading_again(lambda: self._read(path))
        except OSError as error:
            raise BadExampleError(error.strerror or str(error)) from error

    def _read(self, path: str, most: int | None = None) -> bytes:
        """Return the bytes of a member, or only the first of them.

        Raises:
            OSError: the archive cannot be read.
            BadExampleError: the archive is damaged, or changed since it was listed.
        """
        member = self._members[path]
        if member.start < 0:
            raise BadExampleError("the archive is damaged where it begins")
        if member.length > MOST_BYTES:
            raise BadExampleError(f"it has {member.length:,} bytes, more than the {MOST_BYTES:,} that are read at once")
        with open(member.archive, "rb", buffering=0) as file:
            if state_of(os.fstat(file.fileno())) != self._states[member.archive]:
                raise BadExampleError("its archive changed since it was listed")
            file.seek(member.start)
            stored = _read_all(file, member.stored if most is None else min(member.stored, most + DEFLATE_HEADER))
        if most is None and len(stored) < member.stored:
            raise BadExampleError(f"it is cut off: {len(stored):,} of {member.stored:,} bytes are there")
        content = _inflated(stored, member.length if most is None else most) if member.is_deflated else stored
        if most is not None:
            return content[:most]
        if len(content) != member.length or member.checksum not in (None, zlib.crc32(content)):
            raise BadExampleError("its bytes are not those that were packed: the archive is damaged")
        return content


def _read_all(file: io.RawIOBase, number: int) -> bytes:
    """Return so many bytes, or all there are: one call of the system reads 2 GiB at most."""
    parts = []
    while number > 0 and (part := file.read(number)):
        parts.append(part)
        number -= len(part)
    return b"".join(parts)


def _inflated(stored: bytes, most: int) -> bytes:
    """Return the first bytes of what was deflated."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, most)
    except zlib.error as error:
        raise BadExampleError(f"it cannot be unpacked: {error}") from error


def _state(archive: str) -> FileState:
    with reading(Path(archive)):
        return state_of(os.stat(archive))


def parts_of(archive: Path, name: str) -> tuple[str, ...]:
    """Return the folders and the own name of a member; `./` at its start does not count.

    Raises:
        UserError: it is absolute, or leads out of the archive.
    """
    parts = _parts(name)
    if not parts:
        raise UserError(
            f"{archive} has a member named {name!r}, but names must lead to a place below the archive, without / at "
            "their start, .. and NUL: pack the folder again"
        )
    return parts


def _parts(name: str) -> tuple[str, ...]:
    """Return the parts of a member's name; nothing if it may not have this name."""
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or "\0" in name or ".." in parts or not parts or parts[0].endswith(":"):
        return ()
    return parts


def folders_above(parts: Iterable[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Return every folder that holds one of some files, given by their parts; () is the archive itself."""
    found: set[tuple[str, ...]] = {()}
    for each in parts:
        above = each[:-1]
        while above not in found:
            found.add(above)
            above = above[:-1]
    return found
