"""The files of a user: which of them are data, and their bytes.

Every file below a folder is data or has a reason why not. Hidden and system files are no data. A suffix of a known
format decides; only where the suffix is unknown, the first bytes decide.
"""

import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from fcn_jax.config import UserError
from fcn_jax.data import image_formats, signals
from fcn_jax.data.bad_examples import BadExampleError
from fcn_jax.system.disk import reading_again

IMAGES, SIGNALS = 2, 1
"""The two kinds of data, as the number of their spatial axes."""
HEAD_BYTES = 64
"""Number of first bytes that tell the format of a file."""
HIDDEN = "hidden or of the system"
NO_FORMAT = "of no known format"
LOOP = "linking back to a folder above"
SYSTEM_NAMES = frozenset(
    {
        "__macosx", "@eadir", "@recycle", "#recycle", "#snapshot", "$recycle.bin", "system volume information",
        "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__",
    }
)  # fmt: skip
"""Names, in lower case, that macOS, Windows, Synology, QNAP, Linux or Python give to files and folders of their own."""
MOST_NAMES = 3
"""Most names that a message shows for one reason."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden, or belongs to the system."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry of a folder is a folder; a link that cannot be followed is none."""
    try:
        return entry.is_dir()
    except OSError:
        if entry.is_symlink():
            return False
        raise


class FoundFile(NamedTuple):
    """A file below a folder."""

    parts: tuple[str, ...]
    """Names of the folders from the top folder down, then the file's own name."""
    reason: str
    """The reason why it is no data; empty if it may be."""


def walk(top: Path) -> Iterator[FoundFile]:
    """Yield every file below a folder, at any depth, also through links.

    Raises:
        UserError: a folder cannot be listed.
    """
    yield from _walk(os.fspath(top), (), inside=(), hidden=False)


def _walk(folder: str, parts: tuple[str, ...], *, inside: tuple, hidden: bool) -> Iterator[FoundFile]:
    try:
        status = os.stat(folder)
        own = (status.st_dev, status.st_ino)
        with os.scandir(folder) as entries:
            found = [] if own in inside else sorted(entries, key=lambda entry: entry.name)
            below = [(entry, is_folder(entry)) for entry in found]
    except OSError as error:
        if hidden:
            return
        raise UserError(
            f"{folder} cannot be listed ({error.strerror}): change its permissions, or leave it out"
        ) from error
    if own in inside:
        yield FoundFile(parts, LOOP)
    for entry, has_files in below:
        hides = hidden or is_hidden(entry.name)
        if has_files:
            yield from _walk(entry.path, (*parts, entry.name), inside=(*inside, own), hidden=hides)
        else:
            yield FoundFile((*parts, entry.name), HIDDEN if hides else "")


def read_head(path: str) -> bytes:
    """Return the first HEAD_BYTES of a file, which tell its format; empty if it cannot be read."""

    def read() -> bytes:
        # A pipe or a device may never end.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(HEAD_BYTES)

    try:
        return reading_again(read)
    except OSError:
        return b""


def rank_of(path: str, read_head: Callable[[str], bytes] = read_head) -> int | None:
    """Return whether a file holds an image or a signal, by its suffix or, if that is unknown, by its first bytes.

    Args:
        read_head: returns the first HEAD_BYTES of a file.

    Returns:
        IMAGES, SIGNALS, or None if it is of no known format.
    """
    by_suffix = rank_by_suffix(path)
    return rank_by_content(read_head(path)) if by_suffix is None else by_suffix


def rank_by_suffix(path: str) -> int | None:
    """Return whether a file holds an image or a signal, by its suffix alone."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in image_formats.SUFFIXES:
        return IMAGES
    return SIGNALS if suffix in signals.SUFFIXES else None


def rank_by_content(head: bytes) -> int | None:
    """Return whether a file holds an image or a signal, by its first HEAD_BYTES alone."""
    if image_formats.is_image(head):
        return IMAGES
    return SIGNALS if signals.is_signal(head) else None


def files_below(folder: Path, rank: int) -> tuple[list[str], dict[str, str]]:
    """Return the images (or the signals) below a folder, sorted, and {path: reason} of all its other files.

    Raises:
        UserError: a folder cannot be listed.
    """
    found, left_out = [], {}
    for file in walk(folder):
        path = os.path.join(folder, *file.parts)
        own = None if file.reason else rank_of(path)
        if own == rank:
            found.append(path)
        else:
            left_out[path] = file.reason or (NO_FORMAT if own is None else OTHER_KIND[rank])
    return found, left_out


OTHER_KIND = {IMAGES: "holding a signal, not an image", SIGNALS: "holding an image, not a signal"}


def describe_left_out(left_out: Mapping[str, str], root: Path) -> str:
    """Return the number of files that were left out, by reason and with the first names; empty if there are none.

    Args:
        root: the folder whose files they are; names are shown from there on.
    """
    if not left_out:
        return ""
    counts = Counter(left_out.values())
    parts = []
    for reason, count in counts.most_common():
        names = [below(root, path) for path, why in left_out.items() if why == reason][:MOST_NAMES]
        parts.append(f"{count:,} {reason} ({', '.join(names)}{', …' if count > len(names) else ''})")
    return f"{len(left_out):,} left out: {'; '.join(parts)}"


def below(root: Path, path: str) -> str:
    """Return a path without the folder that it lies below."""
    return path.removeprefix(os.path.join(root, ""))


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
