"""Let glibc keep large freed buffers: fresh pages for every step cost up to a third of a step on CPU."""

import ctypes
import sys


def keep_freed_memory() -> None:
    """For the whole process; call it before anything large is made."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            mmap_threshold, trim_threshold, largest = -3, -1, 2**31 - 1
            libc.mallopt(mmap_threshold, largest)
            libc.mallopt(trim_threshold, largest)
