"""Files that are written whole or not at all and read strictly, and clear errors where the disk is full or fails.

A read that fails for a reason that may pass, as on a network file system, is tried again.
"""

import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fcn_jax.config import UserError

Value = TypeVar("Value")

_PASSING = (
    "EIO EAGAIN EINTR EBUSY ETIMEDOUT ESTALE EREMOTEIO ENOLINK ENETDOWN ENETUNREACH ENETRESET EHOSTDOWN EHOSTUNREACH "
    "ENOBUFS ECONNABORTED ECONNREFUSED ECONNRESET ENOTCONN EPIPE ESHUTDOWN EMFILE ENFILE"
)
PASSING = frozenset(getattr(errno, name) for name in _PASSING.split() if hasattr(errno, name))
"""Errors of a read that may pass: those of a busy or failing disk, of a network, and of too many open files."""
PAUSES = (0.1, 0.4)
"""Pauses before a read is tried again, in seconds."""
MOST_IN_A_ROW = 20
"""Number of reads that may fail one after the other in spite of all pauses. From then on none is tried again until one
succeeds: with a dead disk, a pause for each of a million files would take days."""

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
    errno.EMFILE: "too many files are open: allow more, such as by ulimit -n 4096",
    errno.ENAMETOOLONG: "choose a shorter path",
}
"""Advice to the user for each error of the disk; for any other error (full, over quota, failing) it is `MAKE_ROOM`."""


def expanded(text: str) -> Path:
    """Return a path with the home that `~` or `~user` at its start stands for.

    Raises:
        UserError: that user has no home.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UserError(f"{text} cannot be found ({error}): give a path without ~") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a UserError about `path`; the code inside may write to nothing else.

    Raises:
        UserError: `path` cannot be written.
    """
    try:
        yield
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, MAKE_ROOM)
        raise UserError(f"{path} cannot be written ({error.strerror or error}): {remedy}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a UserError about `path`; the code inside may read nothing else.

    Raises:
        UserError: `path` cannot be read.
    """
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}): change its permissions, or give another path"
        ) from error


_failed_in_a_row = 0


def reading_again(read: Callable[[], Value]) -> Value:
    """Return what `read` returns; if it fails for a reason that may pass, try again after each of `PAUSES`.

    The reason is an OSError, or an error that was raised from one. The last error is raised as it is.
    """
    global _failed_in_a_row
    pauses = iter(PAUSES if _failed_in_a_row < MOST_IN_A_ROW else ())
    while True:
        try:
            value = read()
        except Exception as error:
            if not _may_pass(error):
                raise
            pause = next(pauses, None)
            if pause is None:
                _failed_in_a_row += 1
                raise
            time.sleep(pause)
        else:
            _failed_in_a_row = 0
            return value


def _may_pass(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, OSError) and error.errno in PASSING:
            return True
        error = error.__cause__
    return False


def make_folder(path: Path) -> None:
    """Make a folder, and the folders above it that do not exist yet.

    Raises:
        UserError: the folder cannot be made.
    """
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Replace a file; a crash or a full disk leaves either the whole old file or the whole new one.

    Where several processes write at once, what one of them wrote stays, whole.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{os.getpid()}.{secrets.token_hex(4)}.new")
    with writing(path):
        if path.exists() and not path.is_file():  # A device such as /dev/null.
            path.write_bytes(data)
            return
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """Replace the text of a file, as `write_bytes` does.

    The file is UTF-8. Bytes of a name that are no text are escaped, as in JSON.
    """
    write_bytes(path, text.encode("utf-8", errors="backslashreplace"))


def parse_json(text: str) -> Any:
    """Return the value that a JSON text holds.

    Raises:
        ValueError: the text is not JSON.
        UserError: the text is nested too deeply; this program never writes such JSON.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UserError("it is nested too deeply") from None
