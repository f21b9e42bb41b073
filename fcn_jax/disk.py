"""What a full or failing disk says to the person who has to mend it: the file, the reason, the remedy."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
